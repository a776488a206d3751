"""Arithmetic on the nested tuples and mappings in which parameters, states and gradients travel."""

from collections.abc import Callable, Mapping
from typing import Any

from bpttref.arrays import Array


def each(change: Callable[[Array], Array], a: Any) -> Any:
    """The tree with every array replaced by ``change(array)``; None stays."""
    if a is None:
        return None
    if isinstance(a, Mapping):
        return {name: each(change, value) for name, value in a.items()}
    if isinstance(a, tuple | list):
        return tuple(each(change, value) for value in a)
    return change(a)


def add(a: Any, b: Any) -> Any:
    """``a + b``, array by array; None stands for zeros."""
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, Mapping):
        return {name: add(a[name], b[name]) for name in a}
    if isinstance(a, tuple | list):
        return tuple(add(x, y) for x, y in zip(a, b, strict=True))
    return a + b


def scale(a: Any, factor: float) -> Any:
    """``factor * a``, array by array."""
    return each(lambda array: array * factor, a)


def copy(a: Any) -> Any:
    """Own arrays, in C order, instead of views of something larger, which can then be freed."""
    return each(lambda array: array.copy(), a)
