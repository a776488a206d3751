"""A process in which a target is loaded and called, so that its side effects do not reach the process that runs
bpttcheck.

    child = Child("my_rnn.py:MyRNN")
    declared = child.ask(capabilities_of)

It receives work: a function of the implementation and of further arguments, which can all be pickled. A lost process is
replaced when the next work comes. `Here` does the same work in this process, without protection.
"""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from ctypes import sizeof
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, TypeAlias

from bpttcheck.contract import Implementation
from bpttcheck.exit_status import how_it_ended
from bpttcheck.measuring.calls import AdapterError
from bpttcheck.measuring.doing import Doing, in_file
from bpttcheck.running.handing_over import elsewhere, pickled, unpickled
from bpttcheck.running.results import Lost
from bpttcheck.running.service import Unforeseen
from bpttcheck.running.time_limit import OF_A_CALL

TICK = 0.1  # seconds between two looks at a process that has not answered
_GRACE = 2.0  # seconds that a process has to end by itself


class Died(AdapterError):
    """The process of a target ended, or was ended because it did not answer."""

    def __init__(self, lost: Lost) -> None:
        super().__init__(lost.said)
        self.lost = lost


def in_words(error: BaseException) -> str:
    """The error that work raised, with its type where the sentence does not show it."""
    return str(error) if isinstance(error, Died | Unforeseen) else f"{type(error).__name__}: {error}"


class Here:
    """This process, as a place in which an implementation is called."""

    def __init__(self, subject: Implementation) -> None:
        self._subject = subject
        self._work: Callable[[], Any] = lambda: None

    def ask(self, work: Callable[..., Any], *given: Any) -> Any:
        """The result of the work; raises its errors."""
        return work(self._subject, *given)

    def begin(self, work: Callable[..., Any], *given: Any) -> None:
        """Begin work whose `answer` is read later; here it runs only then."""
        self._work = lambda: self.ask(work, *given)

    def answer(self) -> Any:
        return self._work()


class Child:
    """A process of its own."""

    def __init__(self, target: str, seconds: float = OF_A_CALL, folder: str = "") -> None:
        """target: empty for work that needs none, whose first argument is then None. seconds: that a call of an
        implementation may take. folder: where it works, this process's own if left out. Raises OSError where there are
        no such processes."""
        if os.name != "posix":
            raise OSError("only Linux and macOS run a target in its own process: add --in-process")
        self._target = target
        self._seconds = seconds
        self._folder = folder
        self._life: _Life | None = None

    def ask(self, work: Callable[..., Any], *given: Any) -> Any:
        """The result of the work.

        Raises its errors, TargetError if the target cannot be loaded, `Died` if the process is lost, and
        `Unforeseen`.
        """
        self.begin(work, *given)
        return self.answer()

    def begin(self, work: Callable[..., Any], *given: Any) -> None:
        """Begin work whose `answer` is read later."""
        self._life = self._life or _Life(self._target, self._folder)
        with suppress(OSError):  # `answer` finds out that the process has ended
            self._life.questions.send_bytes(pickled((work, given)))

    def answer(self) -> Any:
        while not self.ready():
            wait([self.answers], TICK)
        assert self._life is not None
        try:
            if not self.answers.poll():
                raise EOFError
            good, answer = unpickled(self.answers.recv_bytes(), elsewhere)
        except Exception:  # there is no answer, or it does not come from `serve`
            lost = self._life.lost(self._hangs, self._seconds)
            self._life = None
            raise Died(lost) from None
        if good:
            return answer
        raise answer

    def ready(self) -> bool:
        """Whether there is an answer, or none to wait for."""
        assert self._life is not None
        return self.answers.poll() or self._life.process.poll() is not None or self._hangs

    @property
    def answers(self) -> Connection:
        """The pipe of the answers, to wait for."""
        assert self._life is not None
        return self._life.answers

    @property
    def doing(self) -> Doing:
        """The current activity of the process."""
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
    """One process, from its start to its end, which comes at the latest when no reference to it is left."""

    def __init__(self, target: str, folder: str) -> None:
        self.answers, answering = Pipe(duplex=False)  # pipes: a pair of sockets is not for those who open none
        asked, self.questions = Pipe(duplex=False)
        with asked, answering, tempfile.TemporaryFile() as board:
            board.truncate(sizeof(Doing))
            self.doing = in_file(board.fileno())
            descriptors = (asked.fileno(), answering.fileno(), board.fileno())
            given = (target, *descriptors, os.getpid())
            code = (
                f"import sys; sys.path[:] = {sys.path!r}; from bpttcheck.running.service import serve; serve(*{given})"
            )
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=2 if _is_open(2) else subprocess.DEVNULL,  # standard output is for the verdict
                cwd=folder or None,
                pass_fds=descriptors,
                start_new_session=True,
            )
        self.end = weakref.finalize(self, _end, self.process, self.questions, self.answers)
        self.questions.send_bytes(pickle.dumps(_sound(warnings.filters)))

    def lost(self, hung: bool, seconds: float) -> Lost:
        """End the process, and describe how it was lost."""
        if hung:
            said = f"{self.doing.asked} did not return within {seconds:g} s"
        else:
            when = f"during {self.doing.asked}" if self.doing.since else "between two calls"
            said = f"its process {self._how()} {when}"
        self.end()
        return Lost(self.doing.law.decode(), self.doing.draw, said, hung)

    def _how(self) -> str:
        try:
            status = self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return "closed what connects it with this one"
        return how_it_ended(status) + (", as it is for want of memory," if status == -signal.SIGKILL else "")


def _end(process: "subprocess.Popen[bytes]", questions: Connection, answers: Connection) -> None:
    """It is interrupted, so that it can end the processes that it has started; then it is killed with all of its
    group."""
    questions.close()
    answers.close()
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _sound(filters: Sequence[Any]) -> list[Any]:
    """The warning filters that can be pickled."""
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
