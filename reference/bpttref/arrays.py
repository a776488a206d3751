"""Array types and the products that every cell needs.

Letters used throughout the project:

    T  steps          B  rows of the batch      D  features of an input
    H  hidden units   G  gates of the cell      ...  replicates (see below)

Sequences are time-major, ``(T, ..., B, D)``. The optional axes written ``...`` hold *replicates*: independent
copies of the whole computation, each with its own parameters ``(..., G*H, D)``. The oracles use them to push all
their perturbations through one forward pass. Ordinary calls have none.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


def flatten(sequence: Array) -> Array:
    """``(T, ..., B, D)`` to ``(..., T*B, D)``: time and batch become the rows of one matrix."""
    if sequence.ndim > 3:
        sequence = np.moveaxis(sequence, 0, -3)
    *replicates, steps, batch, width = sequence.shape
    return sequence.reshape(*replicates, steps * batch, width)


def project(sequence: Array, matrix: Array, out: Array | None = None) -> Array:
    """``(T, ..., B, K)``: ``sequence (T, ..., B, D)`` times ``matrix (..., D, K)``, in one product; ``out``, in C
    order, receives it."""
    if out is None:
        out = np.empty_like(sequence, order="C", shape=(*sequence.shape[:-1], matrix.shape[-1]))
    if out.ndim == 3:
        np.matmul(flatten(sequence), matrix, out=flatten(out))
    else:
        product = flatten(sequence) @ matrix
        out[...] = np.moveaxis(product.reshape(*product.shape[:-2], len(out), *out.shape[-2:]), -3, 0)
    return out


def weight_gradient(da: Array, operand: Array, out: Array | None = None) -> Array:
    """Sum over time and batch of ``da_t operand_t'``: ``(..., K, D)``, as one matrix product."""
    return np.matmul(flatten(da).swapaxes(-1, -2), flatten(operand), out=out)


def added(so_far: Array | None, part: Array) -> Array:
    """``so_far + part``, in place; ``part`` itself if there is nothing so far."""
    return part if so_far is None else np.add(so_far, part, out=so_far)


def bias_gradient(da: Array) -> Array:
    """Sum of ``da (T, ..., B, K)`` over time and batch: ``(..., K)``."""
    rows = flatten(da)
    ones = np.ones_like(rows, shape=(1, rows.shape[-2]))
    return (ones @ rows)[..., 0, :]  # a matrix product is faster than a sum over rows


def sigmoid(a: Array, out: Array) -> None:
    """``out = 1 / (1 + exp(-a))``: accurate in both tails, because an ``exp`` that overflows gives the right limit
    0."""
    np.subtract(0, a, out=out)  # not np.negative: NumPy 2.4.6 gets it wrong on some strided columns
    np.exp(out, out=out)
    np.add(out, 1, out=out)
    np.reciprocal(out, out=out)
