"""How gradients travel through time (D2L 9.7.1): findings from the Jacobians of single steps.

    J_t = d s_t / d s_{t-1}, (n, n)          U_t = d s_t / d w, the direct use of the parameters at step t, (n, P)
    d h_t / d s_s = [I 0] J_t J_{t-1} ... J_{s+1}          C[t, s] = <dy_t, d h_t / d s_s U_s>          (D2L 9.7.7)

The first H of the n numbers of a state are h. Products of many Jacobians leave the range of float64, so they are kept
as matrices times powers of two, which round nothing, and their sizes are given as base-2 logarithms. A *triangle*
``(T, T)`` has the pair (t, s) in row t - s, column s, and NaN where there is no pair; a *curve* ``(T,)`` has one
number per lag.
"""

from typing import NamedTuple

import numpy as np

from bpttref.arrays import Array

_ROUNDING = -24.0  # log2 of float32's unit roundoff
_LARGEST = 127 + float(np.log2(2 - 2.0**-24))  # numbers from here on become infinite in float32
_SMALLEST = -150.0  # smaller numbers become zero in float32


class Sizes(NamedTuple):
    """Base-2 logarithms. Triangles: norms, the spectral norm of dh_t/dh_s; entries, its largest entry; contributions,
    the norm of C[t, s]. tails: a curve, the norm of the sum of all C[t, s] with t - s >= lag."""

    norms: Array
    entries: Array
    contributions: Array
    tails: Array


def sizes(J: Array, U: Array, dy: Array) -> Sizes:
    """Sizes by lag, from ``J (T, n, n)``, ``U (T, n, P)`` and the losses' cotangents ``dy (T, H)``; all finite."""
    T, H = dy.shape
    norms, entries, contributions = np.full((3, T, T), np.nan)
    pulled, exponents = np.zeros((T, *J.shape[:2])), np.full((T, T), -(2**30), np.int32)
    U, of_U = _normalised(U)
    compact = np.linalg.qr(U.swapaxes(1, 2), mode="r")  # |v U| = |compact v|, with fewer numbers
    R, of_R = np.tile(np.eye(H, J.shape[1]), (T, 1, 1)), np.zeros(T, np.int32)
    for k in range(T):
        if k:
            R, grown = _normalised(R[1:] @ J[1 : len(R)])
            of_R = of_R[1:] + grown
        s = slice(T - k)
        v = pulled[k, s] = np.einsum("sh,shn->sn", dy[k:], R)
        exponents[k, s] = of_R + of_U[s]
        norms[k, s] = _log2(np.linalg.norm(R[..., :H], 2, axis=(1, 2))) + of_R
        entries[k, s] = _log2(np.abs(R[..., :H]).max(axis=(1, 2))) + of_R
        contributions[k, s] = _log2(np.linalg.norm(np.einsum("spn,sn->sp", compact[s], v), axis=1)) + exponents[k, s]
    largest = exponents.max()
    pulled = np.ldexp(pulled, (exponents - largest)[..., None])
    sums = np.cumsum(pulled[::-1], axis=0)[::-1].reshape(T, -1) @ U.reshape(-1, U.shape[-1])
    return Sizes(norms, entries, contributions, _log2(np.linalg.norm(sums, axis=1)) + largest)


def products(J: Array) -> tuple[Array, Array]:
    """Of the product of the last k of ``J (T, n, n)``, in row k - 1: base-2 logarithms of the singular values and of
    the eigenvalues' moduli, ``(T, n)`` each, in descending order; NaN where rounding hides them."""
    T, n, _ = J.shape
    singular, moduli = np.full((2, T, n), np.nan)
    product, exponent = np.eye(n), 0
    for k, step in enumerate(J[::-1]):
        product, grown = _normalised(product @ step)
        exponent += int(grown)
        values = np.linalg.svd(product, compute_uv=False), np.sort(np.abs(np.linalg.eigvals(product)))[::-1]
        for logs, found in zip((singular[k], moduli[k]), values, strict=True):
            seen = found >= (k + 1) * n * np.finfo(float).eps * values[0][0]
            logs[seen] = _log2(found[seen]) + exponent
    return singular, moduli


