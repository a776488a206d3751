"""The pictures of a study."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bpttcheck.studies.pictures import new_figure
from bpttcheck.studies.strategies.findings import Findings, root
from bpttcheck.studies.strategies.quality import mean_and_error
from bpttcheck.studies.strategies.report import SHOWN, cuts, triangles
from bpttcheck.studies.strategies.study import Contender
from bpttcheck.studies.strategies.text import Text
from bpttref.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {"full": "black", "regular": "tab:blue", "random": "tab:orange"}
_SEGMENTS = ("#cfe2f3", "#fce5cd")


def draw_cuts(file: Path, text: Text, window: int, seed: int) -> Path:
    """How each strategy cuts the first characters of a text, and below the triangles M[t, s] that say so."""
    figure = new_figure(11, 6)  # before anything else of matplotlib: it says so if there is none
    from matplotlib import colormaps
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
    colours = colormaps["viridis"].with_extremes(under="#dddddd")  # what is cut
    for axes, (kind, M) in zip(bottom.subplots(1, len(shown)), shown.items(), strict=True):
        lower = np.where(np.tri(SHOWN, dtype=bool), M[:, 1:], np.nan)
        image = axes.imshow(lower, cmap=colours, vmin=0.99, vmax=largest)
        axes.set(title=kind, xlabel="use at step s", ylabel="loss at step t")
    bottom.colorbar(image, ax=bottom.axes, label="M[t, s]; grey: 0", shrink=0.8)
    figure.savefig(file, dpi=130)
    return file


def draw_quality(file: Path, found: Findings) -> Path:
    """Error, cosine and price of one gradient against the length of segments; how far back models look."""
    figure = new_figure(12, 7)
    panels = figure.subplots(2, 3)
    for axes, name, label, scale in (
        (panels[0, 0], "bias2", "bias² / |E g|²", 1.0),
        (panels[0, 1], "variance", "variance / |E g|²", 1.0),
        (panels[0, 2], "cosine_loss", "1 - cosine to the full gradient", 1.0),
        (panels[1, 0], "bytes", "peak memory, KiB", 1 / 1024),
        (panels[1, 1], "time", "CPU time of a gradient / full", 1.0),
    ):
        _by_window(axes, found, {c: scale * measured[name] for c, measured in found.quality.items()})
        axes.set(ylabel=label)
    panels[0, 0].axhline(0, color="grey", lw=0.5)
    for axes in (panels[1, 0], panels[1, 1]):
        axes.set_ylim(bottom=0)
    lags, reach = found.study.lags, panels[1, 2]
    for contender, pairs in found.reach.items():
        missed = np.array([root(pair) if pair[0] > pair[1] else (np.nan, np.nan) for pair in pairs.T])
        reach.errorbar(lags, missed[:, 0], missed[:, 1], marker="o", capsize=3, color=_COLOURS[contender.strategy],
                       label=f"trained with {contender.label}")  # fmt: skip
    reach.set(xscale="log", yscale="log", xlabel="window, cells", ylabel="gradient beyond it / |E g|")
    reach.set_xticks(lags, list(map(str, lags)))
    reach.legend()
    panels[0, 0].legend()
    figure.suptitle("One gradient by each strategy, with standard errors")
    figure.savefig(file, dpi=130)
    return file


def draw_training(file: Path, found: Findings) -> Path:
    """Learning curves with bands of a standard error, and where they end against the length of segments."""
    figure = new_figure(12, 8)
    panels = figure.subplots(2, 2)
    shades = np.linspace(1, 0.35, len(found.study.windows))
    for contender, curves in found.curves.items():
        strength = 1.0 if contender.strategy == "full" else shades[found.study.windows.index(contender.window)]
        style: dict[str, Any] = {"color": _COLOURS[contender.strategy], "alpha": strength}
        for axes, at in ((panels[0, 0], curves.step), (panels[0, 1], curves.seconds.mean(axis=0))):
            mean, error = mean_and_error(curves.held_out)
            axes.plot(at, mean, label=contender.label, **style)
            axes.fill_between(at, mean - error, mean + error, color=style["color"], alpha=0.15, lw=0)
    ends = {c: mean_and_error(curves.end()) for c, curves in found.curves.items()}
    lowest, highest = min(pair[0] for pair in ends.values()), max(pair[0] for pair in ends.values())
    for axes, what in ((panels[0, 0], "steps"), (panels[0, 1], "CPU seconds")):
        axes.set(xlabel=what, ylabel="held-out loss, nats", ylim=(lowest - 0.1, highest + 0.8))
    panels[0, 1].axvline(found.budget, color="grey", lw=0.8, ls=":")
    panels[0, 0].legend(ncols=2)
    _by_window(panels[1, 0], found, ends)
    panels[1, 0].set(ylabel="held-out loss at the end, nats")
    _by_window(panels[1, 1], found, {c: mean_and_error(curves.overfitting()) for c, curves in found.little.items()})
    panels[1, 1].set(ylabel=f"held-out less training loss on {found.study.little} characters")
    figure.suptitle(f"{found.study.model.cell}, {found.study.seeds} seeds, with standard errors")
    figure.savefig(file, dpi=130)
    return file


def _by_window(axes: "Axes", found: Findings, pairs: dict[Contender, Array]) -> None:
    """A line a strategy over the lengths of segments; full BPTT as a level."""
    windows = list(found.study.windows)
    for strategy in ("regular", "random"):
        chosen = [pairs[c] for c in (Contender(strategy, w) for w in windows) if c in pairs]
        if chosen:
            value, error = np.array(chosen).T
            axes.errorbar(windows, value, error, marker="o", capsize=3, color=_COLOURS[strategy], label=strategy)
    level, error = next(pair for contender, pair in pairs.items() if contender.strategy == "full")
    axes.axhline(level, color="black", label="full")
    axes.axhspan(level - error, level + error, color="black", alpha=0.1, lw=0)
    axes.set(xscale="log", xlabel="steps of a segment, exact or mean")
    axes.set_xticks(windows, list(map(str, windows)))
    axes.minorticks_off()
