"""An unknown name is often a known one, misspelt."""

from collections.abc import Collection
from difflib import get_close_matches


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The end of a sentence, ``; did you mean 'lstm'?``; nothing if no known name is close, or it is known itself."""
    close = [] if name in known else get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
