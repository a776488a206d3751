"""MLX's recurrent layers: nn.RNN (tanh, relu), nn.LSTM and nn.GRU, on the CPU, the only device on which MLX has
float64.

Conventions: weights (G*H, D) with gates i, f, g, o and r, z, n; batch-major; the GRU's reset gate after the recurrent
product. One bias, and for the GRU's n another one inside the product with r. So of the canonical biases only b_hh of n
has a place of its own; the others are added up, and each of a pair gets the gradient of the sum. A layer returns its
states after every step: the last ones are the final states. Truncation is by stop_gradient: the layer runs segment
after segment, and the carried state is cut; where a link has another multiplier, only the backward pass scales it.
"""

from collections.abc import Mapping
from importlib.metadata import version

import mlx.core as mx
import numpy as np
from mlx import nn

from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, Gradients, Outputs, Pullback
from bpttref import GRU, LSTM, RNN, Blocks, Cell, Last, Links, Regular, Window
from bpttref.arrays import Array

_KEYWORDS = {"h": "hidden", "c": "cell"}


class MlxLayers:
    """``mlx.nn``.

    initial: whether the layer is handed its initial states; it has equations of its own for a first step without.
    """

    name = f"mlx {version('mlx')}"

    def __init__(self, *, initial: bool = True) -> None:
        mx.set_default_device(mx.cpu)
        self._states = ("initial",) if initial else ()

    def capabilities(self) -> Capabilities:
        return Capabilities(
            cells=(RNN("tanh"), RNN("relu"), LSTM(), GRU("after")),
            inputs=("dense", *self._states),
            gradients=("x", "parameters", *self._states),
            truncations=(Regular, Links),
            refuses=lambda case: "mlx.nn takes no sequence without steps" if len(case.x) == 0 else None,
            conventions={"reset gate": "after the recurrent product", "biases": "one, and one more for the GRU's n"},
        )

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        at = _arrays(case, Gradients(case.x, case.parameters, case.initial))
        outputs = _unrolled(case, *at)

        def pullback(cotangents: Cotangents) -> Gradients:
            ends = {} if cotangents.final is None else cotangents.final[0][0]
            given = [cotangents.y, *(ends.get(name) for name in _states(case))]
            seen = [mx.zeros_like(o) if g is None else _array(case, g) for o, g in zip(outputs, given, strict=True)]
            _, found = mx.vjp(lambda *moved: _unrolled(case, *moved), at, seen)
            dx, *rest = map(np.array, found)
            parameters = dict(zip(case.parameters[0][0], rest, strict=False))
            initial = dict(zip(_states(case), rest[len(parameters) :], strict=False))
            return Gradients(dx, ((parameters,),), ((initial,),) if initial else None)

        return _outputs(case, outputs), pullback

    def jvp(self, case: Case, tangents: Gradients) -> Outputs:
        at, moves = _arrays(case, Gradients(case.x, case.parameters, case.initial)), _arrays(case, tangents)
        _, pushed = mx.jvp(lambda *moved: _unrolled(case, *moved), at, moves)
        return _outputs(case, pushed)


def _unrolled(case: Case, x: mx.array, *rest: mx.array) -> list[mx.array]:
    """y and the final states, in the layout of the case, from its inputs, parameters and initial states."""
    assert not isinstance(case.truncation, Blocks | Window | Last)
    parameters = dict(zip(case.parameters[0][0], rest, strict=False))
    state = dict(zip(_states(case), rest[len(parameters) :], strict=False))
    layer = _layer(case.cell, parameters)
    xi = case.truncation.links(len(x)).tolist()
    edges = [0, *(t for t in range(1, len(x)) if xi[t] != 1), len(x)]
    pieces = []
    for start, stop in zip(edges, edges[1:], strict=False):
        if start:
            state = {name: _linked(s, xi[start]) for name, s in state.items()}
        found = layer(x[start:stop].swapaxes(0, 1), **{_KEYWORDS[name]: s for name, s in state.items()})
        sequences = dict(zip(_states(case), found if isinstance(found, tuple) else (found,), strict=True))
        pieces.append(sequences["h"].swapaxes(0, 1))
        state = {name: sequence[:, -1] for name, sequence in sequences.items()}
    return [mx.concatenate(pieces), *state.values()]


def _layer(cell: Cell | CustomCell, p: Mapping[str, mx.array]) -> nn.Module:
    """The layer of a cell, holding the parameters of a case."""
    H, D = p["W_hh"].shape[1], p["W_hx"].shape[1]
    layer: nn.Module
    if isinstance(cell, RNN):
        layer = nn.RNN(D, H, nonlinearity={"tanh": mx.tanh, "relu": nn.relu}[cell.activation])
        layer.Wxh, layer.Whh, layer.bias = p["W_hx"], p["W_hh"], p["b_hx"] + p["b_hh"]
        return layer
    layer = nn.LSTM(D, H) if isinstance(cell, LSTM) else nn.GRU(D, H)
    layer.Wx, layer.Wh = p["W_hx"], p["W_hh"]
    if isinstance(cell, LSTM):
        layer.bias = p["b_hx"] + p["b_hh"]
    else:
        rz, layer.bhn = mx.split(p["b_hh"], [2 * H])
        layer.b = p["b_hx"] + mx.pad(rz, (0, H))
    return layer


def _linked(state: mx.array, xi: float) -> mx.array:
    """A state as it is, whose cotangent is multiplied by ``xi`` on its way back; cut where that is 0."""
    cut = mx.stop_gradient(state)
    return cut if xi == 0 else cut + xi * (state - cut)


def _states(case: Case) -> tuple[str, ...]:
    assert not isinstance(case.cell, CustomCell)
    return case.cell.states


def _array(case: Case, array: Array) -> mx.array:
    return mx.array(array, dtype=getattr(mx, case.dtype))


def _arrays(case: Case, tree: Gradients) -> list[mx.array]:
    """Inputs, parameters and, if there are any, initial states."""
    assert tree.x is not None and tree.parameters is not None
    initial = {} if tree.initial is None else tree.initial[0][0]
    return [_array(case, a) for a in (tree.x, *tree.parameters[0][0].values(), *initial.values())]


def _outputs(case: Case, arrays: list[mx.array]) -> Outputs:
    y, *final = map(np.array, arrays)
    return Outputs(y, ((dict(zip(_states(case), final, strict=True)),),))
