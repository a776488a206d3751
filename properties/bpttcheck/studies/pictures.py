"""Pictures need matplotlib, which is an optional extra."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of so many inches. Raises ImportError, with a sentence, without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: python -m pip install 'bpttcheck[plots]'") from error
    return Figure(figsize=(width, height), layout="constrained")
