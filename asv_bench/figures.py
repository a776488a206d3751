"""The curves of the page, as plotly draws them.

The colours of lines can be seen on white and on black; history.css has the colours of text and grid.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import plotly.graph_objects as go
from series import Line, Panel

Figure: TypeAlias = dict[str, Any]  # as JSON
Points: TypeAlias = Sequence[tuple[int, float, float | None]]  # a size, a number, its standard error


class Look(NamedTuple):
    colour: str
    symbol: str  # plotly's name
    sign: str  # the same in text
    dash: str = "solid"


STRATEGIES = {
    "full": Look("#2f7fd6", "circle", "●"),
    "regular": Look("#d9731a", "square", "■"),
    "random": Look("#1f9a6a", "diamond", "◆"),
    "random, mean of 100": Look("#1f9a6a", "diamond-open", "◇", "dot"),
    "checkpointed": Look("#9068cf", "triangle-up", "▲"),
    "window": Look("#c2457d", "triangle-down", "▼"),
}
OTHERS = (
    Look("#0b93a5", "circle", "●"),
    Look("#b8860b", "square", "■"),
    Look("#a95fb5", "diamond", "◆"),
    Look("#7c8a2e", "triangle-up", "▲"),
    Look("#808080", "triangle-down", "▼"),
    Look("#c0504d", "star", "★"),
)
CLEAR = "rgba(0, 0, 0, 0)"
BAND = "rgba(128, 128, 128, 0.16)"  # behind a commit that changed something
SUFFIXES = {"bytes": "B", "seconds": "s", "us": " µs"}


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """A look for each line: a strategy has the same one everywhere."""
    rest = itertools.cycle(OTHERS)
    return {label: STRATEGIES.get(label) or next(rest) for label in labels}


def by_commit(
    panel: Panel, unit: str, heights: Sequence[int], names: Sequence[str], look: Mapping[str, Look]
) -> Figure:
    """The curves of a panel from bottom to top: the rows of the commits have these heights in pixels, oldest first."""
    edges = [sum(heights[:k]) for k in range(len(heights) + 1)]
    middles = [(low + high) / 2 for low, high in zip(edges, edges[1:], strict=False)]
    figure = go.Figure()
    for line in panel.lines:
        figure.add_trace(_curve(line, middles, names, look[line.label]))
    for at in {mark.at for line in panel.lines for mark in line.marks}:
        wide = {"xref": "paper", "x0": -1, "x1": 2, "y0": edges[at], "y1": edges[at + 1] - 1}
        figure.add_shape(**wide, fillcolor=BAND, line_width=0, layer="below")
    values = [value for line in panel.lines for value in line.readings if value is not None]
    figure.update_yaxes(visible=False, range=[0, edges[-1]], fixedrange=True)
    return _finished(figure, _axis(values, unit), {"l": 20, "r": 20, "t": 0, "b": 28})


def _curve(line: Line, middles: Sequence[float], names: Sequence[str], look: Look) -> go.Scatter:
    changed = {mark.at for mark in line.marks}
    sizes = [11 if at in changed else 4 for at in range(len(middles))]
    drawn = _drawn(look, line.label, 1.5, f"{line.label}: %{{x:.4~g}}<br>%{{text}}")
    return drawn.update(x=line.readings, y=middles, error_x=_bars(line.errors), text=names, marker_size=sizes)


def _axis(values: Sequence[float], unit: str) -> dict[str, Any]:
    """From 0, or logarithmic where the largest number is more than ten times the smallest."""
    word = unit.split()[0]
    short = word in ("bytes", "seconds") or max(values) >= 10_000
    axis = {"tickformat": "~s" if short else "~g", "ticksuffix": SUFFIXES.get(word, ""), "nticks": 4, "tickangle": 0}
    axis["showticksuffix"] = "all" if short else "last"  # it must stay after a prefix, as in kB
    if max(values) > 10 * min(values) > 0:
        return {**axis, "type": "log", "dtick": 1}
    return {**axis, "rangemode": "tozero"}


def by_size(curves: Mapping[str, Points], name: str, form: Mapping[str, str]) -> Figure:
    """Curves against a size on a logarithmic axis; ``form`` is how numbers are written."""
    figure = go.Figure()
    for label, points in curves.items():
        x, y, errors = zip(*points, strict=True)
        drawn = _drawn(STRATEGIES[label], label, 2.5, f"{label}<br>{name} %{{x}}: %{{y}}")
        figure.add_trace(drawn.update(x=x, y=y, error_y=_bars(errors), marker_size=9))
    ticks = sorted({x for points in curves.values() for x, *_ in points})
    figure.update_yaxes(rangemode="tozero", fixedrange=True, nticks=6, zeroline=False, **form)
    axis = {"type": "log", "tickvals": ticks, "ticktext": list(map(str, ticks)), "title": name}
    return _finished(figure, {**axis, "ticklen": 6, "tickcolor": CLEAR}, {"l": 56, "r": 16, "t": 8, "b": 44})


def _drawn(look: Look, label: str, width: float, hover: str) -> go.Scatter:
    line = {"color": look.colour, "width": width, "dash": look.dash}
    marker = {"symbol": look.symbol, "opacity": 1, "line_width": 1.5 * look.symbol.endswith("open")}
    drawn = go.Scatter(name=label, mode="lines+markers", line=line, marker=marker, cliponaxis=False)
    return drawn.update(hovertemplate=f"{hover}<extra></extra>")


def _bars(errors: Sequence[float | None]) -> dict[str, Any] | None:
    return {"array": errors, "thickness": 1, "width": 3} if any(errors) else None


def _finished(figure: go.Figure, axis: Mapping[str, Any], margin: Mapping[str, int]) -> Figure:
    figure.update_xaxes(fixedrange=True, zeroline=False, **axis)
    figure.update_layout(template="none", margin=margin, showlegend=False, paper_bgcolor=CLEAR, plot_bgcolor=CLEAR)
    drawn: Figure = figure.update_layout(autosize=True, dragmode=False, font_size=12).to_plotly_json()
    return drawn
