"""Errors beside what is allowed, block by block."""

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
    """The largest error found in one block, and what is allowed there; with the numbers, where they are arrays.

    of: what the numbers are, if they are not those of one call.
    """

    block: str
    error: float
    tolerance: float
    alive: bool = True  # whether what is looked at is above the tolerance; if not, a wrong number would not show
    got: Array | None = field(default=None, repr=False)
    expected: Array | None = field(default=None, repr=False)
    case: Case | None = field(default=None, repr=False)  # where it is not the trial's
    of: str = ""

    @classmethod
    def of_numbers(cls, block: str, got: float, expected: float, tolerance: float, alive: bool = True) -> "Comparison":
        """That of two numbers."""
        return cls(block, abs(got - expected), tolerance, alive, np.array(got), np.array(expected))

    @property
    def exact(self) -> bool:
        """Whether next to nothing is allowed: the smallest normal number for each operation."""
        return self.tolerance < 1e-30

    @property
    def margin(self) -> float:
        """Error over tolerance: above 1 the law is broken. A result that is not a number breaks it, too."""
        return self.error / self.tolerance if np.isfinite(self.error) else float("inf")


def compare(
    case: Case, got: Named, expected: Named, *measures: Measured, alive: Named | None = None
) -> Iterator[Comparison]:
    """Compare block by block the arrays that both sides have; scales of several measures add up.

    Blocks that the dtype cannot hold prove nothing and yield nothing, nor do numbers whose scale of error is infinite.
    What is not finite where numbers that the dtype holds are expected is wrong, however much rounding may change.
    ``alive``: where zeros are expected, what would be there if they were not. Raises Violation where shapes differ.
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
    parts = zip(*(blocks(case, name, a) for a in (got, expected, spread, like)), strict=True)
    operations = max(1, case.T * sum(sum(stream.shape) for stream in streams(case.x).values()))
    terms = 1 if has_rows(name) else case.T * case.B
    everywhere = bool((np.isfinite(spread) | ~np.isfinite(got)).all())
    for (label, g), (_, e), (_, s), (_, a) in parts:
        if not everywhere:  # as on both sides of a kink, where any finite number will do
            told = np.isfinite(s) | ~np.isfinite(g)
            g, e, s, a = (g, e, s, a) if told.all() else (g[told], e[told], s[told], a[told])
        if g.size == 0:
            continue
        size, scale = float(np.abs(e).max()), float(s.max())
        if in_range(size, scale, case.dtype) or (in_range(size, 0, case.dtype) and not np.isfinite(g).all()):
            error = float(np.abs(np.subtract(g, e, dtype=np.float64)).max())
            tolerance = allowed(scale if np.isfinite(scale) else 0.0, size, case.dtype, operations, terms)
            largest = size if like is expected else float(np.abs(a).max())
            yield Comparison(label, error, tolerance, largest > tolerance, g, e)


def rows(named_arrays: Named, select: Array) -> Named:
    """The chosen rows: axis 1 of a sequence, axis 0 of a state. Gradients of parameters have none and are left out."""
    return {
        name: array[:, select] if has_steps(name) else array[select]
        for name, array in named_arrays.items()
        if has_rows(name)
    }
