"""Training loops, as people write them, for the tests of the watch."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

B, D, H = 3, 4, 5


class Tanh(nn.Module):
    """A user's own cell, which uses its input twice."""

    def __init__(self, D=D, H=H):
        super().__init__()
        self.a, self.gate, self.b = nn.Linear(D, H), nn.Linear(D, H), nn.Linear(H, H)

    def forward(self, x, state=None):
        a = self.a(x) * torch.sigmoid(self.gate(x))
        return torch.tanh(a if state is None else a + self.b(state))


class Scan(nn.Module):
    """A user's own layer over ``(T, B, D)``."""

    def __init__(self):
        super().__init__()
        self.cell = Tanh()

    def forward(self, x, state=None):
        outputs = []
        for step in x:
            state = self.cell(step, state)
            outputs.append(state)
        return torch.stack(outputs), state


class Hidden(nn.Module):
    """A cell that keeps its state to itself."""

    def __init__(self):
        super().__init__()
        self.cell, self.state = Tanh(), None

    def forward(self, x):
        self.state = self.cell(x, self.state)
        return self.state


UNITS = {
    "LSTM": lambda: nn.LSTM(D, H),
    "LSTM, batch first": lambda: nn.LSTM(D, H, batch_first=True),
    "GRU, two layers, two directions": lambda: nn.GRU(D, H, 2, bidirectional=True),
    "RNN in float64": lambda: nn.RNN(D, H, dtype=torch.float64),
    "GRU, packed": lambda: nn.GRU(D, H),
    "LSTMCell": lambda: nn.LSTMCell(D, H),
    "GRUCell": lambda: nn.GRUCell(D, H),
    "own cell": Tanh,
    "own layer": Scan,
}


def options(name):
    """The arguments that `watch` needs for a unit."""
    return {"own cell": {"time_axis": None}, "own layer": {"time_axis": 0}}.get(name, {})


def each(change, state):
    return None if state is None else tuple(map(change, state)) if isinstance(state, tuple) else change(state)


class Model(nn.Module):
    """Embeds tokens ``(T, B)`` and runs a unit on them, in one call or step by step."""

    def __init__(self, name):
        super().__init__()
        self.name, self.unit = name, UNITS[name]()
        self.embedding = nn.Embedding(7, D, dtype=next(self.unit.parameters()).dtype)
        self.between = lambda state: state  # the change of the state between steps

    def forward(self, tokens, state):
        x = self.embedding(tokens)
        if self.name == "GRU, packed":
            lengths = torch.tensor([len(x), len(x) - 1, 1])
            y, state = self.unit(pack_padded_sequence(x, lengths), state)
            return pad_packed_sequence(y)[0], state
        if self.name == "LSTM, batch first":
            y, state = self.unit(x.transpose(0, 1), state)
            return y.transpose(0, 1), state
        if "ell" not in self.name:
            return self.unit(x, state)
        outputs = []
        for i, step in enumerate(x):
            state = self.unit(step, each(self.between, state) if i else state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(outputs), state


def train(model, cut, steps=6, chunks=3, accumulate=1, retain=False):
    """SGD over chunks of a text. cut: the change of the state between chunks; `zeros` starts anew."""
    optimizer, state = torch.optim.SGD(model.parameters(), 0.1), None
    draws = torch.Generator().manual_seed(1)
    for chunk in range(chunks):
        tokens = torch.randint(7, (steps, B), generator=draws)
        y, state = model(tokens, each(cut, state) if cut is not zeros else None)
        loss = y.square().sum() / accumulate
        loss.backward(retain_graph=retain)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if not retain and (chunk + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()


def detach(state):
    return state.detach()


def keep(state):
    return state


def zeros(state):
    return torch.zeros_like(state)
