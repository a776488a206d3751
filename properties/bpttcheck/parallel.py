"""A verdict in shares: each cell and dtype of each target is judged on its own, here or in processes, to the same end.

A target that raises spoils its own share and no other. A process that dies, of a crash or for want of memory, takes
those beside it along: what was lost is judged again, one at a time, and what dies then is at fault.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, as_completed
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from bpttcheck.adapters import load
from bpttcheck.contract import CustomCell, Implementation
from bpttcheck.jobs import executor
from bpttcheck.laws import LAWS, Law
from bpttcheck.verdict import Result, judge


class Share(NamedTuple):
    """What one process judges at a time."""

    target: str
    cell: str
    dtype: str

    def judged(self, law_ids: Sequence[str], examples: int, seed: int) -> list[Result]:
        """The results, as they can be sent to another process."""
        laws = [law for law in LAWS if law.id in law_ids]
        subject = load(self.target)
        results = list(judge(subject, laws, cells=[self.cell], dtypes=[self.dtype], examples=examples, seed=seed))
        for result in results:
            worst = result.worst
            if worst is not None and worst.case is not None and isinstance(worst.case.cell, CustomCell):
                result.worst = replace(worst, case=None)  # its cell holds functions
        return results


Outcome: TypeAlias = list[Result] | Exception


def shares(subjects: Mapping[str, Implementation], cells: Sequence[str], dtypes: Sequence[str]) -> list[Share]:
    """All that is to be judged, in the order of a verdict; ``cells`` and ``dtypes`` restrict it if there are any."""
    return [
        Share(target, cell.name, dtype)
        for target, subject in subjects.items()
        for cell in subject.capabilities().cells
        for dtype in subject.capabilities().dtypes
        if (not cells or cell.name in cells) and (not dtypes or dtype in dtypes)
    ]


def judge_here(
    todo: Sequence[Share],
    subjects: Mapping[str, Implementation],
    laws: Sequence[Law],
    examples: int,
    seed: int,
    progress: Callable[[Result], None],
) -> Iterator[tuple[Share, Outcome]]:
    """Each share in turn with its results, or with what went wrong."""
    for share in todo:
        subject = subjects[share.target]
        try:
            results = judge(
                subject, laws, cells=[share.cell], dtypes=[share.dtype], examples=examples, seed=seed, progress=progress
            )
            yield share, list(results)
        except Exception as error:
            yield share, error


def judge_in_processes(
    todo: Sequence[Share], law_ids: Sequence[str], examples: int, seed: int, processes: int
) -> Iterator[tuple[Share, Outcome]]:
    """Each share with its results, or with what went wrong, as they come."""
    lost: list[Share] = []
    with executor(processes) as pool:
        running = {pool.submit(share.judged, law_ids, examples, seed): share for share in todo}
        for future in as_completed(running):
            outcome = _outcome(future)
            if isinstance(outcome, BrokenExecutor):
                lost.append(running[future])
            else:
                yield running[future], outcome
    for share in lost:
        with executor(1) as pool:
            yield share, _outcome(pool.submit(share.judged, law_ids, examples, seed))


def _outcome(future: Future[list[Result]]) -> Outcome:
    try:
        return future.result()
    except BrokenExecutor:
        return BrokenExecutor("its process died, of a crash or for want of memory")
    except Exception as error:
        return error
