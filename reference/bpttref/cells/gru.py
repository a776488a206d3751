"""Gated recurrent unit (Cho et al., 2014; D2L, 10.2), reset gate after or before the recurrent product.

    r, z = sigmoid(W_hx x_t + b_hx + W_hh h_{t-1} + b_hh)        rows in the order r, z, n
    after:   q = W_hh[n] h_{t-1} + b_hh[n]       n = tanh(W_hx[n] x_t + b_hx[n] + r * q)
    before:  q = r * h_{t-1}                     n = tanh(W_hx[n] x_t + b_hx[n] + W_hh[n] q + b_hh[n])
    h_t = n + z * (h_{t-1} - n)

"Before" is the original paper's form, "after" that of Chung et al. (2014) and of cuDNN. Pullback:

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
    """Gated recurrent unit with ``reset`` "after" or "before" the recurrent product; gates ``r, z, n``."""

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
        self, a: Array, before: State, after: State, kept: Array | None, W: Array, b_hh: Array | None, work: Array
    ) -> None:
        assert kept is not None
        (h_before,), (h,) = before, after
        H = h.shape[-1]
        rz, r, z, n = a[..., : 2 * H], a[..., :H], a[..., H : 2 * H], a[..., 2 * H :]
        product = work[..., 2 * H :]
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
        dh_to_gates = np.empty_like(gates)
        dh_to_gates[..., 1, :] = (h_before - n) * z * (1 - z)
        dh_to_gates[..., 2, :] = (1 - z) * (1 - n * n)
        r_prime = r * (1 - r)
        if self.reset == "after":
            dh_to_gates[..., 0, :] = dh_to_gates[..., 2, :] * q * r_prime
            return dh_to_gates, r, z
        return dh_to_gates, r, z, h_before * r_prime

    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        dh_to_gates, r, z = local[:3]
        (dh,) = ds
        H = dh.shape[-1]
        if self.reset == "after":
            np.multiply(dh_to_gates, dh[..., None, :], out=da)
            recurrent = da.copy()
            recurrent[..., 2, :] *= r
            dh *= z
            dh += recurrent.reshape(*dh.shape[:-1], 3 * H) @ W
        else:
            np.multiply(dh_to_gates[..., 1:, :], dh[..., None, :], out=da[..., 1:, :])
            dq = da[..., 2, :] @ W[..., 2 * H :, :]
            np.multiply(dq, local[3], out=da[..., 0, :])
            dh *= z
            dh += r * dq
            dh += da[..., :2, :].reshape(*dh.shape[:-1], 2 * H) @ W[..., : 2 * H, :]
        return (dh,)

    def recurrent_gradient(self, da: Array, tape: Tape) -> tuple[Array, Array]:
        assert tape.kept is not None
        H = tape.kept.shape[-1]
        if self.reset == "after":
            da = da.copy()
            da[..., 2 * H :] *= tape.gates[..., :H]
            return weight_gradient(da, tape.h_before), bias_gradient(da)
        rz = weight_gradient(da[..., : 2 * H], tape.h_before)
        return np.concatenate([rz, weight_gradient(da[..., 2 * H :], tape.kept)], axis=-2), bias_gradient(da)
