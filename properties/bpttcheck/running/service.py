"""In the process of a target: do the requested work until no request can come any more."""

import builtins
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from bpttcheck.exit_status import INTERRUPTED
from bpttcheck.measuring.calls import AdapterError, Refused
from bpttcheck.measuring.comparisons import Violation
from bpttcheck.measuring.doing import calling, judging, write_to
from bpttcheck.printable import printable
from bpttcheck.running.handing_over import pickled, unpickled
from bpttcheck.targets import TargetError, cell_named, load

_GRACE = 2.0  # seconds that it has to end by itself when the parent is gone
_FORESEEN = (TargetError, AdapterError, Refused, Violation, ValueError, OSError, ImportError, MemoryError)


class Unforeseen(Exception):
    """A bug of bpttcheck in another process; its traceback is a note."""


def serve(target: str, asked: int, answering: int, board: int, parent: int) -> None:
    """In the process: do the requested work until no request can come any more."""
    signal.signal(signal.SIGTERM, _unheeded)  # an idle process ends when the pipe of questions closes
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    sys.breakpointhook = _no_terminal
    write_to(board)
    os.close(board)
    os.set_inheritable(asked, False)
    os.set_inheritable(answering, False)
    try:
        with Connection(asked, writable=False) as questions, Connection(answering, readable=False) as answers:
            _answer_all(target, questions, answers)
    except (EOFError, OSError):
        pass
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _answer_all(target: str, questions: Connection, answers: Connection) -> NoReturn:
    """Raises EOFError when no request can come any more, and KeyboardInterrupt when the current work is no longer
    wanted."""
    warnings.filters[:] = pickle.loads(questions.recv_bytes())  # type: ignore[index]
    subject: list[Any] = [] if target else [None]

    def loaded() -> Any:
        if not subject:
            with calling("loading"):
                subject.append(load(target))
        return subject[0]

    while True:
        asked = questions.recv_bytes()
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        judging()
        try:
            work, given = unpickled(asked, lambda name: cell_named(loaded(), name))
            answer = pickled((True, work(loaded(), *given)))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            answer = pickled((False, _told(error)))
        signal.signal(signal.SIGTERM, _unheeded)
        answers.send_bytes(answer)


def _unheeded(number: int, frame: FrameType | None) -> None:
    """In place of ``SIG_IGN``, with which Python prints an error if a signal comes while the handler changes."""


def _end_with(parent: int) -> None:
    """End when the parent does, however it ends."""
    while os.getppid() == parent:
        time.sleep(_GRACE / 4)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(1)


def _no_terminal(*_: object, **__: object) -> NoReturn:
    raise AdapterError("breakpoint() was called in a process that has no terminal: add --in-process")


def _told(error: BaseException) -> Exception:
    """The raised error as a class that the parent knows, with the traceback as a note."""
    kind = next((kind for kind in _FORESEEN if isinstance(error, kind)), None)
    if isinstance(error, ImportError | OSError):
        kind = getattr(builtins, type(error).__name__, kind)  # ModuleNotFoundError says more than ImportError
    told = unforeseen(error) if kind is None else kind(printable(str(error)))
    told.add_note("".join(traceback.format_exception(error)))
    return told


def unforeseen(error: BaseException) -> Unforeseen:
    """A bug of bpttcheck in words, with its place."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return Unforeseen(printable(f"{type(error).__name__}: {error} ({where})"))
