"""Gated recurrent unit (Cho et al., 2014; D2L, 10.2), reset gate after or before the recurrent product.

    r, z = sigmoid(W_hx x_t + b_hx + W_hh h_{t-1} + b_hh)        rows in the order r, z, n
    after:   q = W_hh[n] h_{t-1} + b_hh[n]       n = tanh(W_hx[n] x_t + b_hx[n] + r * q)
    before:  q = r * h_{t-1}                     n = tanh(W_hx[n] x_t + b_hx[n] + W_hh[n] q + b_hh[n])
    h_t = n + z * (h_{t-1} - n)

"Before" is the original paper's form, "after" is the form of Chung et al. (2014) and of cuDNN. Pullback:

    da_n = dh_t * (1-z)(1-n^2)                   da_z = dh_t * (h_{t-1} - n) * z(1-z)
    after:   da_r = da_n * q * r(1-r)            dh_{t-1} = z * dh_t + W_hh' [da_r, da_z, r * da_n]
    before:  dq = W_hh[n]' da_n                  dh_{t-1} = z * dh_t + W_hh[r,z]' [da_r, da_z] + r * dq
             da_r = dq * h_{t-1} * r(1-r)

The tape keeps q.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from bpttref.arrays import Array, bias_gradient, sigmoid, weight_gradient
from bpttref.cells.cell import State, Tape


@dataclass(frozen=True)
class GRU:
    """The gated recurrent unit (Cho et al., 2014), with the state h.

    Parameters
    ----------
    reset : str
        Whether the reset gate acts "after" or "before" the recurrent product.

    Raises
    ------
    ValueError
        For another place of the reset gate.

    Examples
    --------
    >>> GRU("before").name, GRU("before").gates
    ('gru-before', ('r', 'z', 'n'))
    """

    reset: Literal["after", "before"] = "after"

    gates: ClassVar[tuple[str, ...]] = ("r", "z", "n")
    states: ClassVar[tuple[str, ...]] = ("h",)
    keeps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.reset not in ("after", "before"):
            raise ValueError(f"reset must be 'after' or 'before', not {self.reset!r}")

    @property
    def name(self) -> str:
        return f"gru-{self.reset}"

    def input_bias(self, b_hh: Array) -> Array:
        if self.reset == "before":
            return b_hh
        folded = b_hh.copy()
        folded[..., 2 * b_hh.shape[-1] // 3 :] = 0
        return folded

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
        (h_before,), (h,) = before, after
        H = h.shape[-1]
        r, z, n = gates
        rz, product = a[..., : 2 * H], work[..., 2 * H :]
        if self.reset == "after":
            np.matmul(h_before, W, out=work)
            np.add(rz, work[..., : 2 * H], out=rz)
            sigmoid(rz, out=rz)
            if b_hh is None:
                kept[...] = product
            else:
                np.add(product, b_hh[..., None, 2 * H :], out=kept)
            np.multiply(r, kept, out=product)
        else:
            np.matmul(h_before, W[..., : 2 * H], out=work[..., : 2 * H])
            np.add(rz, work[..., : 2 * H], out=rz)
            sigmoid(rz, out=rz)
            np.multiply(r, h_before, out=kept)
            np.matmul(kept, W[..., 2 * H :], out=product)
        np.add(n, product, out=n)
        np.tanh(n, out=n)
        np.subtract(h_before, n, out=h)
        np.multiply(h, z, out=h)
        np.add(h, n, out=h)

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        assert tape.kept is not None
        q, h_before = tape.kept, tape.h_before
        gates = tape.gates.reshape(*q.shape[:-1], 3, q.shape[-1])
        r, z, n = (gates[..., k, :] for k in range(3))
        to_gates = 1 - gates
        z_complement = to_gates[..., 1, :].copy()
        to_gates *= gates
        to_gates[..., 1, :] *= h_before - n
        slope = n * n
        np.subtract(1, slope, out=slope)
        np.multiply(slope, z_complement, out=to_gates[..., 2, :])
        if self.reset == "after":
            to_gates[..., 0, :] *= to_gates[..., 2, :]
            to_gates[..., 0, :] *= q
        else:
            to_gates[..., 0, :] *= h_before
        return to_gates, r, z

    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        to_gates, r, z = local
        (dh,) = ds
        H = dh.shape[-1]
        if self.reset == "after":
            np.multiply(to_gates, dh[..., None, :], out=to_gates)
            da[...] = to_gates
            to_gates[..., 2, :] *= r
            through_gates = to_gates.reshape(*dh.shape[:-1], 3 * H) @ W
        else:
            np.multiply(to_gates[..., 1:, :], dh[..., None, :], out=da[..., 1:, :])
            dq = da[..., 2, :] @ W[..., 2 * H :, :]
            np.multiply(dq, to_gates[..., 0, :], out=da[..., 0, :])
            through_gates = da[..., :2, :].reshape(*dh.shape[:-1], 2 * H) @ W[..., : 2 * H, :]
            through_gates += np.multiply(r, dq, out=dq)
        np.multiply(dh, z, out=dh)
        np.add(dh, through_gates, out=dh)
        return (dh,)

    def recurrent_gradient(self, da: Array, tape: Tape) -> tuple[Array, Array]:
        assert tape.kept is not None
        H = tape.kept.shape[-1]
        da_rz, da_n = da[..., : 2 * H], da[..., 2 * H :]
        if self.reset == "after":
            da_n, operand = da_n * tape.gates[..., :H], tape.h_before
        else:
            operand = tape.kept
        dW = np.empty_like(da, shape=(*da.shape[1:-2], 3 * H, H))
        weight_gradient(da_rz, tape.h_before, out=dW[..., : 2 * H, :])
        weight_gradient(da_n, operand, out=dW[..., 2 * H :, :])
        return dW, np.concatenate([bias_gradient(da_rz), bias_gradient(da_n)], axis=-1)
