"""The input's share of the pre-activations, and its pullback, for dense inputs and for tokens.

A dense input is a floating array ``(T, ..., B, D)``. Tokens are an integer array ``(T, B)`` with values in
``[0, D)``; they stand for one-hot vectors, which are never built: a product with a one-hot vector is a look-up,
and its weight gradient is a sum over the places where each token occurs.
"""

import numpy as np

from bpttref.arrays import Array, added, flatten, project, weight_gradient


def is_tokens(x: Array) -> bool:
    """Whether ``x`` holds integer tokens."""
    return x.dtype.kind in "iu"  # several times faster than np.issubdtype, in which small calls would spend their time


def project_input(x: Array, W_hx: Array, out: Array) -> None:
    """``out (T, ..., B, K)``: ``W_hx x_t`` for all t."""
    if is_tokens(x):
        rows = W_hx.swapaxes(-1, -2).copy().take(x, axis=-2)  # (..., T, B, K), each row from one stretch of memory
        out[...] = np.moveaxis(rows, -3, 0)
    else:
        project(x, W_hx.swapaxes(-1, -2), out)


def input_weight_gradient(da: Array, x: Array, W_hx: Array, so_far: Array | None = None) -> Array:
    """``dW_hx (..., K, D)`` from the adjoints ``da (T, ..., B, K)``, added in place to the sum ``so_far``."""
    if not is_tokens(x):
        return added(so_far, weight_gradient(da, x))
    gradient, rows = np.zeros_like(W_hx) if so_far is None else so_far, flatten(da)
    order = np.argsort(x, axis=None, kind="stable")
    tokens, first = np.unique(x.reshape(-1)[order], return_index=True)
    for token, places in zip(tokens, np.split(order, first[1:]), strict=False):
        gradient[..., token] += rows.take(places, axis=-2).sum(axis=-2)
    return gradient
