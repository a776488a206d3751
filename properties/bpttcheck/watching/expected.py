"""Which steps each call of backward reaches under a truncation: those with ``M[t, s] != 0`` for a loss at an own step
t.

Steps count from the start of their sequence, which a state from zeros or from elsewhere begins. Where a state is cut is
a link with ``M[t, t-1] = 0``: calls that reach the same steps may differ in it.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bpttcheck.watching.chunks import Row, starts_anew
from bpttcheck.watching.record import Kind, Trace
from bpttref import Strategy, weights
from bpttref.arrays import Array


@dataclass(frozen=True)
class Reach:
    """reached: for each row the steps, in ascending order. cut: the steps before which the state is cut, though their
    sequence began earlier."""

    reached: list[Array]
    cut: set[int]


def seen_reach(trace: Trace, rows: list[Row]) -> Reach:
    """What calls did."""
    calls = [trace.calls[i] for i in _own(rows)] if trace.sees_state else []
    return Reach(
        [row.reached for row in rows],
        {call.first for call in calls[1:] if not starts_anew(trace, call) and Kind.CARRIED not in call.state.kinds},
    )


def expected_reach(trace: Trace, rows: list[Row], strategy: Strategy) -> Reach:
    """What a truncation makes of the same calls. Steps whose gradient underflows are not expected."""
    starts = {trace.calls[i].first for i in _own(rows) if starts_anew(trace, trace.calls[i])}
    matrices: dict[int, Array] = {}
    reached: list[list[Array]] = [[] for _ in rows]
    cut: set[int] = set()
    for start, stop in pairwise(sorted({0, *starts, trace.steps})):
        M = matrices.setdefault(stop - start, weights(strategy, stop - start)[:, 1:] != 0)
        for row, steps in zip(rows, reached, strict=True):
            t = row.own_steps[(row.own_steps >= start) & (row.own_steps < stop)] - start
            steps.append(start + np.flatnonzero(M[t].any(0)))
            cut |= {int(start + step) for step in t if step and not M[step, step - 1]}
    return Reach(
        [np.setdiff1d(np.concatenate(steps), row.vanished) for row, steps in zip(rows, reached, strict=True)], cut
    )


def same(seen: Reach, expected: Reach) -> bool:
    """Whether both reach the same steps, through the same links."""
    pairs = zip(seen.reached, expected.reached, strict=True)
    return seen.cut == expected.cut and all(np.array_equal(a, b) for a, b in pairs)


def _own(rows: list[Row]) -> list[int]:
    """The forward calls that take part, by their positions in the trace."""
    return sorted({i for row in rows for i in row.own})
