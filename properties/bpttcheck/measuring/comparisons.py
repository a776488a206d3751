"""Errors and tolerances, block by block."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from bpttcheck.cases.blocks import Named, blocks, has_rows, has_steps, streams
from bpttcheck.contract import Case
from bpttcheck.measuring.tolerance import Measured, allowed, in_range
from bpttref.arrays import Array


class Violation(Exception):
    """A law is broken in a way that has no size, such as a missing gradient; the message is a full sentence."""


@dataclass(frozen=True)
class Comparison:
    """The largest error found in one block, and its tolerance; with the numbers, where they are arrays.

    of: a name for the numbers, if they are not from one call. size: the largest expected number.
    """

    block: str
    error: float
    tolerance: float
    alive: bool = True  # whether the block is above the tolerance; if not, an incorrect number would not show
    got: Array | None = field(default=None, repr=False)
    expected: Array | None = field(default=None, repr=False)
    case: Case | None = field(default=None, repr=False)  # if it is not the case of the `Trial`
    of: str = ""
    size: float = 0.0

    @classmethod
    def of_numbers(cls, block: str, got: float, expected: float, tolerance: float, alive: bool = True) -> "Comparison":
        """The comparison of two numbers."""
        return cls(block, abs(got - expected), tolerance, alive, np.array(got), np.array(expected))

    @property
    def exact(self) -> bool:
        """Whether the tolerance is close to zero: the smallest normal number for each operation."""
        return self.tolerance < 1e-30

    @property
    def margin(self) -> float:
        """Error over tolerance: above 1 the law is broken. A result that is not a number breaks it, too."""
        return self.error / self.tolerance if np.isfinite(self.error) else float("inf")


def compare(
    case: Case, got: Named, expected: Named, *measures: Measured, alive: Named | None = None
) -> Iterator[Comparison]:
    """Compare block by block the arrays that both sides have; scales of several measures add up.

    Blocks that the dtype cannot hold, and numbers whose scale of error is infinite, prove nothing and yield nothing. A
    result that is not finite is incorrect where the dtype holds the expected number, however large the scale of error
    is. ``alive``: where zeros are expected, the numbers of a result that is not zero there. Raises Violation where
    shapes differ.
    """
    for name in [name for name in expected if name in got]:
        spread = np.zeros(expected[name].shape)
        for m in measures:
            spread = spread + m.spread.get(name, 0)
        like = expected[name] if alive is None else alive.get(name, expected[name])
        yield from _compare_array(case, name, got[name], expected[name], spread, like)


def _compare_array(
    case: Case, name: str, got: Array, expected: Array, spread: Array, like: Array
) -> Iterator[Comparison]:
    if got.shape != expected.shape:
        raise Violation(f"{name} has shape {got.shape} where {expected.shape} was expected")
    operations = max(1, case.T * sum(sum(stream.shape) for stream in streams(case.x).values()))
    terms = 1 if has_rows(name) else case.T * case.B
    told = np.isfinite(spread) | ~np.isfinite(got)  # else, as on both sides of a kink, any finite number is correct
    whole = told.size > 0 and told.all()
    if not whole:
        got, expected, spread, like = (np.where(told, array, 0) for array in (got, expected, spread, like))
    errors = _largest(case, name, np.subtract(got, expected, dtype=np.float64))
    sizes, scales = _largest(case, name, expected), _largest(case, name, spread)
    lives = sizes if like is expected else _largest(case, name, like)
    any_told = [1.0] * len(sizes) if whole else _largest(case, name, told)
    parts = zip(blocks(case, name, got), blocks(case, name, expected), strict=True)
    for ((label, g), (_, e)), error, size, scale, live, is_told in zip(
        parts, errors, sizes, scales, lives, any_told, strict=True
    ):
        if is_told and (
            in_range(size, scale, case.format) or (in_range(size, 0, case.format) and not np.isfinite(error))
        ):
            tolerance = allowed(scale if np.isfinite(scale) else 0.0, size, case.format, operations, terms)
            yield Comparison(label, error, tolerance, live > tolerance, g, e, size=size)


def _largest(case: Case, name: str, array: Array) -> list[float]:
    """The largest magnitude in each block."""
    if has_steps(name) and array.ndim:  # many small blocks at once
        by_step: list[float] = np.abs(array).max(axis=tuple(range(1, array.ndim)), initial=0).tolist()
        return by_step
    return [float(np.abs(part).max(initial=0)) for _, part in blocks(case, name, array)]


def rows(named_arrays: Named, select: Array) -> Named:
    """The chosen rows: axis 1 of a sequence, axis 0 of a state. Gradients of parameters have no rows and are left
    out."""
    return {
        name: array[:, select] if has_steps(name) else array[select]
        for name, array in named_arrays.items()
        if has_rows(name)
    }
