"""A process in which a target is loaded and called, so that nothing that it does reaches the one that asks.

    child = Child("my_rnn.py:MyRNN")
    declared = child.ask(capabilities_of)

It is asked for work: a function of the subject and of what is handed over, all of which can be pickled. A process that
is lost is replaced at the next question. `Here` does the same work in this process, where nothing is guarded.
"""

import io
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from ctypes import sizeof
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np

from bpttcheck.contract import CustomCell
from bpttcheck.exit_status import INTERRUPTED
from bpttcheck.measuring.calls import AdapterError, Refused
from bpttcheck.measuring.comparisons import Violation
from bpttcheck.measuring.doing import Doing, calling, in_file, judging, write_to
from bpttcheck.printable import printable
from bpttcheck.running.results import Lost
from bpttcheck.targets import TargetError, cell_named, load

_TICK = 0.1  # seconds between two looks at a process that has not answered
_GRACE = 2.0  # seconds in which a process that is to end may do so by itself
_FORESEEN = (TargetError, AdapterError, Refused, Violation, ValueError, OSError, ImportError, MemoryError)


class Died(AdapterError):
    """The process of a target ended, or was ended since it did not answer."""

    def __init__(self, lost: Lost) -> None:
        super().__init__(lost.said)
        self.lost = lost


class Unforeseen(Exception):
    """A mistake of ours in another process; its traceback is a note."""


class Here:
    """This process, as a place in which a target is loaded and called."""

    def __init__(self, target: str) -> None:
        """Raises TargetError."""
        self._subject = load(target)
        self._work: Callable[[], Any] = lambda: None

    def ask(self, work: Callable[..., Any], *given: Any) -> Any:
        """What the work gives, or raises."""
        return work(self._subject, *given)

    def begin(self, work: Callable[..., Any], *given: Any) -> None:
        """Ask for work whose `answer` may be taken later; here it is done then."""
        self._work = lambda: self.ask(work, *given)

    def answer(self) -> Any:
        return self._work()


class Child:
    """A process of its own."""

    def __init__(self, target: str, seconds: float = 300.0) -> None:
        """target: empty for work that needs none, whose first argument is then None. seconds: that a call of an
        implementation may take. Raises OSError where there are no such processes."""
        if os.name != "posix":
            raise OSError("a target has a process of its own on Linux and macOS alone: add --in-process")
        self._target = target
        self._seconds = seconds
        self._life: _Life | None = None

    def ask(self, work: Callable[..., Any], *given: Any) -> Any:
        """What the work gives.

        Raises what it raises, TargetError if the target cannot be loaded, `Died` if the process is lost, and
        `Unforeseen`.
        """
        self.begin(work, *given)
        return self.answer()

    def begin(self, work: Callable[..., Any], *given: Any) -> None:
        """Ask for work whose `answer` may be taken later."""
        self._life = self._life or _Life(self._target)
        with suppress(OSError):  # one that has ended is found out when it is to answer
            self._life.connection.send_bytes(_pickled((work, given)))

    def answer(self) -> Any:
        while not self.ready():
            wait([self.connection], _TICK)
        assert self._life is not None
        try:
            if not self.connection.poll():
                raise EOFError
            good, answer = _unpickled(self.connection.recv_bytes(), _elsewhere)
        except Exception:  # there is no answer, or it is none of ours
            lost = self._life.lost(self._hangs, self._seconds)
            self._life = None
            raise Died(lost) from None
        if good:
            return answer
        raise answer

    def ready(self) -> bool:
        """Whether there is an answer, or none to wait for."""
        assert self._life is not None
        return self.connection.poll() or self._life.process.poll() is not None or self._hangs

    @property
    def connection(self) -> Connection:
        """To wait for."""
        assert self._life is not None
        return self._life.connection

    @property
    def doing(self) -> Doing:
        """What it is doing."""
        assert self._life is not None
        return self._life.doing

    @property
    def _hangs(self) -> bool:
        return 0 < self.doing.since < time.monotonic() - self._seconds

    def end(self) -> None:
        """End the process, if there is one."""
        if self._life is not None:
            self._life.end()
            self._life = None


Place: TypeAlias = Here | Child


