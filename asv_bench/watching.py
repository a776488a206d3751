"""The cost of `bpttcheck.torch.watch`: time and peak memory of a training loop with it over the same without.

    python asv_bench/watching.py

Both run interleaved in one process, one thread; the ratio of times is the ratio of the best of many. The ratio with
``probe=4`` is of the two steps of training that are probed. Memory is the largest number of bytes that PyTorch holds at
once, seen by its profiler, in a model that already has gradients.
"""

import contextlib
import time

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from bpttcheck.torch import watch

REPEATS = 100


class Model(nn.Module):
    """An embedding, or none, a recurrent part and a readout; a cell is called step by step."""

    def __init__(self, recurrent, D, H, embeds):
        super().__init__()
        self.embedding = nn.Embedding(50, D) if embeds else None
        self.recurrent, self.readout = recurrent, nn.Linear(H, 50)

    def forward(self, x, state):
        x = x if self.embedding is None else self.embedding(x)
        if isinstance(self.recurrent, nn.RNNBase):
            y, state = self.recurrent(x, state)
        else:
            outputs = []
            for step in x:
                state = self.recurrent(step, state)
                outputs.append(state[0] if isinstance(state, tuple) else state)
            y = torch.stack(outputs)
        return self.readout(y), state


def detached(state):
    return tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()


def train(model, chunks):
    optimizer, state = torch.optim.SGD(model.parameters(), 0.01), None
    for x, targets in chunks:
        logits, state = model(x, None if state is None else detached(state))
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def plain(model):
    return contextlib.nullcontext()


def probe(model):
    return watch(model, probe=4)


def ratio(model, chunks, how, repeats):
    """The time of a watched loop over the time of one that is not watched."""
    best = dict.fromkeys([plain, how], float("inf"))
    for _ in range(repeats):
        for context in best:
            with context(model):
                start = time.process_time()
                train(model, chunks)
                best[context] = min(best[context], time.process_time() - start)
    return best[how] / best[plain]


def peak(model, chunks, how):
    """The largest sum of allocations minus releases."""
    with how(model):
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            train(model, chunks)
    held = most = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def main():
    torch.set_num_threads(1)
    shapes = [(20, 32, 32), (35, 20, 200)]
    print(f"{'loop':47} {'time':>6} {'probe=4':>8} {'bytes more':>12} {'one input':>12}")
    for T, B, H in shapes:
        for name, make in {
            "LSTM": lambda H: nn.LSTM(H, H),
            "LSTMCell": lambda H: nn.LSTMCell(H, H),
            "GRU, two layers": lambda H: nn.GRU(H, H, 2),
            "GRUCell": lambda H: nn.GRUCell(H, H),
        }.items():
            for embeds in (True, False):
                torch.manual_seed(0)
                model = Model(make(H), H, H, embeds)
                inputs = [torch.randint(50, (T, B)) if embeds else torch.randn(T, B, H) for _ in range(5)]
                chunks = [(x, torch.randint(50, (T, B))) for x in inputs]
                train(model, chunks)
                passive, few = ratio(model, chunks, watch, REPEATS), chunks[:2]
                probed = ratio(model, few, probe, REPEATS // 5)
                _, without, watched = (peak(model, few, how) for how in (plain, plain, watch))
                what = f"{name}, T={T}, B={B}, D=H={H}, {'embedding' if embeds else 'data'}"
                sizes = f"{watched - without:12,} {4 * T * B * H:12,}"
                print(f"{what:47} {passive:6.2f} {probed:8.2f} {sizes}", flush=True)


if __name__ == "__main__":
    main()
