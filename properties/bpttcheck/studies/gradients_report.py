"""An analysis of gradients as a table for people, a picture, and JSON for programs, from the same results."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from bpttcheck.studies.gradients import Analysis, Setting
from bpttcheck.studies.pictures import COLOURS
from bpttref.analysis import Lag
from bpttref.arrays import Array

_GREY = "#777777"
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


def draw_analyses(picture: Any, name: str, setting: Setting, analyses: Sequence[Analysis]) -> None:
    """Draw panels into an empty figure: dh_t/dh_s, contributions, gates (if a cell has them), eigenvalues of J_t."""
    gated = [a for a in analyses if a.gates is not None]
    panels = picture.subplot_mosaic([["norms", "tails"], ["gates" if gated else "norms", "plane"]])
    colours = {a.cell: COLOURS[k % len(COLOURS)] for k, a in enumerate(analyses)}
    for a in analyses:
        _draw_norms(panels["norms"], a, colours[a.cell])
        _draw_tails(panels["tails"], a, colours[a.cell])
        _draw_eigenvalues(panels["plane"], a, colours[a.cell])
    for a in gated:
        _draw_gates(panels["gates"], a, colours[a.cell])
    _level(panels["norms"], 2.0**-149, "smallest in float32", above=True)
    _level(panels["norms"], 2.0**128, "largest in float32", above=True)
    _level(panels["tails"], 2.0**-24, r"$2^{-24}$: the horizon of float32", above=False)
    for axes in [axes for panel, axes in panels.items() if panel != "plane"]:
        axes.set(xlabel="lag $t - s$", yscale="log", xlim=(0, setting.length))
        axes.grid(alpha=0.25)
    panels["norms"].set(title=r"Spectral norm of $\partial h_t/\partial h_s$: median, lowest to highest over $t$")
    panels["tails"].set(title="All contributions from this lag on, per norm of the gradient")
    if any(a.bound is not None for a in analyses):
        panels["norms"].plot([], [], color=_GREY, linestyle=":", label=r"bound, $\|W_{hh}\|$ to the power of the lag")
    if gated:
        panels["norms"].plot([], [], color=_GREY, linestyle="--", label="gates only: product of f or z")
    picture.legend(loc="outside lower center", ncols=5, frameon=False)
    picture.suptitle(f"{name}: {_told(setting)}")


def _draw_norms(axes: Any, a: Analysis, colour: str) -> None:
    low, median, high = _visible(_spread(a.sizes.norms))
    lags = np.arange(len(median))
    axes.fill_between(lags, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(lags, median, color=colour, label=a.cell)
    if a.bound is not None:
        axes.plot(lags, _visible(lags * np.log2(a.bound)), color=colour, linestyle=":")


def _draw_tails(axes: Any, a: Analysis, colour: str) -> None:
    axes.plot(_visible(a.sizes.tails - a.sizes.tails[0]), color=colour)
    if a.horizon.measured:
        axes.plot(a.horizon.steps, 2.0**-24, "o", color=colour)
        axes.annotate(f"{a.horizon.steps}", (a.horizon.steps, 2.0**-24), (5, 5), textcoords="offset points")


def _draw_gates(axes: Any, a: Analysis, colour: str) -> None:
    assert a.gates is not None
    axes.plot(_visible(_spread(a.sizes.norms)[1]), color=colour)
    axes.plot(_visible(_spread(a.gates)[1]), color=colour, linestyle="--")
    axes.set(title=r"$\partial h_t/\partial h_s$, and the part that its gates let pass")


def _draw_eigenvalues(axes: Any, a: Analysis, colour: str) -> None:
    points, circle = a.eigenvalues.ravel(), np.exp(2j * np.pi * np.linspace(0, 1, 200))
    axes.plot(circle.real, circle.imag, color=_GREY, linewidth=1)
    axes.plot(points.real, points.imag, ".", color=colour, markersize=3, alpha=0.4, markeredgewidth=0)
    axes.set(title=r"Eigenvalues of $J_t = \partial s_t/\partial s_{t-1}$ for all $t$")
    axes.set_aspect("equal", adjustable="datalim")


def _level(axes: Any, level: float, label: str, above: bool) -> None:
    axes.axhline(level, color=_GREY, linewidth=1, linestyle="--")
    x, place = (0.02, "bottom") if above else (0.98, "top")
    where = axes.get_yaxis_transform()
    axes.text(x, level, label, transform=where, ha="left" if above else "right", va=place, color=_GREY, clip_on=True)


def _visible(log2: Array) -> Array:
    """Numbers from logarithms, NaN where they lie outside float64."""
    return np.exp2(np.where(np.abs(log2) < 1000, log2, np.nan))
