"""MyGrad's recurrent layer, mygrad.nnet.layers.gru, of which two can be stacked.

Conventions: U (D, H) and W (H, H) for each gate, one bias, the reset gate before the recurrent product; T + 1 outputs,
the first of which is the initial state, a constant. Truncation is by ``bp_lim``, which counts transitions: each loss
reaches its own step and the ``bp_lim`` steps before it. So ``Window(tau)`` is ``bp_lim = tau - 1``. Each layer has its
own: through two of them a loss reaches 2 (tau - 1) steps back, which is no window. A graph can be pulled back only
once, so each pullback runs the layer again.

numba compiles the layer for each dtype and each order of arrays in memory, in 20 seconds or more.
"""

from collections.abc import Sequence
from typing import Any

import mygrad as mg
import numpy as np
import scipy  # noqa: F401  numba needs it for np.dot, and MyGrad's extra rnn does not install it
from mygrad.nnet.layers.gru import gru

from bpttcheck.contract import Capabilities, Case, Cotangents, Gradients, Outputs, Pullback
from bpttref import GRU, Window
from bpttref.arrays import Array

_NAMES = ("W_hx", "W_hh", "b_hx")
_GATES = (1, 0, 2)  # the library has z, r, h where the case has r, z, n; and the other way round


class MyGrad:
    """``mygrad.nnet.layers.gru``."""

    name = f"mygrad {mg.__version__}"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            cells=(GRU("before"),),
            biases=1,
            layers=2,
            gradients=("x", "parameters"),
            truncations=(Window,),
            refuses=_refusal,
            conventions={
                "reset gate": "before the recurrent product",
                "biases": "one",
                "initial state": "a constant",
                "bp_lim": "counts transitions: tau - 1; in each layer on its own",
            },
        )

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        assert case.initial is not None
        x, weights = case.x.copy(), [_weights(p) for (p,) in case.parameters]
        initial = [state["h"].copy() for (state,) in case.initial]
        bp_lim = _bp_lim(case)
        with mg.no_autodiff:
            y, ends = _run(x, weights, initial, bp_lim)

        def pullback(cotangents: Cotangents) -> Gradients:
            dy, final = cotangents
            leaf, leaves = mg.tensor(x), [[mg.tensor(w) for w in layer] for layer in weights]
            y, ends = _run(leaf, leaves, initial, bp_lim)
            loss = mg.sum(y * (0 if dy is None else dy))
            for end, (state,) in zip(ends, final or (), strict=final is not None):
                loss = loss + mg.sum(end * state["h"])
            loss.backward()
            return Gradients(leaf.grad, tuple((_gradients(layer),) for layer in leaves), None)

        return Outputs(np.array(y), tuple(({"h": np.array(end)},) for end in ends)), pullback


def _run(x: Any, weights: Sequence[Sequence[Any]], initial: Sequence[Array], bp_lim: int | None) -> tuple[Any, Any]:
    """y ``(T, B, H)`` and the final state of each layer."""
    ends = []
    for layer, s0 in zip(weights, initial, strict=True):
        states = gru(x, *layer, s0=s0, bp_lim=bp_lim)
        x = states[1:]
        ends.append(states[-1])
    return x, ends


def _bp_lim(case: Case) -> int | None:
    """The number of transitions that a loss reaches back over; None for all."""
    if isinstance(case.truncation, Window) and case.truncation.tau <= len(case.x):
        return case.truncation.tau - 1
    return None


def _refusal(case: Case) -> str | None:
    bp_lim = _bp_lim(case)
    if len(case.parameters) > 1 and bp_lim is not None and 0 < bp_lim < len(case.x) - 1:
        return "each layer of a stack has a window of its own"
    return None


def _weights(p: Any) -> list[Array]:
    """U, W and b of z, r and h, in C order."""
    by_gate = {name: np.split(p[name], 3) for name in _NAMES}
    return [np.array(by_gate[name][gate].T, order="C") for gate in _GATES for name in _NAMES]


def _gradients(layer: Sequence[Any]) -> dict[str, Array]:
    """The numbers in the tensors of a layer, in the layout of the case."""
    return {name: np.concatenate([layer[3 * gate + k].grad.T for gate in _GATES]) for k, name in enumerate(_NAMES)}
