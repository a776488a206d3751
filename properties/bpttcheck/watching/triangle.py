"""The triangle in text: a line for each call of backward, a column for each step, or for some."""

from collections.abc import Collection, Sequence

import numpy as np

from bpttcheck.watching.chunks import Row
from bpttref.arrays import Array

_COLUMNS, _LINES = 60, 12
REACHED, ZERO, NOT_REACHED, CUT = "#0.|"


def triangle(rows: Sequence[Row], cut: Collection[int], reached: Sequence[Array] | None = None) -> list[str]:
    """``#`` where a gradient arrives, ``0`` where it is exactly zero, ``.`` where none does; a line above has ``|`` at
    the steps before which the state is cut. reached: steps to mark in place of those in the rows, such as expected
    ones."""
    shown = rows[:_LINES]
    steps = [row.reached for row in shown] if reached is None else list(reached)[:_LINES]
    ends = [
        max((int(some[-1]) + 1 for some in (row.own_steps, row.steps, there) if len(some)), default=0)
        for row, there in zip(shown, steps, strict=True)
    ]
    end = max(ends, default=0)
    width = -(-end // _COLUMNS) or 1
    lines = []
    for row, there, until in zip(shown, steps, ends, strict=True):
        marks = np.full(end, NOT_REACHED)
        if reached is None:
            marks[row.steps] = ZERO
        marks[there] = REACHED
        lines.append(f"{row.number:>4}  {_narrowed(marks[:until], width)}")
    cuts = np.full(end, " ")
    cuts[[step for step in cut if step < end]] = CUT
    title = f"call  steps 0 to {end - 1}{f', a column for {width}' if width > 1 else ''}"
    if CUT in cuts:
        lines.insert(0, f"      {_narrowed(cuts, width).rstrip()} the state is cut")
    return [title, *lines, *([f"      ... {len(rows) - _LINES} more calls"] if len(rows) > _LINES else [])]


def _narrowed(marks: Array, width: int) -> str:
    """A column has the strongest mark of its steps."""
    pieces = (marks[i : i + width] for i in range(0, len(marks), width))
    return "".join(next(mark for mark in (CUT, REACHED, ZERO, NOT_REACHED, " ") if mark in piece) for piece in pieces)
