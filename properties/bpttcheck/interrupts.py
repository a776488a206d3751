"""An interrupt during an import waits for the end of the import: C code that is imported swallows exceptions."""

import functools
import os
import signal
import threading
from types import FrameType

LATER, AT_MOST = 0.02, 100  # seconds, and how many times an interrupt is put off: a module may never end


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
