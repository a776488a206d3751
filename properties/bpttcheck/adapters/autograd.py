"""HIPS autograd: RNN (tanh, ReLU), LSTM and GRU in autograd.numpy; stacked, two directions, rows of different lengths.

The library has no layers: the cells are written here as its users write them, in the canonical layout. The laws test
how make_vjp and make_jvp differentiate them, including a loop over time and nested containers of arrays.

Conventions: the sigmoid by tanh, which does not overflow; np.maximum, whose gradient is 1/2 where both are equal.
Truncation is by a primitive: the identity, with a pullback of its own.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import autograd.numpy as np
from autograd import make_jvp, make_vjp
from autograd.builtins import tuple as outputs_of
from autograd.extend import defvjp, primitive

from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, Gradients, Outputs, Pullback
from bpttref import GRU, LSTM, RNN, Blocks, Last, Links, Regular, Window, trees


class Autograd:
    """``autograd.make_vjp`` and ``autograd.make_jvp`` of networks in ``autograd.numpy``."""

    name = f"autograd {version('autograd')}"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            cells=(RNN("tanh"), RNN("relu"), LSTM(), GRU("after"), GRU("before")),
            layers=2,
            bidirectional=True,
            inputs=("dense", "initial", "lengths"),
            truncations=(Regular, Links),
            conventions={"layers": "the library has none: the cells are the adapter's", "ReLU'(0)": "1/2"},
        )

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        pull, (y, ends) = make_vjp(_network(case), 0)(_differentiable(case))

        def pullback(cotangents: Cotangents) -> Gradients:
            dy, final = cotangents
            dy = np.zeros_like(y) if dy is None else dy
            final = trees.each(np.zeros_like, ends) if final is None else _without_names(case, final)
            return Gradients(*pull((dy, final)))

        return Outputs(y, _with_names(case, ends)), pullback

    def jvp(self, case: Case, tangents: Gradients) -> Outputs:
        given = tangents.x, tangents.parameters, tangents.initial
        _, (y, ends) = make_jvp(_network(case), 0)(_differentiable(case))(given)
        return Outputs(y, _with_names(case, ends))


def _differentiable(case: Case) -> tuple[Any, ...]:
    return case.x, case.parameters, case.initial


def _network(case: Case) -> Callable[[Any], Any]:
    """The function that is differentiated: from x, parameters and initial states to y and final states."""

    def network(given: Any) -> Any:
        y, parameters, initial = given
        ends = []
        for layer, states in zip(parameters, initial, strict=True):
            runs = [_run(case, p, y, state, d) for d, (p, state) in enumerate(zip(layer, states, strict=True))]
            y = np.concatenate([y for y, _ in runs], axis=-1)
            ends.append(outputs_of(outputs_of(end) for _, end in runs))
        return outputs_of((y, outputs_of(ends)))

    return network


def _run(case: Case, p: Any, x: Any, initial: Any, backwards: int) -> tuple[Any, Any]:
    """One layer in one direction: its outputs ``(T, B, H)`` and its final states ``(B, H)``."""
    assert not isinstance(case.cell, CustomCell) and not isinstance(case.truncation, Blocks | Last | Window)
    T = len(x)
    live = None if case.lengths is None else np.arange(T)[:, None, None] < case.lengths[:, None]
    xi = case.truncation.links(T).tolist()
    a = np.dot(x, p["W_hx"].T) + p["b_hx"]
    state = [initial[name] for name in case.cell.states]
    y = [None] * T
    for t in reversed(range(T)) if backwards else range(T):
        before, ended = state if xi[t] == 1 else [linked(s, xi[t]) for s in state], state
        state = _STEPS[case.cell.name](p, a[t], *before)
        y[t] = state[0]
        if live is not None:
            state = [np.where(live[t], new, old) for new, old in zip(state, ended, strict=True)]
            y[t] = live[t] * state[0]
    return np.array(y), state


# A state as it is, whose cotangent is multiplied by xi on its way back; cut where that is 0.
linked = primitive(lambda state, xi: state)
defvjp(linked, lambda ans, state, xi: lambda g: xi * g if xi else np.zeros_like(g))


def _sigmoid(a: Any) -> Any:
    return (1 + np.tanh(a / 2)) / 2


def _recurrent(p: Any, h: Any) -> Any:
    return np.dot(h, p["W_hh"].T) + p["b_hh"]


def _tanh(p: Any, a: Any, h: Any) -> list[Any]:
    return [np.tanh(a + _recurrent(p, h))]


def _relu(p: Any, a: Any, h: Any) -> list[Any]:
    return [np.maximum(a + _recurrent(p, h), 0)]


def _lstm(p: Any, a: Any, h: Any, c: Any) -> list[Any]:
    i, f, g, o = np.split(a + _recurrent(p, h), 4, axis=-1)
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return [_sigmoid(o) * np.tanh(c), c]


def _gru_after(p: Any, a: Any, h: Any) -> list[Any]:
    (r, z, n), (r_h, z_h, n_h) = np.split(a, 3, axis=-1), np.split(_recurrent(p, h), 3, axis=-1)
    r, z = _sigmoid(r + r_h), _sigmoid(z + z_h)
    n = np.tanh(n + r * n_h)
    return [(1 - z) * n + z * h]


def _gru_before(p: Any, a: Any, h: Any) -> list[Any]:
    W_r, W_z, W_n = np.split(p["W_hh"], 3)
    r, z, n = np.split(a + p["b_hh"], 3, axis=-1)
    r, z = _sigmoid(r + np.dot(h, W_r.T)), _sigmoid(z + np.dot(h, W_z.T))
    n = np.tanh(n + np.dot(r * h, W_n.T))
    return [(1 - z) * n + z * h]


_STEPS: dict[str, Callable[..., list[Any]]] = {
    "rnn-tanh": _tanh,
    "rnn-relu": _relu,
    "lstm": _lstm,
    "gru-after": _gru_after,
    "gru-before": _gru_before,
}


def _with_names(case: Case, ends: Any) -> Any:
    """States ``(B, ..)`` nested as in `Outputs`."""
    assert not isinstance(case.cell, CustomCell)
    names = case.cell.states
    return tuple(tuple(dict(zip(names, leaf, strict=True)) for leaf in layer) for layer in ends)


def _without_names(case: Case, states: Any) -> Any:
    """States as the network returns them: tuples instead of mappings."""
    assert not isinstance(case.cell, CustomCell)
    names = case.cell.states
    return tuple(tuple(tuple(leaf[name] for name in names) for leaf in layer) for layer in states)
