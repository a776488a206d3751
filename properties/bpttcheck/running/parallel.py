"""A verdict in shares: each cell and dtype of each target is judged on its own, here or in processes, to the same end.

A target that raises spoils its own share and no other. A process that dies, of a crash or for want of memory, takes
those beside it along: what was lost is judged again, one at a time, and what dies then is at fault.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, as_completed
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from bpttcheck.cases.case_file import CaseFile
from bpttcheck.contract import CustomCell, Implementation
from bpttcheck.laws import LAWS
from bpttcheck.measuring.calls import capabilities_of
from bpttcheck.running.known_failures import KnownFailure
from bpttcheck.running.results import Result
from bpttcheck.running.verdict import Own, judge
from bpttcheck.studies.jobs import executor
from bpttcheck.targets import load

Progress: TypeAlias = Callable[[Result], None]


@dataclass(frozen=True)
class Question:
    """What every target is asked.

    laws: their ids. cells, dtypes: the only ones, where any are named. examples: cases for a cell and dtype. budget:
    seconds for drawing the cases of all shares together, for making failures small and for diagnoses. known: failures
    that are expected. sizes, case, against: the user's own, see `Own`; the last is a target.
    """

    laws: tuple[str, ...] = tuple(law.id for law in LAWS)
    cells: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    examples: int = 40
    budget: float = math.inf
    seed: int = 0
    known: tuple[KnownFailure, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    case: CaseFile | None = None
    against: str = ""

    def own(self) -> Own:
        """What the user brings. Raises TargetError."""
        return Own(self.sizes, self.case, load(self.against) if self.against else None)


class Share(NamedTuple):
    """What is judged at a time."""

    target: str
    cell: str
    dtype: str

    def judged(self, subject: Implementation, asked: Question, seconds: float, progress: Progress) -> list[Result]:
        """The results for its target, ``subject``; in ``seconds`` for drawing cases and making failures small."""
        results = judge(
            subject,
            [law for law in LAWS if law.id in asked.laws],
            cells=[self.cell],
            dtypes=[self.dtype],
            examples=asked.examples,
            seconds=seconds,
            seed=asked.seed,
            as_drawn=[law for law in asked.laws if any(entry.covers(*self, law) for entry in asked.known)],
            own=asked.own(),
            progress=progress,
        )
        return list(results)

    def judged_in_process(self, asked: Question, seconds: float) -> list[Result]:
        """The results, as they can be sent to another process."""
        results = self.judged(load(self.target), asked, seconds, lambda result: None)
        for result in results:
            worst = result.worst
            if worst is not None and worst.case is not None and isinstance(worst.case.cell, CustomCell):
                result.worst = replace(worst, case=None)  # its cell holds functions
        return results


Outcome: TypeAlias = list[Result] | Exception


def shares(target: str, subject: Implementation, asked: Question) -> list[Share]:
    """The shares of one target, in the order of a verdict."""
    declared = capabilities_of(subject)
    cells = [cell.name for cell in declared.cells if not asked.cells or cell.name in asked.cells]
    dtypes = [dtype for dtype in declared.dtypes if not asked.dtypes or dtype in asked.dtypes]
    return [Share(target, cell, dtype) for cell in cells for dtype in dtypes]


def judge_here(
    todo: Sequence[Share], subjects: Mapping[str, Implementation], asked: Question, progress: Progress
) -> Iterator[tuple[Share, Outcome]]:
    """Each share in turn with its results, or with what went wrong; what one leaves of the budget is the next ones'."""
    end = time.monotonic() + asked.budget
    for k, share in enumerate(todo):
        seconds = (end - time.monotonic()) / (len(todo) - k)
        try:
            yield share, share.judged(subjects[share.target], asked, seconds, progress)
        except Exception as error:
            yield share, error


def judge_in_processes(todo: Sequence[Share], asked: Question, processes: int) -> Iterator[tuple[Share, Outcome]]:
    """Each share with its results, or with what went wrong, as they come."""
    lost: list[Share] = []
    seconds = asked.budget * processes / max(1, len(todo))
    with executor(processes) as pool:
        running = {pool.submit(share.judged_in_process, asked, seconds): share for share in todo}
        for future in as_completed(running):
            outcome = _outcome(future)
            if isinstance(outcome, BrokenExecutor):
                lost.append(running[future])
            else:
                yield running[future], outcome
    for share in lost:
        with executor(1) as pool:
            yield share, _outcome(pool.submit(share.judged_in_process, asked, seconds))


def _outcome(future: Future[list[Result]]) -> Outcome:
    try:
        return future.result()
    except BrokenExecutor:
        return BrokenExecutor("its process died, of a crash or for want of memory")
    except Exception as error:
        return error
