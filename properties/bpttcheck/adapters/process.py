"""A program at the other end of three pipes: a message to it, its answer, and the error in a sentence.

Writing, reading and standard error each wait only for their own pipe, so that neither a large message nor a talkative
program makes the two processes wait for each other. Each process leads a group of its own, and the group is killed.
"""

import os
import selectors
import signal
import subprocess
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bpttcheck.adapters.messages import Malformed, decoded
from bpttcheck.cases.blocks import Named
from bpttcheck.exit_status import how_it_ended
from bpttcheck.measuring.calls import AdapterError

_PIECE = 2**16  # bytes read or written at a time, and the longest header
_KEPT, _LINES = 2000, 3  # the last bytes of standard error that are kept, and lines that are shown
_GRACE = 1.0  # seconds between the end of a program's output and its own


class Hang(AdapterError):
    """The program did not answer in time."""


class Process:
    """One life of a program, from its start to `stop`, which comes at the latest when no reference to it is left."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        """Raises AdapterError if it cannot be started."""
        if os.name != "posix":
            raise AdapterError("programs can be tested only on Linux and macOS")
        pipe = subprocess.PIPE
        try:
            self._running = subprocess.Popen(
                command, cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True
            )
        except OSError as error:
            raise AdapterError(f"the program cannot be started: {error.strerror}: {error.filename}") from error
        self.stop = weakref.finalize(self, _stop, self._running)
        running = self._running
        assert running.stdin and running.stdout and running.stderr
        self._stdin, self._stdout, self._stderr = (p.fileno() for p in (running.stdin, running.stdout, running.stderr))
        os.set_blocking(self._stdin, False)
        self._unsent = memoryview(b"")
        self._received = bytearray()
        self._said = b""
        self._deaf = self._ended = False

    def exchange(self, message: bytes, seconds: float) -> tuple[dict[str, Any], Named]:
        """The header of the answer to a message, and its arrays, within this number of ``seconds``.

        Raises AdapterError, after which the process is out of step and must be stopped: with the program's own
        sentence, or with the mistake in the program. `Hang` is an AdapterError.
        """
        self._seconds, self._deadline = seconds, time.monotonic() + seconds
        with selectors.DefaultSelector() as self._pipes:
            self._pipes.register(self._stdout, selectors.EVENT_READ, self._receive)
            self._pipes.register(self._stderr, selectors.EVENT_READ, self._listen)
            self._expect_silence()
            self._unsent = memoryview(message)
            self._pipes.register(self._stdin, selectors.EVENT_WRITE, self._send)
            try:
                header, listed = decoded(self._line())
                if "error" in header:
                    raise AdapterError(str(header["error"]))
                arrays = {array.name: array.holding(self._bytes(array.size, array.name)) for array in listed}
            except Malformed as sentence:
                raise AdapterError(f"the program {sentence}{self._last_words()}") from sentence
            while self._unsent:
                self._wait("after an answer, with a part of the request unread")
            self._expect_silence()
        return header, arrays

    def _line(self) -> bytes:
        while (end := self._received.find(b"\n")) < 0:
            so_far = len(self._received)
            if so_far > _PIECE:
                raise Malformed(f"wrote {so_far} bytes without an end of line where a header was expected")
            self._wait(f"after {so_far} bytes of a header" if so_far else "without an answer")
        return self._taken(end + 1)

    def _bytes(self, size: int, name: str) -> bytes:
        while len(self._received) < size:
            self._wait(f"after {len(self._received)} of the {size} bytes of {name}")
        return self._taken(size)

    def _taken(self, size: int) -> bytes:
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    def _wait(self, when: str) -> None:
        """Write and read as much as the pipes allow. ``when``: how far the answer has come, for the sentence of an
        error."""
        if self._ended:
            raise AdapterError(f"the program {self._end()} {when}{self._last_words()}")
        left = self._deadline - time.monotonic()
        if left <= 0:
            closed = "closed its standard input and " if self._deaf else ""
            raise Hang(f"the program {closed}hung for {self._seconds:g} s {when}{self._last_words()}")
        self._move(left)

    def _move(self, seconds: float) -> None:
        for key, _ in self._pipes.select(seconds):
            key.data()

    def _expect_silence(self) -> None:
        """Between messages nothing may come."""
        self._move(0)
        if self._received:
            shown = bytes(self._received[:20]).decode(errors="replace")
            raise AdapterError(f"the program wrote more than its answer announced: {shown!r}{self._last_words()}")

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._stdin, self._unsent[:_PIECE]) :]
        except BrokenPipeError:
            self._unsent, self._deaf = memoryview(b""), True
        if not self._unsent:
            self._pipes.unregister(self._stdin)

    def _receive(self) -> None:
        piece = os.read(self._stdout, _PIECE)
        self._received += piece
        if not piece:
            self._ended = True
            self._pipes.unregister(self._stdout)

    def _listen(self) -> None:
        piece = os.read(self._stderr, _PIECE)
        self._said = (self._said + piece)[-_KEPT:]
        if not piece:
            self._pipes.unregister(self._stderr)

    def _end(self) -> str:
        """How a program ended whose output did."""
        try:
            return how_it_ended(self._running.wait(_GRACE))
        except subprocess.TimeoutExpired:
            return "closed its standard output"

    def _last_words(self) -> str:
        """Read the rest of standard error; a pipe holds little."""
        self._move(0)
        lines = [line.strip() for line in self._said.decode(errors="replace").splitlines()]
        said = " | ".join([line for line in lines if line][-_LINES:])
        return f"; its standard error ends: {said}" if said else ""


def _stop(running: "subprocess.Popen[bytes]") -> None:
    """Kill the process and all processes that it has started, and close its pipes."""
    with running, suppress(ProcessLookupError, PermissionError):
        os.killpg(running.pid, signal.SIGKILL)
