"""Pictures need matplotlib, which is optional."""

from typing import Any


def figure(width: float, height: float) -> Any:
    """An empty matplotlib figure, in inches. Raises ImportError, with a sentence, without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: python -m pip install 'bpttcheck[plots]'") from error
    return Figure(figsize=(width, height), layout="constrained")