def gate_products(gates: Array) -> Array:
    """The triangle of the largest, over units, product of ``gates (T, H)`` over the steps s+1 ... t: the part that the
    path through only the gates lets pass, the norm of a product of diagonal matrices."""
    T = len(gates)
    triangle, logs = np.full((T, T), np.nan), _log2(gates)
    path = np.zeros_like(logs)
    for k in range(T):
        if k:
            path = path[1:] + logs[1 : len(path)]
        triangle[k, : T - k] = path.max(axis=1)
    return triangle


def rate(triangle: Array) -> float:
    """The factor per step: least squares through the medians by lag, over the middle half of the lags, where neither
    the first steps nor the few pairs at the end weigh. 0 where nothing passes."""
    curve = np.nanmedian(triangle, axis=1)
    k = np.arange(len(curve) // 4, _trusted(curve) + 1)
    k = k[np.isfinite(curve[k])]
    return 2.0 ** float(np.polyfit(k, curve[k], 1)[0]) if len(k) > 1 else 0.0


class Lag(NamedTuple):
    """A number of steps, None for never; measured or, where it lies beyond the lags of `_trusted`, extrapolated by a
    rate from the middle lag."""

    steps: int | None
    measured: bool


def horizon(tails: Array, per_step: float) -> Lag:
    """The memory horizon in float32: the smallest lag from which on all contributions together stay below 2^-24 of
    the gradient's norm. ``Window`` of this number of steps, or more, changes the gradient by less than that."""
    return Lag(0, True) if np.isneginf(tails[0]) else _falls(tails - tails[0], _ROUNDING, per_step)


def underflow(entries: Array, per_step: float) -> Lag:
    """The smallest lag from which on every dh_t/dh_s, rounded to float32, is zero; from the triangle of entries."""
    return _falls(np.nanmax(entries, axis=1), _SMALLEST, per_step)


def overflow(entries: Array, per_step: float) -> Lag:
    """The smallest lag at which an entry of some dh_t/dh_s is too large for float32, from the triangle of entries."""
    curve = np.nanmax(entries, axis=1)
    beyond = np.flatnonzero(curve >= _LARGEST)
    return Lag(int(beyond[0]), True) if beyond.size else _extrapolated(curve, _LARGEST, per_step, per_step > 1)


def _falls(curve: Array, level: float, per_step: float) -> Lag:
    above = np.flatnonzero(curve >= level)
    lag = int(above[-1]) + 1 if above.size else 0
    return Lag(lag, True) if lag <= _trusted(curve) else _extrapolated(curve, level, per_step, 0 < per_step < 1)


def _extrapolated(curve: Array, level: float, per_step: float, reached: bool) -> Lag:
    middle = len(curve) // 2
    steps = middle + (level - curve[middle]) / np.log2(per_step) if reached else np.inf
    return Lag(max(_trusted(curve) + 1, int(np.ceil(steps))), False) if np.isfinite(steps) else Lag(None, False)


def _trusted(curve: Array) -> int:
    """The last lag with a quarter of the pairs: at the last ones there is a single pair, and its chance."""
    return 3 * len(curve) // 4


def _normalised(matrices: Array) -> tuple[Array, Array]:
    """Matrices ``(..., r, c)`` as others, whose largest entry lies in [1/2, 1), and exponents of 2 ``(...)``."""
    _, exponents = np.frexp(np.abs(matrices).max(axis=(-2, -1)))
    return np.ldexp(matrices, -exponents[..., None, None]), exponents


def _log2(numbers: Array) -> Array:
    with np.errstate(divide="ignore"):  # the logarithm of 0 is -inf
        logs: Array = np.log2(numbers)
    return logs