class _Life:
    """One process, from its start to its end, which comes at the latest when nobody holds it any more."""

    def __init__(self, target: str) -> None:
        self.connection, theirs = Pipe()
        with theirs, tempfile.TemporaryFile() as board:
            board.truncate(sizeof(Doing))
            self.doing = in_file(board.fileno())
            given = (target, theirs.fileno(), board.fileno(), os.getpid())
            code = f"import sys; sys.path[:] = {sys.path!r}; from bpttcheck.running.child import serve; serve(*{given})"
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=2 if _is_open(2) else subprocess.DEVNULL,  # ours is for the verdict
                pass_fds=(theirs.fileno(), board.fileno()),
                start_new_session=True,
            )
        self.end = weakref.finalize(self, _end, self.process, self.connection)
        self.connection.send_bytes(pickle.dumps(_sound(warnings.filters)))

    def lost(self, hung: bool, seconds: float) -> Lost:
        """How it was lost, which it is after that."""
        law, draw, call = self.doing.law.decode(), self.doing.draw, self.doing.call.decode()
        if hung:
            said = f"{call} did not return within {seconds:g} s"
        else:
            said = f"its process {self._how()} {f'during {call}' if self.doing.since else 'between two calls'}"
        self.end()
        return Lost(law, draw, said, hung)

    def _how(self) -> str:
        try:
            status = self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return "closed what connects it with this one"
        names = {s.value: s.name for s in signal.Signals}
        memory = ", as it is for want of memory," if status == -signal.SIGKILL else ""
        return (
            f"was killed by {names.get(-status, -status)}{memory}" if status < 0 else f"ended with exit status {status}"
        )


def _end(process: "subprocess.Popen[bytes]", connection: Connection) -> None:
    """It is interrupted, so that it ends what it has started itself; then it is killed with all of its group."""
    connection.close()
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def serve(target: str, connection: int, board: int, parent: int) -> None:
    """In the process: do what is asked until nobody asks any more."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what ends it while it has nothing to do is the end of questions
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    sys.breakpointhook = _no_terminal
    write_to(board)
    os.close(board)
    os.set_inheritable(connection, False)
    try:
        with Connection(connection) as asking:
            _answer_all(target, asking)
    except (EOFError, OSError):
        pass
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _answer_all(target: str, asking: Connection) -> NoReturn:
    """Raises EOFError when nobody asks any more, and KeyboardInterrupt when what is under way is no longer wanted."""
    warnings.filters[:] = pickle.loads(asking.recv_bytes())  # type: ignore[index]
    subject: list[Any] = [] if target else [None]

    def loaded() -> Any:
        if not subject:
            with calling("loading"):
                subject.append(load(target))
        return subject[0]

    while True:
        asked = asking.recv_bytes()
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        judging()
        try:
            work, given = _unpickled(asked, lambda name: cell_named(loaded(), name))
            answer = _pickled((True, work(loaded(), *given)))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            answer = _pickled((False, _told(error)))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        asking.send_bytes(answer)


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
    """What was raised, as the parent can know it, with the traceback as a note."""
    kind = next((kind for kind in _FORESEEN if isinstance(error, kind)), None)
    told = unforeseen(error) if kind is None else kind(printable(str(error)))
    told.add_note("".join(traceback.format_exception(error)))
    return told


def unforeseen(error: BaseException) -> Unforeseen:
    """A mistake of ours in words, and where it was made."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return Unforeseen(printable(f"{type(error).__name__}: {error} ({where})"))


class _Pickler(pickle.Pickler):
    """A cell of the target's own holds functions, which stay where they are: it goes by its name."""

    def persistent_id(self, value: Any) -> str | None:
        return value.name if isinstance(value, CustomCell) else None

    def reducer_override(self, value: Any) -> Any:
        """Arrays and texts of classes that the parent does not know go as what they are."""
        if isinstance(value, np.ndarray) and type(value) is not np.ndarray:
            return np.array, (np.array(value, subok=False),)
        return (str, (str(value),)) if isinstance(value, str) else NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, cell: Callable[[str], CustomCell]) -> None:
        super().__init__(io.BytesIO(data))
        self._cell = cell

    def persistent_load(self, name: str) -> CustomCell:
        return self._cell(name)


def _pickled(value: object) -> bytes:
    data = io.BytesIO()
    _Pickler(data).dump(value)
    return data.getvalue()


def _unpickled(data: bytes, cell: Callable[[str], Any]) -> Any:
    return _Unpickler(data, cell).load()


def _elsewhere(name: str) -> CustomCell:
    """A cell whose functions are in another process."""

    def unknown(*sizes: int) -> NoReturn:
        raise TypeError(f"the shapes of {name} are known in the process of its target alone")

    return CustomCell(name, unknown, unknown, unknown)


def _sound(filters: Sequence[Any]) -> list[Any]:
    """Those that can be pickled."""
    sound = []
    for one in filters:
        with suppress(Exception):
            pickle.dumps(one)
            sound.append(one)
    return sound


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
