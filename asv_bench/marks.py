"""Which numbers changed by more than their noise?

An exact number changed if it moved beyond its limit. A timed one changed if the readings before and after do not
overlap, and if it moved beyond its limit and beyond its noise: `NOISE` times its usual move from one reading to the
next. Two readings on either side must agree, so neither a single outlier nor the newest commit is ever marked.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple, TypeAlias

from limits import Limit

NOISE = 4
NEAR = 3  # readings on either side of a change
NONE = Limit("", 1, 0, exact=False)  # a timed series without a limit has only its own noise
Readings: TypeAlias = Sequence[float | None]  # by commit, oldest first; None: not measured


class Mark(NamedTuple):
    """A change at the commit of this index."""

    at: int
    before: float
    after: float

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before else math.inf


def marks(readings: Readings, limit: Limit | None) -> list[Mark]:
    """The changes of one cell, under its limit."""
    known = [(at, reading) for at, reading in enumerate(readings) if reading is not None]
    if limit and limit.exact:
        moves = [Mark(at, before, after) for (_, before), (at, after) in pairwise(known)]
        return [move for move in moves if _beyond(move.before, move.after, limit)]
    return _timed_marks(known, limit or NONE)


def _timed_marks(known: Sequence[tuple[int, float]], limit: Limit) -> list[Mark]:
    values = [value for _, value in known]
    moves = [abs(math.log(after / before)) for before, after in pairwise(values)]
    noise = limit._replace(ratio=max(limit.ratio, math.exp(NOISE * median(moves or [0]))))
    found = []
    for k in range(2, len(values) - 1):
        before, after = values[max(0, k - NEAR) : k], values[k : k + NEAR]
        apart = max(before) < min(after) or max(after) < min(before)
        mark = Mark(known[k][0], median(before), median(after))
        if apart and _beyond(mark.before, mark.after, noise) and _beyond(values[k - 1], values[k], noise):
            found.append(mark)
    return found


def _beyond(before: float, after: float, limit: Limit) -> bool:
    """In either direction, by ratio and by amount."""
    low, high = sorted((before, after))
    return high > low * limit.ratio and high - low > limit.amount
