"""Each target tested by `bpttcheck verify` in a process of its own, whose JSON is the evidence; targets do not affect
each other."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bpttcheck.exit_status import AT_FAULT, FAILED, PASSED, UNSURE, how_it_ended
from bpttcheck.reporting.record import from_json
from bpttcheck.running.question import Question
from bpttcheck.running.run import Record, Run

_GRACE = 5.0  # seconds that a process has to write its results before it is ended
_SAID = 300  # the longest line of standard error that is passed on


@dataclass(frozen=True)
class Work:
    """The work of each process. known_file: with the known failures. timeout: in seconds. scheduler: of a cluster."""

    asked: Question
    known_file: Path | None
    timeout: float
    scheduler: str | None = None

    def command(self, target: str, folder: Path) -> list[str]:
        """The call of `verify` that writes its verdict and failures into a folder."""
        asked = self.asked
        as_here = [] if os.getcwd() in sys.path else ["-P"]  # plain -m would put this folder on the path
        command = [sys.executable, *as_here, "-m", "bpttcheck", "--no-settings", "verify", "--where-declared"]
        for option, values in (("--law", asked.laws), ("--cell", asked.cells), ("--dtype", asked.dtypes)):
            command += [word for value in values for word in (option, value)]
        command += [] if self.known_file is None else ["--known-failures", str(self.known_file)]
        command += [] if self.scheduler is None else ["--scheduler", self.scheduler]
        command += ["--seed", str(asked.seed), "--examples", str(asked.examples)]
        command += ["--json", str(folder / "verdict.json"), "--failures", str(folder / "failures"), "--", target]
        return command


def judge(targets: Sequence[str], work: Work, jobs: int, finished: Callable[[Run], None]) -> None:
    """Test the targets, ``jobs`` at a time; ``finished`` gets the run of each, whatever became of its process.

    When this is interrupted the processes are ended, and ``finished`` gets what they knew. Raises KeyboardInterrupt.
    """

    async def judge_all() -> None:
        turn = asyncio.Semaphore(jobs)

        async def judge_one(target: str) -> None:
            async with turn:
                await _judge(target, work, finished)

        async with asyncio.TaskGroup() as group:
            for target in targets:
                group.create_task(judge_one(target))

    asyncio.run(judge_all())


async def _judge(target: str, work: Work, finished: Callable[[Run], None]) -> None:
    with TemporaryDirectory(prefix="bpttcheck-") as name:
        folder = Path(name)
        command = work.command(target, folder)
        with (folder / "stderr").open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=DEVNULL, stdout=DEVNULL, stderr=stderr, start_new_session=True
            )
        trouble = "interrupted"
        try:
            trouble = _trouble(await asyncio.wait_for(process.wait(), work.timeout))
        except TimeoutError:
            trouble = f"it was stopped after {work.timeout:g} s"
        finally:
            await _end(process)
            finished(_run(target, work.asked, folder, trouble))


async def _end(process: Process) -> None:
    """The process and what it has started are gone; it is interrupted, so that it writes what it knows, then killed."""
    try:
        if process.returncode is None:
            with suppress(ProcessLookupError, TimeoutError):
                process.send_signal(signal.SIGINT)
                await asyncio.wait_for(process.wait(), _GRACE)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _trouble(status: int) -> str:
    """A sentence on the end of a process; empty if it came to a verdict."""
    return "" if status in (PASSED, FAILED, AT_FAULT, UNSURE) else f"its process {how_it_ended(status)}"


def _run(target: str, asked: Question, folder: Path, trouble: str) -> Run:
    """The run that the process wrote; if it is missing or cut off, with the last line of standard error."""
    lines = (folder / "stderr").read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line.strip().removeprefix("bpttcheck: ")[:_SAID] for line in lines if line.strip()][-1:]
    try:
        run = from_json((folder / "verdict.json").read_text(encoding="utf-8"))
        if run.interrupted and not run.results:  # the text that is there from the start
            trouble = trouble or "its process ended without a verdict"
    except (OSError, ValueError):
        run = Run(asked, [Record(target)])
        trouble = trouble or ("" if said else "its process ended without a verdict")
        if not trouble:
            run.targets[0].errors = said
    if trouble:
        run.targets[0].errors.append("; it said last: ".join([trouble, *said]))
    return run
