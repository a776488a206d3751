"""The current activity of this process, in memory that another process can read even after this one has died.

`bpttcheck.measuring.calls` says which call of an implementation is under way, and the engine notes the law and the
draw.
"""

import ctypes
import mmap
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LONGEST = 8000  # bytes of a draw


class Doing(ctypes.Structure):
    """call: the name of the call of an implementation. steps, rows: of its case; -1 without a case. since: its start,
    in seconds of `time.monotonic`; 0 if no call is under way. law: its id. drawn: a draw, pickled.
    """

    _fields_ = (
        ("since", ctypes.c_double),
        ("steps", ctypes.c_longlong),
        ("rows", ctypes.c_longlong),
        ("call", ctypes.c_char * 64),
        ("law", ctypes.c_char * 64),
        ("drawn", ctypes.c_char * _LONGEST),
    )

    since: float
    steps: int
    rows: int
    call: bytes
    law: bytes
    drawn: bytes

    @property
    def asked(self) -> str:
        """The call and the sizes of its case: "vjp of T=3, B=2"."""
        return self.call.decode() + (f" of T={self.steps}, B={self.rows}" if self.steps >= 0 else "")

    @property
    def draw(self) -> Any:
        """The draw, or None."""
        return pickle.loads(self.drawn) if self.drawn else None


_now, _draw = Doing(), None


def in_file(descriptor: int) -> Doing:
    """The activity of the process that has the same open file, of the size of a `Doing`."""
    return Doing.from_buffer(mmap.mmap(descriptor, ctypes.sizeof(Doing)))


def write_to(descriptor: int) -> None:
    """From now on write the activity of this process to an open file."""
    global _now
    _now = in_file(descriptor)


@contextmanager
def calling(name: str, shape: tuple[int, ...] = (-1, -1)) -> Iterator[None]:
    """An implementation is called inside the block. shape: of the x that it is given."""
    _now.call = name.encode()
    _now.steps, _now.rows = shape[:2]
    _now.since = time.monotonic()
    try:
        yield
    finally:
        _now.since = 0.0


def judging(law: str = "", draw: Any = None) -> None:
    """From now on the activity is this law on this draw."""
    global _draw
    _now.law = law.encode()
    if draw is not _draw:
        _draw, drawn = draw, b"" if draw is None else pickle.dumps(draw, protocol=0)
        _now.drawn = drawn if len(drawn) < _LONGEST else b""
