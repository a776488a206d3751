"""PyTorch's recurrent layers: nn.RNN (tanh, relu), nn.LSTM, nn.GRU; stacked, bidirectional, packed sequences.

Conventions: weights (G*H, D) with gates i, f, g, o and r, z, n, two biases, the GRU's reset gate after the recurrent
product. Truncation is by detach: the layer runs segment after segment, and the carried state is detached at a cut, or
scaled in the backward pass alone where a link has another multiplier.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, Gradients, Outputs, Pullback
from bpttref import GRU, LSTM, RNN, Blocks, Last, Links, Regular, Window
from bpttref.arrays import Array
from bpttref.network import States

_NAMES = {"W_hx": "weight_ih", "W_hh": "weight_hh", "b_hx": "bias_ih", "b_hh": "bias_hh"}


class TorchLayers:
    """``torch.nn`` on the CPU."""

    name = f"torch {torch.__version__}"

    def __init__(self) -> None:
        torch.set_num_threads(1)  # for problems as small as these, more threads only wait for each other

    def capabilities(self) -> Capabilities:
        return Capabilities(
            cells=(RNN("tanh"), RNN("relu"), LSTM(), GRU("after")),
            layers=2,
            bidirectional=True,
            inputs=("dense", "initial", "lengths"),
            truncations=(Regular, Links),
            objectives=("cross-entropy", "squared-error", "linear"),
            padding="anything",
            refuses=lambda case: "torch.nn takes no sequence without steps" if len(case.x) == 0 else None,
            conventions={"reset gate": "after the recurrent product", "biases": "two"},
        )

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        layer, x, initial = _prepared(case)
        y, final = _run(layer, case, x, initial)
        outputs = [y, *final]

        def pullback(cotangents: Cotangents) -> Gradients:
            given = [None if cotangents.y is None else torch.tensor(cotangents.y), *_stacked(case, cotangents.final)]
            pairs = [(o, c) for o, c in zip(outputs, given, strict=False) if c is not None and o.requires_grad]
            return _gradients(case, layer, x, initial, [o for o, _ in pairs], [c for _, c in pairs])

        ends = {name: state.detach().numpy() for name, state in zip(_states(case), final, strict=True)}
        return Outputs(y.detach().numpy(), _unstacked(case, ends)), pullback

    def loss_and_gradients(self, case: Case) -> tuple[Outputs, Gradients]:
        """A training step: nn.Linear, a loss of torch.nn.functional, and gradients for everything."""
        objective = case.objective
        assert objective is not None
        layer, x, initial = _prepared(case)
        y, _ = _run(layer, case, x, initial)
        targets = torch.tensor(objective.targets)
        readout = {name: torch.tensor(a, requires_grad=True) for name, a in objective.readout.items()}
        if objective.kind == "linear":
            loss = objective.scale * torch.sum(targets * y)
        else:
            o = nn.functional.linear(y, readout["W_qh"], readout["b_q"])
            if objective.kind == "squared-error":
                loss = objective.scale / 2 * nn.functional.mse_loss(o, targets, reduction="sum")
            else:
                loss = objective.scale * nn.functional.cross_entropy(o.mT, targets, reduction="sum")
        gradients = _gradients(case, layer, x, initial, [loss], [torch.ones_like(loss)])
        found = torch.autograd.grad(loss, list(readout.values())) if readout else ()
        by_name = {name: g.numpy() for name, g in zip(readout, found, strict=True)}
        return Outputs(None, None, float(loss.detach())), gradients._replace(readout=by_name)


def _prepared(case: Case) -> tuple[nn.RNNBase, Tensor, list[Tensor]]:
    """The layer, its input and its initial states, the latter two differentiable."""
    initial = _stacked(case, case.initial)
    for state in initial:
        state.requires_grad_()
    return _layer(case), torch.tensor(case.x, requires_grad=True), initial


def _gradients(
    case: Case, layer: nn.RNNBase, x: Tensor, initial: list[Tensor], outputs: list[Tensor], cotangents: list[Tensor]
) -> Gradients:
    weights = dict(layer.named_parameters())
    wanted = [x, *initial, *weights.values()]
    found = torch.autograd.grad(outputs, wanted, cotangents, retain_graph=True, allow_unused=True)
    arrays = [
        np.zeros(tuple(w.shape), case.dtype) if g is None else g.numpy() for w, g in zip(wanted, found, strict=True)
    ]
    by_name = dict(zip(weights, arrays[1 + len(initial) :], strict=True))
    parameters = tuple(
        tuple({n: by_name[_NAMES[n] + _suffix(k, d)] for n in p} for d, p in enumerate(directions))
        for k, directions in enumerate(case.parameters)
    )
    return Gradients(arrays[0], parameters, _unstacked(case, dict(zip(_states(case), arrays[1:], strict=False))))


def _states(case: Case) -> tuple[str, ...]:
    assert not isinstance(case.cell, CustomCell)
    return case.cell.states


def _suffix(layer: int, direction: int) -> str:
    return f"_l{layer}" + "_reverse" * direction


def _layer(case: Case) -> nn.RNNBase:
    """The layer of the case, holding the case's parameters."""
    first = case.parameters[0][0]
    options: dict[str, Any] = {
        "num_layers": len(case.parameters),
        "bidirectional": len(case.parameters[0]) == 2,
        "dtype": getattr(torch, case.dtype),
    }
    D, H = first["W_hx"].shape[1], first["W_hh"].shape[1]
    layer: nn.RNNBase
    if isinstance(case.cell, RNN):
        layer = nn.RNN(D, H, nonlinearity=case.cell.activation, **options)
    else:
        layer = nn.LSTM(D, H, **options) if isinstance(case.cell, LSTM) else nn.GRU(D, H, **options)
    with torch.no_grad():
        for k, directions in enumerate(case.parameters):
            for d, p in enumerate(directions):
                for name, array in p.items():
                    getattr(layer, _NAMES[name] + _suffix(k, d)).copy_(torch.tensor(array))
    return layer


