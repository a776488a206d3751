"""The steps that belong to a call of backward: those that a module computed after the call before it.

A forward pass between the two calls that no backward reaches, such as an evaluation, is left out.
"""

from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np

from bpttcheck.watching.record import ForwardCall, Kind, Record, Trace
from bpttref.arrays import Array

_STARTS = {Kind.ABSENT, Kind.ZERO, Kind.REPLACED, Kind.COMPUTED}
_FAINT = 1e6  # times the smallest normal number: a gradient behind one as small as that may underflow


@dataclass(frozen=True)
class Row:
    """The steps of one module that a call of backward reaches. number: of the call, from 1. own: its forward calls,
    by their positions in the trace. own_steps: the steps of these. steps, norms: where a gradient arrives, zeros
    included. least: the smallest normal number that a gradient can be."""

    number: int
    own: tuple[int, ...]
    own_steps: Array
    steps: Array
    norms: Array
    least: float

    @property
    def vanished(self) -> Array:
        """The steps with a gradient of zero next to a gradient so small that underflow explains the zero."""
        there = self.norms != 0
        later = np.minimum.accumulate(np.where(there, np.arange(len(there)), len(there))[::-1])[::-1]
        beside = np.append(self.norms, np.inf)[later]
        vanished: Array = self.steps[~there & (beside < _FAINT * self.least)]
        return vanished

    @property
    def reached(self) -> Array:
        """The steps with a gradient that is not zero."""
        reached: Array = self.steps[self.norms != 0]
        return reached

    @property
    def of_own(self) -> Array:
        """Its own steps that are reached."""
        return np.intersect1d(self.reached, self.own_steps)

    @property
    def before(self) -> Array:
        """The steps of earlier calls that are reached."""
        return np.setdiff1d(self.reached, self.own_steps)


def starts_anew(trace: Trace, call: ForwardCall) -> bool:
    """Whether a forward call starts anew instead of continuing the one before it."""
    state = call.state
    return all(kind in _STARTS for kind in state.kinds) or state.source not in ("", trace.name)


def rows_of(record: Record, trace: Trace) -> list[Row]:
    """A row for each call of backward that reaches the module."""
    reaching = [
        (number, backward.made.get(trace.name, 0), backward.reached[trace.name])
        for number, backward in enumerate(record.backwards, 1)
        if trace.name in backward.reached
    ]
    firsts = np.array([call.first for call in trace.calls])
    edges = sorted({0, *(made for _, made, _ in reaching)})
    since = dict(zip(edges[1:], edges, strict=False))
    everywhere = np.unique(np.concatenate([reached.steps for *_, reached in reaching])) if reaching else np.zeros(0)
    taking_part = set(np.searchsorted(firsts, everywhere, "right") - 1)
    rows = []
    for number, made, reached in reaching:
        new = range(*np.searchsorted(firsts, [since[made], made]))
        own = _taking_part(trace, new, taking_part)
        steps = [np.arange(trace.calls[i].first, trace.calls[i].first + trace.calls[i].steps) for i in own]
        rows.append(Row(number, own, np.concatenate(steps) if steps else np.zeros(0, int), *reached, trace.least))
    return rows


def _taking_part(trace: Trace, new: range, reached: set[int]) -> tuple[int, ...]:
    """The forward calls of sequences that a backward reaches; all of them if it reaches none."""
    edges = [new.start, *(i for i in new[1:] if starts_anew(trace, trace.calls[i])), new.stop]
    sequences = [range(a, b) for a, b in pairwise(edges) if any(i in reached for i in range(a, b))]
    return tuple(i for sequence in sequences or [new] for i in sequence)


def rounds_of(rows: list[Row]) -> list[Row]:
    """Calls of backward without a forward call between them merged into one, with the number of the first."""
    merged = []
    for _, group in groupby(rows, lambda row: row.own):
        some = list(group)
        steps, where = np.unique(np.concatenate([row.steps for row in some]), return_inverse=True)
        squares = np.zeros(len(steps))
        np.add.at(squares, where, np.concatenate([row.norms for row in some]) ** 2)
        merged.append(replace(some[0], steps=steps, norms=np.sqrt(squares)) if len(some) > 1 else some[0])
    return merged


def unreached(trace: Trace, rows: list[Row]) -> int:
    """How many forward calls belong to no call of backward."""
    return len(trace.calls) - len({i for row in rows for i in row.own})
