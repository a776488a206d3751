"""An X-ray for people: numbers, words and a picture."""

from pathlib import Path

import numpy as np
from rich.console import Console

from bpttcheck.explaining.xray import Xray
from bpttcheck.studies.pictures import new_figure
from bpttref import Strategy

_COLUMNS = 80


def print_xray(console: Console, name: str, asked: Strategy, seen: Xray) -> None:
    """The matrices side by side as numbers, and what they are in words."""
    console.print(f"{name}, asked for {asked}", markup=False, highlight=False)
    if said := seen.full_in_words():
        console.print(f"\n{said}", markup=False, highlight=False)
    console.print(f"\n{seen.triangles(asked, _COLUMNS)}", markup=False, highlight=False, soft_wrap=True)


def draw_xray(file: Path, name: str, asked: Strategy, seen: Xray) -> None:
    """Draw the declared matrix next to those that were seen. Raises ImportError without matplotlib."""
    panels = {"declared": seen.declared, "through inputs": seen.inputs, "through parameters": seen.parameters}
    shown = {title: M for title, M in panels.items() if M is not None}
    figure = new_figure(3.4 * len(shown), 3.9)
    largest = max(1.0, *(float(np.nanmax(np.abs(M))) for M in shown.values()))
    for axes, (title, M) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        lower = np.where(np.tri(len(M), dtype=bool), M, np.nan)
        image = axes.imshow(lower, cmap="viridis", vmin=0, vmax=largest)
        axes.set(title=title, xlabel="use at step s", ylabel="loss at step t")
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_major_locator().set_params(integer=True)
    figure.colorbar(image, ax=figure.axes, shrink=0.7, label="M[t, s]")
    figure.suptitle(f"{name}: {asked}")
    figure.savefig(file, dpi=150)
