"""The triangle as a picture: calls of backward downwards, steps to the right, colour is the norm of the gradient."""

from pathlib import Path
from typing import Any

import numpy as np

from bpttcheck.studies.pictures import COLOURS, SLIDE, new_figure, shades
from bpttcheck.watching.chunks import Row
from bpttcheck.watching.record import Kind, Trace

_ROWS, _STEPS = 40, 2000  # that fit into a picture
_CUT = {Kind.DETACHED: "detached", Kind.REPLACED: "replaced"}
_MARKS = {"detached": (COLOURS[1], "-"), "replaced": (COLOURS[1], "--"), "starts from zeros": ("0.3", ":")}


def draw(file: Path, shown: list[tuple[Trace, list[Row]]], *, large: bool = False) -> None:
    """A panel for each module. large: for a slide.

    Raises ImportError without matplotlib, and ValueError if there is none.
    """
    if not shown:
        raise ValueError("no call of backward was seen, so there is nothing to draw")
    figure = new_figure(*SLIDE, dpi=250) if large else new_figure(7.6, 0.7 + 2.7 * len(shown))
    for axes, (trace, rows) in zip(figure.subplots(len(shown), squeeze=False).ravel(), shown, strict=True):
        some = rows[:_ROWS]
        end = min(_STEPS, max(int(max(row.steps.max(initial=0), row.own_steps.max(initial=0))) for row in some) + 1)
        norms = np.full((len(some), end), np.nan)
        for line, row in enumerate(some):
            there = (row.steps < end) & (row.norms > 0)
            norms[line, row.steps[there]] = np.log10(row.norms[there])
            unknown = row.steps[(row.steps < end) & np.isnan(row.norms)]
            axes.plot(unknown, np.full(len(unknown), line), ",", color=COLOURS[0])
        image = axes.imshow(norms, aspect="auto", cmap=shades(), interpolation="nearest")
        figure.colorbar(image, ax=axes, label="norm of the gradient,\nlog10; grey: none")
        _mark_states(axes, trace, end)
        axes.set(title=trace.title, xlabel="step", ylabel="call of backward", facecolor="#f4f4f4")
        axes.set_yticks(range(len(some)), [str(row.number) for row in some])
        if len(some) > 12:
            axes.set_yticks(range(0, len(some), 5), [str(row.number) for row in some[::5]])
    figure.savefig(file)


def _mark_states(axes: Any, trace: Trace, end: int) -> None:
    """A line where the state does not come with its gradient from the step before."""
    labels = set()
    for call in trace.calls:
        kind = call.state.kinds[0]
        label = _CUT.get(kind, "starts from zeros" if kind in (Kind.ZERO, Kind.ABSENT) else "")
        if label and 0 < call.first < end:
            (colour, style), new = _MARKS[label], label not in labels
            axes.axvline(call.first - 0.5, color=colour, linestyle=style, lw=1.2, label=label if new else None)
            labels.add(label)
    if labels:
        axes.legend(loc="lower left", fontsize="small", title="state", title_fontsize="small")
