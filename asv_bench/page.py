"""One page of curves, in one file that needs no network: each series against its parameter, and against the commits."""

import ast
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, TypeAlias

import plotly.graph_objects as go
from asv_runs import RESULTS, Cell, Cells, git
from plotly.colors import qualitative
from plotly.subplots import make_subplots

About: TypeAlias = Mapping[str, Any]  # what asv knows of a benchmark
READING = (
    "Lower is better everywhere. By parameter: the newest commit and, dotted, the oldest. By commit: dotted, dashed "
    "and solid lines are the smallest to the largest parameter. A name in a legend hides or shows its lines."
)
STYLE = "body {font: 16px sans-serif; max-width: 1200px; margin: 2em auto}"


def write_page(path: Path, history: dict[str, Cells], sentences: Sequence[str]) -> None:
    """Draw all series that were measured; ``history`` is by commit, newest first."""
    oldest_first = {git("log", "-1", "--format=%h %s", commit): history[commit] for commit in reversed(history)}
    known = json.loads((RESULTS / "benchmarks.json").read_text())
    measured = {cell.benchmark for cells in history.values() for cell in cells}
    drawn = sorted((name for name in measured if not name.endswith("_error")), key=_order)
    parts = [f'<!doctype html><html lang="en"><meta charset="utf-8"><title>bpttcheck</title><style>{STYLE}</style>']
    parts += ["<h1>The reference, commit by commit</h1>", *(f"<p>{escape(sentence)}</p>" for sentence in sentences)]
    parts += [f"<p>{READING}</p>"]
    for name in drawn:
        about = known[name]
        parts += [f"<h2>{escape(name)} ({escape(about['unit'])})</h2><p>{escape(_docstring(about))}</p>"]
        parts += [_figure(about, oldest_first).to_html(full_html=False, include_plotlyjs=name == drawn[0])]
    path.write_text("\n".join(parts), encoding="utf-8")


def _figure(about: About, oldest_first: Mapping[str, Cells]) -> go.Figure:
    """A line for each choice of the other parameters. Left: the newest commit, the oldest one dotted. Right: all."""
    names, choices = about["param_names"], about["params"]
    axis = next((k for k, texts in enumerate(choices) if all(map(str.isdigit, texts))), None)
    commits = list(oldest_first)
    titles = ["by commit"] if axis is None else [f"by {names[axis]}", "by commit"]
    figure = make_subplots(1, len(titles), subplot_titles=titles)
    lines: dict[str, list[Cell]] = {}
    for parameters in itertools.product(*choices):
        others = ", ".join(f"{n} {p}" for k, (n, p) in enumerate(zip(names, parameters, strict=True)) if k != axis)
        lines.setdefault(others.replace("'", ""), []).append(Cell(about["name"], parameters))
    for k, (label, cells) in enumerate(lines.items()):
        drawn = []
        if axis is not None:
            at = [int(cell.parameters[axis]) for cell in cells]
            for commit, dash in ((commits[0], "dot"), (commits[-1], "solid")):
                drawn.append((1, _line(at, [(oldest_first[commit], cell) for cell in cells], dash, commit)))
        for cell, dash in zip(cells, ("dot", "dash", "solid")[-len(cells) :], strict=True):
            by_commit = [(oldest_first[commit], cell) for commit in commits]
            texts = [f"{', '.join(cell.parameters)}<br>{commit}" for commit in commits]
            drawn.append((len(titles), _line([text.split()[0] for text in commits], by_commit, dash, texts)))
        drawn = [(column, line) for column, line in drawn if any(line.y)]
        for column, line in drawn:
            line.update(name=label, legendgroup=label, showlegend=line is drawn[-1][1])
            line.update(marker_color=qualitative.Dark24[k % 24])
            figure.add_trace(line, row=1, col=column)
    seen = [y for trace in figure.data for y in trace.y if y]
    wide = max(seen, default=1) > 10 * min(seen, default=1)
    figure.update_yaxes(type="log" if wide else "linear", rangemode="tozero", dtick=1 if wide else None)
    figure.update_xaxes(type="category", col=len(titles))
    if axis is not None:
        figure.update_xaxes(type="log", tickvals=[int(text) for text in choices[axis]], col=1)
    return figure.update_layout(height=420, margin={"t": 30, "b": 30}, template="simple_white")


def _line(x: list[Any], points: list[tuple[Cells, Cell]], dash: str, text: Any) -> go.Scatter:
    """One line, with the standard errors that stand beside its series."""
    y = [_reading(cells, cell) for cells, cell in points]
    errors = [_reading(cells, cell._replace(benchmark=f"{cell.benchmark}_error")) for cells, cell in points]
    bars = {"array": errors} if any(errors) else None
    return go.Scatter(x=x, y=y, error_y=bars, line_dash=dash, text=text, mode="lines+markers")


def _reading(cells: Cells, cell: Cell) -> float | None:
    value = cells.get(cell)
    return None if value is None or math.isnan(value) else value


def _order(benchmark: str) -> tuple[int, str]:
    return ("speed", "memory", "quality", "peers").index(benchmark.split(".")[0]), benchmark


def _docstring(about: About) -> str:
    """The first docstring in a benchmark's source."""
    functions = (node for node in ast.walk(ast.parse(about["code"])) if isinstance(node, ast.FunctionDef))
    return next((text for text in map(ast.get_docstring, functions) if text), "")
