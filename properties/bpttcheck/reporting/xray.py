"""An X-ray for people: numbers, words and a picture."""

from pathlib import Path

import numpy as np
from rich.console import Console

from bpttcheck.explaining.matrix_in_words import in_words
from bpttcheck.explaining.xray import Xray
from bpttcheck.studies.pictures import new_figure
from bpttref import Strategy


def print_xray(console: Console, name: str, asked: Strategy, seen: Xray) -> None:
    """The matrices as numbers, and what they are in words."""
    console.print(f"{name}, asked for {asked}", markup=False, highlight=False)
    if said := seen.full_in_words():
        console.print(f"\n{said}", markup=False, highlight=False)
    both = (
        ("through inputs", seen.inputs, seen.in_words(asked)),
        ("through parameters", seen.parameters, seen.parameters_in_words(asked)),
    )
    for what, M, words in both:
        if M is not None:
            console.print(f"\n{what}: {words}", markup=False, highlight=False)
            for row in range(len(M)):
                numbers = " ".join(f"{number:5.2f}" for number in M[row, : row + 1].round(2) + 0.0)  # no -0.00
                console.print(f"  t={row:<3d}{numbers}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"\ndeclared: {in_words(seen.declared)}", markup=False, highlight=False)


def draw_xray(file: Path, name: str, asked: Strategy, seen: Xray) -> None:
    """Draw the declared matrix beside those that were seen. Raises ImportError without matplotlib."""
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
