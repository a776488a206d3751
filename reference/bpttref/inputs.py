"""The input's share of the pre-activations, and its pullback, for dense inputs and for tokens.

A dense input is a floating array ``(T, ..., B, D)``. Tokens are an integer array ``(T, B)`` with values in
``[0, D)``; they stand for one-hot vectors, which are never built: a product with a one-hot vector is a look-up,
and its weight gradient is a sum over the places where each token occurs.
"""

import numpy as np

from bpttref.arrays import Array, project, weight_gradient


def is_tokens(x: Array) -> bool:
    """Whether ``x`` holds integer tokens."""
    return np.issubdtype(x.dtype, np.integer)


def project_input(x: Array, W_hx: Array) -> Array:
    """``W_hx x_t`` for all t: ``(T, ..., B, K)``."""
    if is_tokens(x):
        rows = W_hx.swapaxes(-1, -2)[..., x, :]  # (..., T, B, K)
        return np.moveaxis(rows, -3, 0).copy()
    return project(x, W_hx.swapaxes(-1, -2))


def input_weight_gradient(da: Array, x: Array, W_hx: Array) -> Array:
    """``dW_hx (..., K, D)`` from the adjoints ``da (T, ..., B, K)``."""
    if not is_tokens(x):
        return weight_gradient(da, x)
    gradient = np.zeros_like(W_hx)
    order = np.argsort(x, axis=None, kind="stable")
    tokens, first = np.unique(x.reshape(-1)[order], return_index=True)
    if tokens.size:
        rows = np.moveaxis(da, 0, -3)  # (..., T, B, K)
        rows = rows.reshape(*rows.shape[:-3], x.size, rows.shape[-1])[..., order, :]
        gradient[..., tokens] = np.add.reduceat(rows, first, axis=-2).swapaxes(-1, -2)
    return gradient


def input_gradient(da: Array, x: Array, W_hx: Array) -> Array | None:
    """``dx`` of the shape of ``x``; None for tokens, which have no gradient."""
    return None if is_tokens(x) else project(da, W_hx)
