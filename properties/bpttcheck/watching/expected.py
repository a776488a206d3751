"""Which steps each call of backward reaches under a truncation, next to the steps that it was seen to reach.

A call has a loss at each of its own steps t. It should reach the steps s with ``M[t, s] != 0``. It was seen to reach
the steps with a gradient, but from t only as far back as the last step before which the state was cut. Steps count from
the start of their sequence, and a state from zeros or from elsewhere starts one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bpttcheck.watching.chunks import Row, starts_anew
from bpttcheck.watching.record import Kind, Trace
from bpttref import Strategy, weights
from bpttref.arrays import Array

_LONGEST = 4000  # steps of a sequence: M has the square of it


@dataclass(frozen=True)
class Reach:
    """reached: for each row the steps, in ascending order. cut: the steps before which the state is cut, though their
    sequence began earlier."""

    reached: list[Array]
    cut: set[int]


def seen_reach(trace: Trace, rows: list[Row]) -> Reach:
    """The steps that calls reached."""
    calls = [trace.calls[i] for i in _own(rows)] if trace.sees_state else []
    return Reach(
        [row.reached for row in rows],
        {call.first for call in calls[1:] if not starts_anew(trace, call) and Kind.CARRIED not in call.state.kinds},
    )


def expected_reach(trace: Trace, rows: list[Row], strategy: Strategy) -> Reach:
    """The steps that a truncation would reach in the same calls. Steps whose gradient underflows are not expected."""
    reached: list[list[Array]] = [[np.zeros(0, int)] for _ in rows]
    cut: set[int] = set()
    for i, start, t, M in _sequences(trace, rows, strategy):
        reached[i].append(start + np.flatnonzero(M[t].any(0)))
        cut |= {int(start + step) for step in t if step and not M[step, step - 1]}
    return Reach([np.setdiff1d(np.concatenate(some), rows[i].vanished) for i, some in enumerate(reached)], cut)


def agrees(trace: Trace, rows: list[Row], strategy: Strategy) -> bool:
    """Whether calls reach, from each of their own steps, the steps that a truncation lets through."""
    seen, expected = seen_reach(trace, rows), expected_reach(trace, rows, strategy)
    if not all(map(np.array_equal, seen.reached, expected.reached)):
        return False
    for i, start, t, M in _sequences(trace, rows, strategy):
        s = np.arange(len(M))
        last_cut = np.maximum.accumulate(np.where(np.isin(start + s, list(seen.cut)), s, 0))
        from_t = np.isin(start + s, rows[i].reached) & (s <= t[:, None]) & (s >= last_cut[t, None])
        if not np.array_equal(from_t, M[t] & ~np.isin(start + s, rows[i].vanished)):
            return False
    return True


def _sequences(trace: Trace, rows: list[Row], strategy: Strategy) -> Iterator[tuple[int, int, Array, Array]]:
    """For each row, by its position, the sequences of its own steps: its start, the steps counted from there, and the
    entries of its M that are not zero. Raises ValueError if a sequence is too long to have an M."""
    starts = {trace.calls[i].first for i in _own(rows) if starts_anew(trace, trace.calls[i])}
    for start, stop in pairwise(sorted({0, *starts, trace.steps})):
        own = [row.own_steps[(row.own_steps >= start) & (row.own_steps < stop)] - start for row in rows]
        if stop - start > _LONGEST and any(map(len, own)):
            raise ValueError(f"a sequence of {stop - start} steps is too long to check: watch fewer calls, calls=20")
        M = weights(strategy, stop - start)[:, 1:] != 0 if any(map(len, own)) else np.zeros((0, 0), bool)
        yield from ((i, start, t, M) for i, t in enumerate(own) if len(t))


def _own(rows: list[Row]) -> list[int]:
    """The forward calls that take part, by their positions in the trace."""
    return sorted({i for row in rows for i in row.own})
