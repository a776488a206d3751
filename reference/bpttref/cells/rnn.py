"""The plain recurrent cell (Elman, 1990; *Dive into Deep Learning*, 9.4 and 9.7).

    a_t = W_hx x_t + b_hx + W_hh h_{t-1} + b_hh          h_t = phi(a_t)

with phi = tanh, ReLU or the identity. Pullback, with phi' written in terms of h_t:

    da_t = phi'(a_t) * dh_t                              dh_{t-1} = W_hh' da_t

tanh' = 1 - h^2; relu' = [h > 0], hence 0 at the kink; identity' = 1.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from bpttref.arrays import Array, bias_gradient, weight_gradient
from bpttref.cells.cell import State, Tape


@dataclass(frozen=True)
class RNN:
    """The plain recurrent cell (Elman, 1990), with the state h and one gate.

    Parameters
    ----------
    activation : str
        "tanh", "relu" or "identity".

    Raises
    ------
    ValueError
        For another activation.

    Examples
    --------
    >>> RNN("relu").name, RNN("relu").states
    ('rnn-relu', ('h',))
    """

    activation: Literal["tanh", "relu", "identity"] = "tanh"

    gates: ClassVar[tuple[str, ...]] = ("a",)
    states: ClassVar[tuple[str, ...]] = ("h",)
    keeps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.activation not in ("tanh", "relu", "identity"):
            raise ValueError(f"activation must be 'tanh', 'relu' or 'identity', not {self.activation!r}")

    @property
    def name(self) -> str:
        return f"rnn-{self.activation}"

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
        (h,) = after
        np.matmul(before[0], W, out=work)
        np.add(a, work, out=h)
        if self.activation == "tanh":
            np.tanh(h, out=h)
        elif self.activation == "relu":
            np.maximum(h, 0, out=h)  # complex numbers compare by their real part first: the complex step is exact

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        h = tape.states[0][1:]
        if self.activation == "tanh":
            slope = h * h
            return (np.subtract(1, slope, out=slope),)
        return ((h > 0).astype(h.dtype),) if self.activation == "relu" else (np.ones_like(h),)

    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        (dh,) = ds
        da = da.reshape(dh.shape)
        np.multiply(local[0], dh, out=da)
        return (np.matmul(da, W, out=dh),)

    def recurrent_gradient(self, da: Array, tape: Tape) -> tuple[Array, Array]:
        return weight_gradient(da, tape.h_before), bias_gradient(da)
