"""The remedies as tables, as JSON for programs, and as a picture; all from the same runs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from bpttcheck.studies.explosive import RADIUS, B, D, H, T
from bpttcheck.studies.pictures import COLOURS, new_panels
from bpttcheck.studies.remedies import RATES, REMEDIES, Run, best_rate
from bpttref.arrays import Array

_GREY = "#555555"
_AT_START = ("remedy", "changes", "log10\ndh_T/ds_0", "log10\ngradient", "log10\nused", "cosine", "n")
_IN_TRAINING = ("remedy", "rate", "log10\nlargest", "loss\nat start", "loss\nat end", "stopped", "at")


def by_remedy(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each remedy in the order of the table, the first seed first; not the order of arrival."""
    ordered = sorted(runs, key=lambda run: run.number)
    groups = {remedy.name: [run for run in ordered if run.remedy == remedy.name] for remedy in REMEDIES}
    return {name: group for name, group in groups.items() if group}


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """One remedy over its seeds, trained with its best rate: ``(mean, standard deviation)`` of each quantity.

    ``stopped`` counts the runs of all rates that met a number that is not finite, ``steps`` says when.
    """
    rate = best_rate(runs)
    quantities = {
        "log10_reach": [np.log10(run.reach) for run in runs],
        "log10_gradient": [np.log10(run.gradient) for run in runs],
        "log10_used": [np.log10(run.used) for run in runs],
        "cosine": [run.cosine for run in runs],
        "log10_largest": [np.log10(np.nanmax(run.norms[:, rate], initial=0)) for run in runs],
        "loss_at_start": [run.curve[0, rate] for run in runs],
        "loss_at_end": [run.curve[-1, rate] for run in runs],
    }
    steps = sorted(int(step) for run in runs for step in run.stopped if step >= 0)
    spread = {name: (float(np.mean(values)), float(np.std(values))) for name, values in quantities.items()}
    return {"rate": float(RATES[rate]), "seeds": len(runs), **spread, "stopped": len(steps), "steps": steps}


def print_remedies(console: Console, runs: Sequence[Run]) -> None:
    """Two tables: the effect of each remedy on the first gradient, and training with its best rate."""
    before, after = (_table(headings) for headings in (_AT_START, _IN_TRAINING))
    changes = {remedy.name: remedy.changes for remedy in REMEDIES}
    for name, group in by_remedy(runs).items():
        with np.errstate(all="ignore"):  # of zeros and infinities
            s = summary(group)
        reach, gradient, used, largest = (
            _mean(s[f"log10_{what}"], 1) for what in ("reach", "gradient", "used", "largest")
        )
        before.add_row(name, changes[name], reach, gradient, used, _mean(s["cosine"], 2), str(s["seeds"]))
        when = "..".join(dict.fromkeys(str(step) for step in (*s["steps"][:1], *s["steps"][-1:])))
        losses = (_mean(s[f"loss_at_{point}"], 3) for point in ("start", "end"))
        of = f"{s['stopped']}/{len(group) * len(RATES)}"
        after.add_row(name, f"1/{1 / s['rate']:.0f}", largest, *losses, of, when)
    for title, table in (("at the start", before), ("in training, with the best rate for each remedy", after)):
        console.print(f"\n[bold]{title}[/]")
        console.print(table)


def _table(headings: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1), pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("remedy", "changes") else "right", no_wrap=True)
    return table


def _mean(mean_and_deviation: tuple[float, float], digits: int) -> str:
    mean, deviation = mean_and_deviation
    return f"{mean:z.{digits}f}±{deviation:.{digits}f}" if abs(mean) < 1e4 else f"{mean:.1e}"


def to_json(runs: Sequence[Run], settings: dict[str, Any]) -> str:
    """The settings, and by remedy its summary and every run; numbers that are not finite are written as strings."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(v) for key, v in value.items()}
        if isinstance(value, list | tuple | np.ndarray):
            return [plain(v) for v in (value.tolist() if isinstance(value, np.ndarray) else value)]
        return value if not isinstance(value, float) or np.isfinite(value) else str(value)

    problem = {"T": T, "B": B, "D": D, "H": H, "radius": RADIUS, "rates": RATES}
    with np.errstate(all="ignore"):
        remedies = {
            name: {"summary": summary(group), "runs": [asdict(run) for run in group]}
            for name, group in by_remedy(runs).items()
        }
    return json.dumps(plain({"schema": 1, **settings, "problem": problem, "remedies": remedies}), indent=1)


def draw_remedies(files: Sequence[Path], runs: Sequence[Run], only: str | None = None) -> None:
    """Held-out losses above, norms of gradients below, a column for each thing that a remedy may change.

    Lines are medians over the seeds, bands go from the least to the largest. Lines of one panel differ in colour and
    in style. only: the name of one panel, as in `PANELS`. Raises ImportError without matplotlib, and ValueError for a
    panel in which no remedy was measured.
    """
    groups = by_remedy(runs)
    drawn = [remedy for remedy in REMEDIES if remedy.name in groups]
    columns = list(dict.fromkeys(remedy.changes for remedy in drawn if remedy.changes != "nothing")) or ["nothing"]
    layout = [[f"{kind}-{what}" for what in columns] for kind in ("loss", "norm")]
    figure, panels = new_panels(layout, 2.5 + 2.9 * len(columns), 7.5, only)
    for name, axes in panels.items():
        kind, _, what = name.partition("-")
        looks = zip(COLOURS, cycle(("-", "--", "-.")), strict=False)
        for remedy in (r for r in drawn if r.changes in ("nothing", what)):
            group, look = groups[remedy.name], (_GREY, ":") if remedy.changes == "nothing" else next(looks)
            rate = best_rate(group)
            label = f"{remedy.name}, rate 1/{1 / RATES[rate]:.0f}"
            if kind == "loss":
                _band(axes, group[0].steps, [run.curve[:, rate] for run in group], look, label)
            else:
                _band(axes, np.arange(len(group[0].norms)), [run.norms[:, rate] for run in group], look, label)
        ylabel = "held-out loss" if kind == "loss" else "norm of the gradient, before it is changed"
        axes.set(title=f"changes: {what}", yscale="log", xlabel="step of training", ylabel=ylabel)
        if kind == "loss":
            axes.axhline(1 / 6, color=_GREY, linewidth=1, label="always predicting 0")
        if drawn and (kind == "loss" or only):
            below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17), "frameon": False}
            axes.legend(fontsize="small", ncols=2 if only else 1, **below)
    for row in layout:
        shown = [panels[name] for name in row if name in panels]
        limits = np.array([axes.get_ylim() for axes in shown]).reshape(-1, 2)
        for axes in shown:
            axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
        for axes in shown[1:]:
            axes.set_ylabel("")
    seeds = max(map(len, groups.values()), default=0)
    figure.suptitle(f"median of {seeds} networks; band: lowest to highest", fontsize="medium")
    for file in files:
        figure.savefig(file)


PANELS = [f"{kind}-{what}" for kind in ("loss", "norm") for what in dict.fromkeys(r.changes for r in REMEDIES[1:])]


def _band(axes: Any, steps: Array, curves: Sequence[Array], look: tuple[str, str], label: str) -> None:
    colour, style = look
    low, median, high = np.quantile(np.array(curves), (0, 0.5, 1), axis=0, method="closest_observation")
    axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(steps, median, color=colour, linestyle=style, label=label)
