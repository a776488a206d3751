"""The picture of `detection.py`: laws by classes of planted faults, or the faults of one class by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bpttcheck import LAWS
from bpttcheck.faults import CLASSES
from bpttcheck.studies.pictures import new_figure, shades


def draw(smallest: Mapping[str, Mapping[str, float]], png: Path, panel: str | None) -> None:
    """smallest: the smallest size at which a law sees a fault, by fault and law. panel: one class, for a slide."""
    classes = {name: [fault for fault in faults if fault in smallest] for name, faults in CLASSES.items()}
    if panel is None:
        figure = _by_class({name: faults for name, faults in classes.items() if faults}, smallest)
    else:
        figure = _of_one(classes[panel], smallest, panel)
    figure.savefig(png)


def _by_class(classes: Mapping[str, list[str]], smallest: Mapping[str, Mapping[str, float]]) -> Any:
    """How many faults of each class a law sees, and the share of the class as a colour."""
    seen = np.array([[sum(law.id in smallest[f] for f in faults) for faults in classes.values()] for law in LAWS])
    share = seen / [len(faults) for faults in classes.values()]
    figure = new_figure(9, 14)
    axes = figure.subplots()
    image = axes.imshow(np.where(seen, share, np.nan), cmap=shades(), vmin=0, vmax=1, aspect="auto")
    for row, column in zip(*seen.nonzero(), strict=True):
        colour = "white" if share[row, column] > 0.4 else "black"
        axes.text(column, row, seen[row, column], ha="center", va="center", color=colour, fontsize="small")
    names = [f"{name}: {len(faults)}" for name, faults in classes.items()]
    _label(axes, names, [law.id for law in LAWS])
    families = [law.family for law in LAWS]
    for row in (k for k in range(1, len(LAWS)) if families[k] != families[k - 1]):
        axes.axhline(row - 0.5, color="0.5", linewidth=1)
    axes.set_xlabel("class of planted faults, and how many there are")
    bar = figure.colorbar(image, ax=axes, location="top", shrink=0.6, aspect=40)
    bar.set_label("share of the class that the law sees; the number says how many")
    return figure


def _of_one(faults: list[str], smallest: Mapping[str, Mapping[str, float]], name: str) -> Any:
    """The faults of a class by the laws that see one of them."""
    laws = [law.id for law in LAWS if any(law.id in smallest[fault] for fault in faults)]
    sizes = np.array([[np.log10(smallest[fault].get(law, np.nan)) for fault in faults] for law in laws])
    figure = new_figure(max(6.4, 2.5 + 0.3 * len(faults)), max(4, 2 + 0.2 * len(laws)), dpi=200)
    axes = figure.subplots()
    image = axes.imshow(sizes, cmap=shades().reversed(), vmin=-6, vmax=0, aspect="auto")
    _label(axes, faults, laws)
    axes.set_title(f"faults of the class {name}, and the laws that see them")
    figure.colorbar(image, ax=axes, label="smallest size that is seen, log10")
    return figure


def _label(axes: Any, columns: list[str], rows: list[str]) -> None:
    axes.set_xticks(range(len(columns)), columns, rotation=90)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(np.arange(-0.5, len(columns)), minor=True)
    axes.set_yticks(np.arange(-0.5, len(rows)), minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.5)
    axes.tick_params(which="both", length=0)
