"""Pictures need matplotlib, which is an optional extra."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours that people with any form of colour blindness tell apart (Okabe and Ito, 2008)."""


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of so many inches. Raises ImportError, with a sentence, without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: python -m pip install 'bpttcheck[plots]'") from error
    return Figure(figsize=(width, height), layout="constrained")
