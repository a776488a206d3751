"""Where a command writes."""

from rich.console import Console

_UNBROKEN = 10_000  # columns


def new_console(quiet: bool = False) -> Console:
    """Standard output. On a terminal: colours, unless NO_COLOR is set, and lines that fit. Elsewhere: bare lines, none
    of them broken or cut, for programs that read them."""
    console = Console(quiet=quiet, emoji=False)
    if not console.is_terminal:
        console.width = _UNBROKEN
    return console
