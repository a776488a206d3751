"""When an interrupt waits: during an import, because C code swallows exceptions there, and while locks are held."""

import functools
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LATER, AT_MOST = 0.02, 100  # seconds, and how many times an interrupt is delayed: the import of a module may never end


def interrupt(number: int, frame: FrameType | None, times: int = 0) -> None:
    """A handler of signals that raises KeyboardInterrupt."""
    inner = frame
    while inner is not None and times < AT_MOST:
        if inner.f_code.co_filename.startswith("<frozen importlib"):
            signal.signal(number, functools.partial(interrupt, times=times + 1))
            threading.Timer(LATER, os.kill, [os.getpid(), number]).start()
            return
        inner = inner.f_back
    signal.signal(number, interrupt)
    raise KeyboardInterrupt


@contextmanager
def undisturbed() -> Iterator[None]:
    """Interrupts wait until the block is left: one that comes while a pool holds a lock leaves it locked for good.

    Processes that are started inside never see an interrupt: the parent handles it.
    """
    interrupts: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: interrupts.append(number))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, handler)
    if interrupts:
        raise KeyboardInterrupt
