"""An X-ray as numbers, words and a picture."""

from pathlib import Path

import numpy as np
from rich.console import Console

from bpttcheck.explaining.xray import Xray
from bpttcheck.studies.pictures import new_panels, shades
from bpttref import Strategy

_COLUMNS = 80


def print_xray(console: Console, name: str, asked: Strategy, seen: Xray) -> None:
    """The matrices side by side as numbers, and their rules in words."""
    console.print(f"{name}, asked for {asked}", markup=False, highlight=False)
    if said := seen.full_in_words():
        console.print(f"\n{said}", markup=False, highlight=False)
    console.print(f"\n{seen.triangles(asked, _COLUMNS)}", markup=False, highlight=False, soft_wrap=True)


PANELS = ("declared", "inputs", "parameters")


def draw_xray(file: Path, name: str, asked: Strategy, seen: Xray, only: str | None = None) -> None:
    """Draw the declared matrix next to those that were seen through inputs and parameters. only: one of `PANELS`.

    Raises ImportError without matplotlib, and ValueError for a panel that was not seen.
    """
    shown = {panel: M for panel in PANELS if (M := getattr(seen, panel)) is not None}
    figure, panels = new_panels([list(shown)], 3.4 * len(shown), 3.6, only)
    largest = max(1.0, *(float(np.nanmax(np.abs(M))) for M in shown.values()))
    for panel, axes in panels.items():
        lower = np.where(np.tri(len(shown[panel]), dtype=bool), shown[panel], np.nan)
        image = axes.imshow(lower, cmap=shades(), vmin=0.01, vmax=largest)
        title = panel if panel == "declared" else f"seen through {panel}"
        axes.set(title=title, xlabel="use at step s", ylabel="loss at step t")
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_major_locator().set_params(integer=True)
    figure.colorbar(image, ax=list(panels.values()), shrink=0.7, label="M[t, s]; grey: 0")
    figure.suptitle(f"{name}: {asked}", fontsize="medium" if only else "large")
    figure.savefig(file)
