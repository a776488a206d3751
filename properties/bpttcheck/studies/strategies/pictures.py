"""The pictures of a study."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bpttcheck.studies.pictures import COLOURS, explain_lines, new_figure, new_panels, shades
from bpttcheck.studies.strategies.findings import Findings, root
from bpttcheck.studies.strategies.quality import mean_and_error
from bpttcheck.studies.strategies.report import SHOWN, cuts, triangles
from bpttcheck.studies.strategies.study import Contender
from bpttcheck.studies.strategies.text import Text
from bpttref.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOKS: dict[str, dict[str, Any]] = {
    "full": {"color": "black", "marker": "D"},
    "regular": {"color": COLOURS[0], "marker": "o"},
    "random": {"color": COLOURS[1], "marker": "s", "linestyle": "--"},
}
_SEGMENTS = ("#cfe2f3", "#fce5cd")


def draw_cuts(file: Path, text: Text, window: int, seed: int) -> Path:
    """How each strategy cuts the first characters of a text, and below the triangles M[t, s] of these cuts."""
    figure = new_figure(11, 6)  # before anything else of matplotlib: it says so if there is none
    from matplotlib.patches import Rectangle

    written, shown = text.written(SHOWN), triangles(window, seed)
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 2))[:, 0]
    strips = top.subplots()
    for row, M in enumerate(shown.values()):
        segment = np.isin(np.arange(SHOWN), cuts(M)).cumsum()
        for s, character in enumerate(written):
            colour = _SEGMENTS[segment[s] % 2]
            strips.add_patch(Rectangle((s, row), 1, 1, facecolor=colour, edgecolor="white"))
            strips.text(s + 0.5, row + 0.5, character, ha="center", va="center", family="monospace")
    strips.set(xlim=(0, SHOWN), ylim=(len(shown), 0), xticks=[], yticks=np.arange(len(shown)) + 0.5)
    strips.set_yticklabels(list(shown))
    strips.set_title(f"segments of {window} characters, exact (regular) or on average (random)")
    largest = max(float(M.max()) for M in shown.values())
    for axes, (kind, M) in zip(bottom.subplots(1, len(shown)), shown.items(), strict=True):
        lower = np.where(np.tri(SHOWN, dtype=bool), M[:, 1:], np.nan)
        image = axes.imshow(lower, cmap=shades(), vmin=0.99, vmax=largest)
        axes.set(title=kind, xlabel="use at step s", ylabel="loss at step t")
    bottom.colorbar(image, ax=bottom.axes, label="M[t, s]; grey: 0", shrink=0.8)
    figure.savefig(file)
    return file


def draw_quality(file: Path, found: Findings, only: str | None = None) -> Path:
    """Error, cosine and price of one gradient against the length of segments; how far back models look. only: a panel
    of `QUALITY`."""
    figure, panels = new_panels(QUALITY, 12, 7.5, only)
    for name, axes in panels.items():
        if name == "reach":
            _draw_reach(axes, found)
            continue
        measured, label, scale = _MEASURED[name]
        _by_window(axes, found, {c: scale * quality[measured] for c, quality in found.quality.items()})
        axes.set(ylabel=label)
        if name == "memory":
            axes.set_ylim(bottom=0)
    explain_lines(figure, 3 if only else 5)
    figure.suptitle("One gradient by each strategy; bars: standard errors", fontsize="medium" if only else "large")
    figure.savefig(file)
    return file


def _draw_reach(axes: "Axes", found: Findings) -> None:
    lags = found.study.lags
    for contender, pairs in found.reach.items():
        missed = np.array([root(pair) if pair[0] > pair[1] else (np.nan, np.nan) for pair in pairs.T])
        label = f"network trained with {contender.label}"
        axes.errorbar(lags, missed[:, 0], missed[:, 1], capsize=3, label=label, **_LOOKS[contender.strategy])
    axes.set(xscale="log", yscale="log", xlabel="window, cells", ylabel="gradient beyond the window / |E g|")
    axes.set_xticks(lags, list(map(str, lags)))
    axes.minorticks_off()


def draw_training(file: Path, found: Findings, only: str | None = None) -> Path:
    """Learning curves as differences to full BPTT from the same seed, a panel for each length of segments, and where
    they end. only: a panel of `training_panels`."""
    windows = found.study.windows
    figure, panels = new_panels(training_panels(windows), max(8, 4.2 * len(windows)), 10.5, only)
    for name, axes in panels.items():
        kind, _, window = name.partition("-")
        if window:
            _draw_differences(axes, found, int(window), at_equal_time=kind == "seconds")
    for kind in ("steps", "seconds"):
        row = [panels[name] for name in panels if name.startswith(f"{kind}-")]
        limits = np.array([axes.get_ylim() for axes in row]).reshape(-1, 2)
        for axes in row:
            axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    if "end" in panels:
        _by_window(panels["end"], found, {c: mean_and_error(curves.end()) for c, curves in found.curves.items()})
        panels["end"].set(title="end of training", ylabel="held-out loss, nats")
    if "overfitting" in panels:
        gaps = {c: mean_and_error(curves.overfitting()) for c, curves in found.little.items()}
        _by_window(panels["overfitting"], found, gaps)
        learned = f"on {found.study.little} characters"
        panels["overfitting"].set(title=learned, ylabel="held-out minus training loss, nats")
    explain_lines(figure, 3)
    seeds = f"{found.study.model.cell}, mean of {found.study.seeds} seeds; bands and bars: standard errors"
    figure.suptitle(seeds, fontsize="medium" if only else "large")
    figure.savefig(file)
    return file


def training_panels(windows: Sequence[int]) -> list[list[str]]:
    """The names of the panels of `draw_training`, in rows."""
    rows = [[f"{kind}-{window}" for window in windows for _ in range(2)] for kind in ("steps", "seconds")]
    return [*rows, [name for name in ("end", "overfitting") for _ in windows]]


def _draw_differences(axes: "Axes", found: Findings, window: int, *, at_equal_time: bool) -> None:
    """How much more than full BPTT each strategy loses, after equal steps or after equal CPU time.

    The first quarter, where all losses fall steeply, may leave the panel.
    """
    full = next(curves for contender, curves in found.curves.items() if contender.strategy == "full")
    at = np.linspace(0, found.budget, full.step.size) if at_equal_time else full.step
    late, lowest, highest = at > 0.25 * at[-1], 0.0, 0.0
    for strategy in ("regular", "random"):
        curves = found.curves[Contender(strategy, window)]
        losses = (one.at(at) if at_equal_time else one.held_out for one in (curves, full))
        mean, error = mean_and_error(np.subtract(*losses))
        axes.plot(at, mean, markevery=2, markersize=4, label=strategy, **_LOOKS[strategy])
        axes.fill_between(at, mean - error, mean + error, color=_LOOKS[strategy]["color"], alpha=0.2, lw=0)
        lowest = min(lowest, float((mean - error)[late].min()))
        highest = max(highest, float((mean + error)[late].max()))
    axes.axhline(0, label="full", **_LOOKS["full"] | {"marker": ""})
    room = 0.08 * (highest - lowest)
    axes.set(
        xlabel="CPU seconds of training" if at_equal_time else "step of training", ylim=(lowest - room, highest + room)
    )
    axes.set(title=f"segments of {window} steps", ylabel="held-out loss minus full BPTT's, nats")


def _by_window(axes: "Axes", found: Findings, pairs: dict[Contender, Array]) -> None:
    """A line a strategy over the lengths of segments; full BPTT as a level."""
    windows = list(found.study.windows)
    for strategy in ("regular", "random"):
        chosen = [pairs[c] for c in (Contender(strategy, w) for w in windows) if c in pairs]
        if chosen:
            value, error = np.array(chosen).T
            axes.errorbar(windows, value, error, capsize=3, label=strategy, **_LOOKS[strategy])
    level, error = next(pair for contender, pair in pairs.items() if contender.strategy == "full")
    axes.axhline(level, label="full", **_LOOKS["full"] | {"marker": ""})
    axes.axhspan(level - error, level + error, color="black", alpha=0.1, lw=0)
    axes.set(xscale="log", xlabel="steps of a segment, exact or mean")
    axes.set_xticks(windows, list(map(str, windows)))
    axes.minorticks_off()


_MEASURED = {
    "bias": ("bias2", "bias² / |E g|²", 1.0),
    "variance": ("variance", "variance / |E g|²", 1.0),
    "cosine": ("cosine_loss", "1 - cosine to the full gradient", 1.0),
    "memory": ("bytes", "peak memory, KiB", 1 / 1024),
    "time": ("time", "CPU time of a gradient / full", 1.0),
}
QUALITY = (("bias", "variance", "cosine"), ("memory", "time", "reach"))
