"""Long short-term memory without peepholes (Hochreiter and Schmidhuber, 1997; Gers et al., 2000; D2L, 10.1).

    a = W_hx x_t + b_hx + W_hh h_{t-1} + b_hh            rows in the order i, f, g, o
    i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)   g = tanh(a_g)
    c_t = f * c_{t-1} + i * g                            h_t = o * tanh(c_t)

Pullback:

    dc_t += dh_t * o * (1 - tanh(c_t)^2)
    da_i = dc_t * g * i(1-i)          da_f = dc_t * c_{t-1} * f(1-f)
    da_g = dc_t * i * (1-g^2)         da_o = dh_t * tanh(c_t) * o(1-o)
    dh_{t-1} = W_hh' da               dc_{t-1} = f * dc_t

The tape keeps tanh(c_t).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bpttref.arrays import Array, bias_gradient, sigmoid, weight_gradient
from bpttref.cells.cell import State, Tape


@dataclass(frozen=True)
class LSTM:
    """Long short-term memory (Hochreiter and Schmidhuber, 1997), with the states h and c.

    Examples
    --------
    >>> LSTM().states, LSTM().gates
    (('h', 'c'), ('i', 'f', 'g', 'o'))
    """

    name: ClassVar[str] = "lstm"
    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    states: ClassVar[tuple[str, ...]] = ("h", "c")
    keeps: ClassVar[bool] = True

    def input_bias(self, b_hh: Array) -> Array:
        return b_hh

    def step(
        self,
        a: Array,
        gates: tuple[Array, ...],
        before: State,
        after: State,
        kept: Array | None,
        W: Array,
        b_hh: Array | None,
        work: Array,
    ) -> None:
        assert kept is not None
        h, c = after
        i, f, g, o = gates
        np.matmul(before[0], W, out=work)
        np.add(a, work, out=a)
        np.tanh(g, out=kept)
        sigmoid(a, out=a)  # of g, too: one stretch of memory is faster than two halves of many rows
        g[...] = kept
        np.multiply(f, before[1], out=c)
        np.multiply(i, g, out=kept)
        np.add(c, kept, out=c)
        np.tanh(c, out=kept)
        np.multiply(o, kept, out=h)

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        assert tape.kept is not None
        tanh_c, c_before = tape.kept, tape.c_before
        gates = tape.gates.reshape(*tanh_c.shape[:-1], 4, tanh_c.shape[-1])
        i, f, g, o = (gates[..., k, :] for k in range(4))
        to_gates = 1 - gates
        to_gates *= gates
        to_gates[..., 0, :] *= g
        to_gates[..., 1, :] *= c_before
        _one_minus_square_times(g, i, out=to_gates[..., 2, :])
        to_gates[..., 3, :] *= tanh_c
        return to_gates, _one_minus_square_times(tanh_c, o, out=np.empty_like(tanh_c)), f

    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        to_gates, dh_to_c, f = local
        dh, dc = ds
        np.add(dc, np.multiply(dh_to_c, dh, out=dh_to_c), out=dc)
        np.multiply(to_gates, dc[..., None, :], out=da)  # of o, too: one stretch of memory
        np.multiply(to_gates[..., 3, :], dh, out=da[..., 3, :])
        np.matmul(da.reshape(*dh.shape[:-1], W.shape[-2]), W, out=dh)
        np.multiply(dc, f, out=dc)
        return dh, dc

    def recurrent_gradient(self, da: Array, tape: Tape) -> tuple[Array, Array]:
        return weight_gradient(da, tape.h_before), bias_gradient(da)


def _one_minus_square_times(a: Array, b: Array, out: Array) -> Array:
    """``out = (1 - a^2) b``."""
    np.multiply(a, a, out=out)
    np.subtract(1, out, out=out)
    return np.multiply(out, b, out=out)
