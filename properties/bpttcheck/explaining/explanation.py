"""What is said of a cell that fails or raises: laws, the smallest case, a diagnosis, an X-ray, files that show it."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.realising import realise
from bpttcheck.contract import Case, Cotangents, CustomCell, Implementation, TwoPhase
from bpttcheck.explaining.diagnosis import diagnose
from bpttcheck.explaining.failure import write_failure
from bpttcheck.explaining.xray import Xray, in_words, xray
from bpttcheck.laws import LAWS
from bpttcheck.measuring.calls import AdapterError, Refused, capabilities_of
from bpttcheck.measuring.comparisons import Violation
from bpttcheck.measuring.trial import Trial
from bpttcheck.running.parallel import Question
from bpttcheck.running.results import BAD, Result
from bpttcheck.running.time_limit import USUAL, TimeLimit
from bpttcheck.targets import TargetError, load
from bpttref import Blocks, Cell, Full, Last, Regular, Strategy, Window

_SHOWN = 8  # a block of up to so many numbers is written out
_RULES: tuple[Strategy, ...] = (Regular(3), Window(3), Blocks(2, 3), Last(3))  # of an X-ray
_STEPS = 8


@dataclass(frozen=True)
class Explanation:
    """broken: what failed on one cell, float64 first. xray, asked: if a law of truncation failed, what that kind of
    truncation really is. files: a folder each, or none, with the reason in ``unwritten``."""

    broken: Sequence[Result]
    diagnosis: str
    xray: Xray | None
    files: Sequence[Path]
    unwritten: str = ""
    asked: Strategy = _RULES[0]

    @property
    def first(self) -> Result:
        """The result to begin with."""
        return min(self.broken, key=lambda result: (result.status != "failed", result.worst is None))

    def cause(self) -> dict[str, str]:
        """What was found out about the fault, by heading."""
        found = {"diagnosis": self.diagnosis} if self.diagnosis else {}
        if self.xray is not None:
            found[f"X-ray of {self.asked}"] = (
                f"{self.xray.in_words(self.asked)}; declared: {in_words(self.xray.declared)}"
            )
        return found

    def lines(self) -> Iterator[tuple[str, str]]:
        """Headings and texts, the first of which has no heading if there are numbers to show."""
        first, worst = self.first, self.first.worst
        if worst is not None and worst.got is not None and worst.expected is not None and worst.got.size <= _SHOWN:
            numbers = f"got {np.array2string(worst.got)}, expected {np.array2string(worst.expected)}"
            yield "", numbers.replace("\n", "")
        put = worst.case.truncation if worst is not None and worst.case is not None else Full()
        yield first.heading, f"{first.case}{'' if put == Full() else f', {put}'}"
        if first.margin and not (worst is not None and worst.exact):
            yield "error over tolerance", f"{first.margin:.2g}"
        others: dict[str, list[str]] = {}
        for result in self.broken:
            if result is not first:
                others.setdefault(result.law, []).append(result.dtype)
        if others:
            yield "also broken", ", ".join(f"{law} ({', '.join(dtypes)})" for law, dtypes in others.items())
        yield from self.cause().items()
        if self.files:
            yield "reproduce", f"python {self.files[0]}"
        if len(self.files) > 1:
            yield "all failures", f"a folder each in {self.files[0].parent.parent}"
        if self.unwritten:
            yield "", f"the failures could not be written: {self.unwritten}; --failures DIR names another folder"


def explain(
    target: str,
    subject: Implementation,
    results: Sequence[Result],
    failures: Path,
    asked: Question,
    limit: TimeLimit | None = None,
) -> Iterator[Explanation]:
    """For each cell of a subject that failed, what is wrong; each failure is written to a folder in ``failures``.

    results: the subject's alone. asked: what they answer. limit: for all diagnoses, of which each has a minute at most.
    """
    limit = limit or TimeLimit()
    failed = [r for r in results if r.status in BAD and r.case]
    capabilities = capabilities_of(subject).at(asked.sizes)
    cells = {cell.name: cell for cell in capabilities.cells}
    for name in dict.fromkeys(result.cell for result in failed):
        broken = sorted((r for r in failed if r.cell == name), key=lambda r: r.dtype, reverse=True)
        first, *_ = problems = [realise(_drawn(r), cells[name], r.dtype, capabilities) for r in broken]
        doubtful = asked.against or broken[0].status == "unsure"  # then nobody knows what is right
        diagnosis = "" if doubtful else _diagnosis(target, subject, cells[name], broken[0].dtype, first, limit)
        rule = _rule(broken)
        seen = _seen(subject, cells[name], broken, rule)
        try:
            files = [
                write_failure(failures, target, r.subject, r.law, r.reason, *problem, r.worst, asked.against)
                for r, problem in zip(broken, problems, strict=True)
            ]
            yield Explanation(broken, diagnosis, seen, files, "", rule)
        except OSError as error:
            yield Explanation(broken, diagnosis, seen, (), str(error), rule)


def _drawn(result: Result) -> Draw:
    assert result.case is not None
    return result.case


def _diagnosis(
    target: str,
    subject: Implementation,
    cell: Cell | CustomCell,
    dtype: str,
    problem: tuple[Case, Cotangents],
    limit: TimeLimit,
) -> str:
    """The sentence, or nothing where the subject does not even run, and a fresh one does not either."""
    if not limit.left:
        return "" if isinstance(cell, CustomCell) else "the time was up before one could be made"
    found = None
    with suppress(AdapterError):
        found = diagnose(subject, cell, dtype, failing=[problem], limit=TimeLimit(min(USUAL, limit.left)))
    if (found is None or not (found.names or found.moody)) and _has_changed(target, subject, problem):
        return (
            "one that has not been called before has other numbers at this case: something is left behind by one call "
            "for the next"
        )
    return found.sentence() if found else ""


def _has_changed(target: str, subject: Implementation, problem: tuple[Case, Cotangents]) -> bool:
    """Whether a subject that has been called has other numbers than one that is loaded anew, or raises."""
    if not isinstance(subject, TwoPhase):
        return False
    try:
        fresh = load(target)
        new = Trial(fresh, capabilities_of(fresh), *problem)
        expected, measured = new.returned, new.measured
    except (TargetError, AdapterError, Refused, Violation):
        return False
    try:
        numbers = Trial(subject, new.capabilities, *problem).returned
        return any(c.margin > 1 for c in new.compare(numbers, expected, measured, measured))
    except (AdapterError, Violation):
        return True


def _rule(broken: Sequence[Result]) -> Strategy:
    """A truncation of the kind of which a law is broken; regular truncation where none is named."""
    words = {word for result in broken for word in result.law.split("-")}
    return next((rule for rule in _RULES if type(rule).__name__.lower() in words), _RULES[0])


def _seen(subject: Implementation, cell: Cell | CustomCell, broken: Sequence[Result], rule: Strategy) -> Xray | None:
    """An X-ray of a truncation if a law of truncation is broken and the subject can be X-rayed."""
    of_truncation = {law.id for law in LAWS if law.family in ("truncation", "xray")}
    if of_truncation.isdisjoint(result.law for result in broken):
        return None
    with suppress(ValueError, AdapterError, Refused, Violation):
        return xray(subject, cell, rule, _STEPS)
    return None
