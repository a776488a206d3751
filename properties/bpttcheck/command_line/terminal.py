"""Where a command writes."""

import os
import sys
from typing import Any

from rich.console import Console

_UNBROKEN = 10_000  # columns


def new_console(quiet: bool = False, *, aside: bool = False) -> Console:
    """Standard output, or standard error. On a terminal: colours, unless NO_COLOR is set, and lines that fit.
    Elsewhere: bare lines, none of them broken or cut, for programs that read them.

    Where no process reads it any more (``| head -1``), the disk is full or a letter cannot be encoded, the command goes
    on: its status and its files have the result.
    """
    stream: Any = _Lasting((sys.stderr if aside else sys.stdout) or open(os.devnull, "w"))  # None if it is closed
    console = Console(file=stream, quiet=quiet, emoji=False)
    if not console.is_terminal:
        console.width = _UNBROKEN
    return console


class _Lasting:
    """A stream that may be lost."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except OSError:
            return self._lost(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._lost("")

    def _lost(self, text: str) -> int:
        """All further output is dropped, also the output that Python flushes at its end."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        return len(text)
