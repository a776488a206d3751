"""Arithmetic on the nested tuples and mappings in which parameters, states and gradients travel."""

from collections.abc import Mapping
from typing import Any


def add(a: Any, b: Any) -> Any:
    """``a + b``, array by array; None stands for zeros."""
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, Mapping):
        return {name: add(a[name], b[name]) for name in a}
    if isinstance(a, tuple):
        return tuple(add(x, y) for x, y in zip(a, b, strict=True))
    return a + b


def scale(a: Any, factor: float) -> Any:
    """``factor * a``, array by array."""
    if isinstance(a, Mapping):
        return {name: scale(value, factor) for name, value in a.items()}
    if isinstance(a, tuple):
        return tuple(scale(value, factor) for value in a)
    return a * factor


def copy(a: Any) -> Any:
    """Arrays of one's own instead of views of something larger, which can then be freed."""
    return scale(a, 1)
