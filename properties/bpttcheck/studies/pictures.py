"""Pictures need matplotlib, which is an optional extra."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#CC79A7", "#56B4E9", "#E69F00", "#009E73")
"""Colours that people with any form of colour blindness tell apart (Okabe and Ito, 2008), the most distinct first."""

MARKERS = ("o", "s", "^", "D", "v", "P")
"""As many shapes, for prints without colours."""

SLIDE = (6.4, 4.0)
"""Inches of a picture with one panel for a slide: letters keep their size, and so are large."""


def new_figure(width: float, height: float, dpi: float = 150) -> "Figure":
    """An empty figure of this size in inches. Raises ImportError, with a sentence, without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: python -m pip install 'bpttcheck[plots]'") from error
    return Figure(figsize=(width, height), dpi=dpi, layout="constrained")


def new_panels(
    layout: Sequence[Sequence[str]], width: float, height: float, only: str | None = None
) -> tuple["Figure", dict[str, Any]]:
    """A figure of this size in inches and its panels by name, as ``layout`` places them.

    only: the name of one panel that fills a slide, with large letters. Raises ImportError as `new_figure` does, and
    ValueError for a name that is not there.
    """
    names = dict.fromkeys(name for row in layout for name in row)
    if only is None:
        figure = new_figure(width, height)
        return figure, figure.subplot_mosaic([list(row) for row in layout])
    if only not in names:
        raise ValueError(f"there is no panel {only!r}; there are {', '.join(names)}")
    figure = new_figure(*SLIDE, dpi=250)
    return figure, figure.subplot_mosaic([[only]])


def shades() -> "Colormap":
    """From light to dark blue: more is darker, also for the colour-blind; zero and cut entries are nearly white."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    blues = ListedColormap(colormaps["Blues"](np.linspace(0.35, 1, 256)))
    return blues.with_extremes(under="#ebebeb")


def explain_lines(figure: "Figure", columns: int) -> None:
    """Put one legend below all panels: a line that several of them show is explained once."""
    shown: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=columns, frameon=False)