def _run(layer: nn.RNNBase, case: Case, x: Tensor, initial: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Outputs and final states, ``(layers*directions, B, H)`` each, with the graph cut where the case says."""
    state = initial
    pieces = []
    xi = _links(case)
    edges = [0, *np.flatnonzero(xi != 1).tolist(), len(x)]
    for start, stop in zip(edges, edges[1:], strict=False):
        if start:
            state = [linked(s, xi[start]) for s in state]
        piece: Any = x[start:stop]
        if case.lengths is not None:
            piece = pack_padded_sequence(piece, torch.tensor(case.lengths), enforce_sorted=False)
        y, after = layer(piece, tuple(state) if len(state) > 1 else state[0])
        if case.lengths is not None:
            y, _ = pad_packed_sequence(y, total_length=len(x))
        pieces.append(y)
        state = list(after) if isinstance(after, tuple) else [after]
    return torch.cat(pieces), state


def linked(state: Tensor, xi: float) -> Tensor:
    """A state as it is, whose cotangent is multiplied by ``xi`` on its way back; cut where that is 0."""
    cut = state.detach()
    return cut if xi == 0 else cut + xi * (state - cut)


def _links(case: Case) -> Array:
    """The multiplier of the link into each step."""
    assert not isinstance(case.truncation, Blocks | Window | Last)
    return case.truncation.links(len(case.x))


def _stacked(case: Case, states: States | None) -> list[Tensor]:
    """Per state a new tensor ``(layers*directions, B, H)``."""
    if states is None:
        return []
    return [
        torch.tensor(np.stack([leaf[name] for directions in states for leaf in directions])) for name in _states(case)
    ]


def _unstacked(case: Case, stacked: dict[str, Array]) -> States:
    width = len(case.parameters[0])  # directions of each layer
    return tuple(
        tuple({name: array[k * width + d] for name, array in stacked.items()} for d in range(width))
        for k in range(len(case.parameters))
    )
