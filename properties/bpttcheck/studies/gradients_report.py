"""An analysis of gradients as a table, a picture, and JSON for programs, from the same results."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from bpttcheck.studies.gradients import Analysis, Setting
from bpttcheck.studies.pictures import COLOURS, MARKERS, explain_lines, new_panels
from bpttref.analysis import Lag
from bpttref.arrays import Array

_GREY = "#666666"
_LEGEND = """
Norms of matrices are spectral. C[t, s] is the part of the parameters' gradient
that flows from the loss at t to their use at s. ~: extrapolated by the fitted
factor, because the lag lies beyond 3/4 of the sequence."""


def print_analyses(console: Console, name: str, setting: Setting, analyses: Sequence[Analysis]) -> None:
    """The table, one column per cell, and its legend."""
    console.print(f"{name}, float64\n{_told(setting)}\n", markup=False, highlight=False)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1), pad_edge=False)
    table.add_column("", no_wrap=True)
    for analysis in analyses:
        table.add_column(analysis.cell, justify="right", overflow="fold")
    for label, values in _rows(setting.length, analyses):
        table.add_row(label, *values)
    console.print(table, highlight=False)
    console.print(_LEGEND, markup=False, highlight=False)


def _told(setting: Setting) -> str:
    sizes = f"length {setting.length}, units {setting.units}, inputs {setting.inputs}"
    return f"{sizes}, scale {setting.scale:g}, gate bias {setting.gate_bias:g}, seed {setting.seed}"


def _rows(T: int, analyses: Sequence[Analysis]) -> Iterator[tuple[str, list[str]]]:
    """Labels and the cells' numbers, by sections."""
    lags = [*(4**k for k in range(5) if 4**k < 3 * T // 4), 3 * T // 4]
    yield "[bold]J_t = ds_t/ds_{t-1}, median over t[/]", []
    yield "  largest singular value", [f"{np.median(a.singular[:, 0]):.3f}" for a in analyses]
    yield "  smallest singular value", [f"{np.median(a.singular[:, -1]):.2g}" for a in analyses]
    yield "  spectral radius", [f"{np.median(np.abs(a.eigenvalues[:, 0])):.3f}" for a in analyses]
    yield f"[bold]product of all {T}, per step[/]", []
    for label, k in (("largest singular value", 0), ("spectral radius", 1)):
        yield f"  {label}", [f"{2 ** (a.products[k][-1, 0] / T):.3f}".replace("nan", "") for a in analyses]
    for label, triangles in (
        ("norm of dh_t/dh_s", [a.sizes.norms for a in analyses]),
        (r"norm of C\[t, s]", [a.sizes.contributions for a in analyses]),
    ):
        yield f"[bold]{label}, median over t[/]", []
        for k in lags:
            yield f"  lag {k}", [_power(float(np.median(triangle[k, : T - k]))) for triangle in triangles]
    yield "[bold]factor per lag[/]", []
    yield "  fitted to dh_t/dh_s", [f"{a.rate:.4f}" for a in analyses]
    gates = ["" if a.gate_rate is None else f"{a.gate} {a.gate_rate:.4f}" for a in analyses]
    bounds = ["" if a.bound is None else f"{a.bound:.4f}" for a in analyses]
    yield from [("  through the gates only", gates)] * any(gates)
    yield from [("  bound, ||W_hh|| max|phi'|", bounds)] * any(bounds)
    yield "[bold]lags in float32[/]", []
    yield "  memory horizon", [_lag(a.horizon) for a in analyses]
    yield "  dh_t/dh_s is zero from", [_lag(a.underflow) for a in analyses]
    yield "  dh_t/dh_s overflows at", [_lag(a.overflow) for a in analyses]


def _lag(lag: Lag) -> str:
    return "never" if lag.steps is None else f"{'' if lag.measured else '~ '}{lag.steps}"


def _power(log2: float) -> str:
    """A number given as its base-2 logarithm, which may lie outside float64."""
    if np.isneginf(log2):
        return "0"
    exponent = int(np.floor(log2 * np.log10(2)))
    digits = f"{10 ** (log2 * np.log10(2) - exponent):.1f}"
    return f"{digits}e{exponent:+03d}" if digits != "10.0" else f"1.0e{exponent + 1:+03d}"


def to_json(name: str, setting: Setting, analyses: Sequence[Analysis], versions: dict[str, str]) -> str:
    """Every number, with curves by lag as lowest, median and highest over t. ``log2_``: base-2 logarithms; null: not a
    finite number. Eigenvalues are pairs, real and imaginary part."""
    cells = []
    for a in analyses:
        numbers = {
            "log2_norms": _spread(a.sizes.norms),
            "log2_entries": _spread(a.sizes.entries),
            "log2_contributions": _spread(a.sizes.contributions),
            "log2_tails": a.sizes.tails,
            "log2_gates": None if a.gates is None else _spread(a.gates),
            "singular_values": a.singular,
            "eigenvalues": np.stack([a.eigenvalues.real, a.eigenvalues.imag], axis=-1),
            "log2_singular_values_of_products": a.products[0],
            "log2_eigenvalues_of_products": a.products[1],
        }
        scalars = {"cell": a.cell, "rate": a.rate, "bound": a.bound, "gate": a.gate, "gate_rate": a.gate_rate}
        lags = {name: getattr(a, name)._asdict() for name in ("horizon", "overflow", "underflow")}
        cells.append(scalars | lags | {name: _plain(array) for name, array in numbers.items()})
    return json.dumps(
        {"schema": 1, "versions": versions, "target": name, "setting": asdict(setting), "cells": cells},
        allow_nan=False,
    )


def _spread(triangle: Array) -> Array:
    """``(3, T)``: the lowest, the median and the highest by lag."""
    return np.stack([f(triangle, axis=1) for f in (np.nanmin, np.nanmedian, np.nanmax)])


def _plain(array: Array | None) -> Any:
    if array is None:
        return None
    numbers = array.astype(object)
    numbers[~np.isfinite(array)] = None
    return numbers.tolist()


def draw_analyses(
    files: Sequence[Path], name: str, setting: Setting, analyses: Sequence[Analysis], panel: str | None
) -> None:
    """Draw dh_t/dh_s, contributions, gates (if a cell has them) and eigenvalues of J_t, or one ``panel`` of `PANELS`.

    The vertical axes follow the measurements; the legend says how far a bound leaves them. Raises ImportError
    without matplotlib, and ValueError where there is no such panel.
    """
    gated = [a for a in analyses if a.gates is not None]
    layout = [["norms", "contributions"], ["gates" if gated else "norms", "eigenvalues"]]
    figure, panels = new_panels(layout, 11, 8, panel)
    looks = [{"color": c, "marker": m} for c, m in zip(COLOURS, MARKERS, strict=True)]
    styles = {a.cell: {**looks[k % len(looks)], "label": a.cell} for k, a in enumerate(analyses)}
    for which, axes in panels.items():
        for a in gated if which == "gates" else analyses:
            PANELS[which](axes, a, styles[a.cell])
        if which != "eigenvalues":
            axes.set(xlabel="lag $t - s$", yscale="log", xlim=(0, setting.length))
            axes.grid(alpha=0.25)
    if "norms" in panels:
        _limit(panels["norms"], analyses)
    if "contributions" in panels:
        _level(panels["contributions"], 2.0**-24, r"$2^{-24}$: the horizon of float32", "top")
    explain_lines(figure, 2 if panel else 5)
    figure.suptitle(f"{name}: {_told(setting)}", fontsize="small" if panel else "large", wrap=True)
    for file in files:
        figure.savefig(file)


def _draw_norms(axes: Any, a: Analysis, style: dict[str, Any]) -> None:
    low, median, high = _visible(_spread(a.sizes.norms))
    lags = np.arange(len(median))
    axes.fill_between(lags, low, high, color=style["color"], alpha=0.2, linewidth=0)
    axes.plot(lags, median, **style, markevery=len(lags) // 8 or 1)
    axes.set(title=r"Spectral norm of $\partial h_t/\partial h_s$", ylabel="median over $t$; band: lowest to highest")


def _limit(axes: Any, analyses: Sequence[Analysis]) -> None:
    """Draw bounds and the range of float32 as far as the curves leave room for them."""
    axes.autoscale(False)
    low, high = np.log10(axes.get_ylim())
    axes.set_ylim(10**low, 10 ** (high + 0.12 * (high - low)))
    for a in analyses:
        if a.bound is not None:
            lags = np.arange(len(a.sizes.norms))
            end = f"at last $10^{{{lags[-1] * np.log10(a.bound):.0f}}}$"
            label = rf"bound of {a.cell}: $\|W_{{hh}}\|^{{t - s}}$, {end}"
            axes.plot(lags, _visible(lags * np.log2(a.bound)), color=_GREY, linestyle=":", label=label)
    _level(axes, 2.0**-149, "smallest in float32")
    _level(axes, 2.0**128, "largest in float32")


def _draw_contributions(axes: Any, a: Analysis, style: dict[str, Any]) -> None:
    tails = _visible(a.sizes.tails - a.sizes.tails[0])
    axes.plot(tails, **style, markevery=len(tails) // 8 or 1)
    if a.horizon.measured:
        axes.annotate(
            f"lag {a.horizon.steps}",
            (a.horizon.steps, 2.0**-24),
            (12, 12),
            textcoords="offset points",
            arrowprops={"arrowstyle": "->", "color": style["color"]},
        )
    axes.set(title="Contributions from this lag on", ylabel="norm, relative to the gradient's")


def _draw_gates(axes: Any, a: Analysis, style: dict[str, Any]) -> None:
    assert a.gates is not None
    every = len(a.sizes.norms) // 8 or 1
    axes.plot(_visible(_spread(a.sizes.norms)[1]), **style, markevery=every)
    alone = {**style, "label": "only its gates: product of f or z", "linestyle": "--", "fillstyle": "none"}
    axes.plot(_visible(_spread(a.gates)[1]), **alone, markevery=every)
    axes.set(title=r"$\partial h_t/\partial h_s$, and only its gates", ylabel="median over $t$")


def _draw_eigenvalues(axes: Any, a: Analysis, style: dict[str, Any]) -> None:
    points, circle = a.eigenvalues.ravel(), np.exp(2j * np.pi * np.linspace(0, 1, 200))
    axes.plot(circle.real, circle.imag, color=_GREY, linewidth=1)
    drawn = {**style, "linestyle": "none", "markersize": 3, "alpha": 0.4, "markeredgewidth": 0}
    axes.plot(points.real, points.imag, **drawn)
    title = r"Eigenvalues of $J_t = \partial s_t/\partial s_{t-1}$ for all $t$"
    axes.set(title=title, xlabel="real part; the circle has radius 1", ylabel="imaginary part")
    axes.set_aspect("equal", adjustable="datalim")


PANELS: dict[str, Callable[[Any, Analysis, dict[str, Any]], None]] = {
    "norms": _draw_norms,
    "contributions": _draw_contributions,
    "gates": _draw_gates,
    "eigenvalues": _draw_eigenvalues,
}


def _level(axes: Any, level: float, label: str, side: str = "bottom") -> None:
    """A line at a level, where the curves come near it."""
    if not axes.get_ylim()[0] < level < axes.get_ylim()[1]:
        return
    axes.axhline(level, color=_GREY, linewidth=1, linestyle="--")
    where = axes.get_yaxis_transform()
    axes.text(0.98, level, label, transform=where, ha="right", va=side, color=_GREY)


def _visible(log2: Array) -> Array:
    """Numbers from logarithms, NaN where they lie outside float64."""
    return np.exp2(np.where(np.abs(log2) < 1000, log2, np.nan))
