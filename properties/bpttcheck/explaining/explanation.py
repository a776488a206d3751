"""The message about a cell that fails or raises: laws, the smallest case, a diagnosis, an X-ray, files that show it."""

import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.facts import facts
from bpttcheck.cases.realising import realise
from bpttcheck.contract import Case, Cotangents, CustomCell, Implementation, TwoPhase
from bpttcheck.explaining.diagnosis import diagnose, whose_numbers
from bpttcheck.explaining.failure import EARLIER, write_failure
from bpttcheck.explaining.headline import also_broken, in_order, together
from bpttcheck.explaining.looking import number_by_number
from bpttcheck.explaining.replaying import on_its_own
from bpttcheck.explaining.xray import RULES, Xray, xray_of_a_rule
from bpttcheck.measuring.calls import AdapterError, Refused, capabilities_of
from bpttcheck.measuring.comparisons import Comparison, Violation
from bpttcheck.measuring.trial import Trial
from bpttcheck.running.child import Died, Place
from bpttcheck.running.evaluating import Finding
from bpttcheck.running.question import Question
from bpttcheck.running.results import BAD, Result
from bpttcheck.running.time_limit import USUAL, TimeLimit
from bpttcheck.targets import TargetError, cell_named, load
from bpttref import Cell, Strategy
from bpttref.arrays import Array

_SHOWN = 8  # the most numbers of a block that are written out
_RANDOM = (
    "its numbers differ from one process to the next, with nothing called before: something is drawn at random, or "
    "read from memory that nobody wrote"
)


@dataclass(frozen=True)
class Explanation:
    """broken: the failures on one cell, the most informative first. xray, asked: an incorrect truncation, if full BPTT
    is correct, and the requested one. files: a folder for each failure, or none, with the reason in ``unwritten``.
    together: the conclusion from all broken laws. facts: of the first case. needs: the call that must come before it.
    """

    broken: Sequence[Result]
    diagnosis: str
    xray: Xray | None
    files: Sequence[Path]
    unwritten: str = ""
    asked: Strategy = RULES[0]
    together: str = ""
    facts: Sequence[str] = ()
    needs: str = ""

    @property
    def first(self) -> Result:
        """The result to begin with."""
        return self.broken[0]

    def cause(self) -> dict[str, str]:
        """The facts about the mistake, by heading."""
        found = {"diagnosis": self.diagnosis} if self.diagnosis else {}
        if self.xray is not None:
            found[f"X-ray of {self.asked}"] = self.xray.triangles(self.asked)
        return found

    def lines(self) -> Iterator[tuple[str, str]]:
        """Headings and texts, the first of which has no heading if there are numbers to show."""
        first, worst = self.first, self.first.worst
        if worst is not None and worst.got is not None and worst.expected is not None:
            yield "", numbers(worst.got, worst.expected)
        yield first.heading, "; ".join([str(first.case), *self.facts])
        if first.margin and not (worst is not None and worst.exact):
            yield "error over tolerance", f"{first.margin:.2g}"
        if self.together:
            yield "taken together", self.together
        if others := also_broken(self.broken):
            yield "also broken", ", ".join(f"{law} ({', '.join(dtypes)})" for law, dtypes in others.items())
        raised: dict[str, set[str]] = {}
        for result in self.broken[1:]:
            if result.status == "error" and (result.law, result.reason) != (first.law, first.reason):
                raised.setdefault(result.reason, set()).add(result.law)
        for reason, laws in raised.items():
            yield f"ERROR {', '.join(sorted(laws))}", "the same" if reason == first.reason else reason
        yield from self.cause().items()
        if self.needs:
            yield "needs", self.needs
        yield "about the law", f"bpttcheck laws {first.law}"
        if self.files:
            yield "reproduce", f"python {shlex.quote(str(self.files[0]))}"
        if len(self.files) > 1:
            yield "all failures", f"a folder each in {self.files[0].parent.parent}"
        if self.unwritten:
            yield "", f"the failures could not be written: {self.unwritten}; --failures DIR names another folder"


def numbers(got: Array, expected: Array) -> str:
    """A block's numbers; of many numbers only the one with the largest error, with its place."""
    where = ""
    if got.size > _SHOWN and got.shape == expected.shape:
        with np.errstate(invalid="ignore"):
            off = np.abs(np.subtract(got, expected, dtype=np.float64))
        place = np.unravel_index(int(np.argmax(np.where(np.isnan(off), np.inf, off))), got.shape)
        got, expected = got[place], expected[place]
        where = f" at {[int(k) for k in place]}"
    short = [np.array2string(np.asarray(a)) for a in (got, expected)]
    if short[0] == short[1]:
        short = [np.array2string(np.asarray(a), floatmode="unique") for a in (got, expected)]
    return f"got {short[0]}, expected {short[1]}{where}".replace("\n", "")


def explain(
    place: Place, target: str, results: Sequence[Result], failures: Path, asked: Question, limit: TimeLimit
) -> Iterator[Explanation]:
    """An explanation of each cell of a target that failed; each failure is written to a folder in ``failures``.

    results: of this target only. asked: the question of the run. limit: for all diagnoses; each has a minute at most.
    Where a diagnosis kills the process of the target there is none. Raises `Died` where less than a diagnosis kills it.
    """
    failed = [r for r in results if r.status in BAD and r.case]
    for cell in dict.fromkeys(result.cell for result in failed):
        broken = in_order([r for r in failed if r.cell == cell])
        passed = {r.law for r in results if r.cell == cell and r.status == "passed"}
        given = (target, broken, passed, failures, asked)
        try:
            yield place.ask(
                explain_cell, *given, limit.left, "" if broken[0].died and broken[0].status == "error" else None
            )
        except Died as death:
            yield place.ask(explain_cell, *given, limit.left, f"none could be made: {death}")


def explain_cell(
    subject: Implementation,
    target: str,
    broken: Sequence[Result],
    passed: Collection[str],
    failures: Path,
    asked: Question,
    seconds: float,
    undiagnosed: str | None = None,
) -> Explanation:
    """The explanation of one cell. passed: laws that hold. undiagnosed: a text in place of a diagnosis, for which the
    implementation is then not called.

    Each failure is written to a folder in ``failures``.
    """
    limit = TimeLimit(seconds)
    capabilities = capabilities_of(subject).at(asked.sizes)
    cell = cell_named(subject, broken[0].cell)
    problems = [realise(_drawn(result), cell, result.dtype, capabilities) for result in broken]
    put = _as_put(broken[0], *problems[0])
    doubtful = broken[0].status == "unsure"  # then the correct numbers are unknown
    told, seen, rule, shown = undiagnosed or "", None, RULES[0], None
    if undiagnosed is None:
        told = "" if doubtful else _diagnosis(target, subject, cell, broken[0], put, limit, asked)
        seen, rule = xray_of_a_rule(subject, cell, [result.law for result in broken])
        right = whose_numbers(subject, cell, asked.own().against)
        shown = number_by_number(subject, right, broken[0].worst, *put)
    broken = [with_numbers(broken[0], shown), *broken[1:]]
    explanation = Explanation(
        broken,
        told,
        seen,
        (),
        asked=rule,
        together="" if doubtful else together(broken, passed),
        facts=facts(put[0]),
    )
    written = partial(_write_all, failures, target, asked.against, broken, problems, shown)
    try:
        files = written()
        needs = _needs(files[0], written) if limit.left and undiagnosed is None else ""
    except OSError as error:
        return replace(explanation, unwritten=str(error))
    found = replace(explanation, diagnosis=_RANDOM) if needs == _RANDOM else replace(explanation, needs=needs)
    return replace(found, files=files)


def with_numbers(result: Result, shown: Comparison | None) -> Result:
    """A failure with the correct numbers, if they should be ``shown``."""
    if shown is None:
        return result
    return replace(result, worst=shown, margin=shown.margin, reason=Finding(shown).sentence())


def _write_all(
    failures: Path,
    target: str,
    against: str,
    broken: Sequence[Result],
    problems: Sequence[tuple[Case, Cotangents]],
    shown: Comparison | None,
    before: str = "",
) -> list[Path]:
    """A folder for each failure. shown: the comparison whose expected numbers are the correct ones. Raises OSError."""
    return [
        write_failure(
            failures, target, r.subject, r.law, r.reason, case, cotangents, r.worst, against, before, r.worst is shown
        )
        for r, (case, cotangents) in zip(broken, problems, strict=True)
    ]


def _drawn(result: Result) -> Draw:
    assert result.case is not None
    return result.case


def _as_put(result: Result, case: Case, cotangents: Cotangents) -> tuple[Case, Cotangents]:
    """The problem that the law made from the drawn one, if the cotangents fit it."""
    made = result.worst and result.worst.case
    return (made, cotangents) if made and (made.T, made.B) == (case.T, case.B) else (case, cotangents)


def _needs(file: Path, written: Callable[[str], Sequence[Path]]) -> str:
    """The call that must come before a failure shows again, which is then in the files; empty if none must.

    `_RANDOM` if each run of the file gives another result.
    """
    alone = on_its_own(file)
    if alone.startswith("FAILED") and on_its_own(file) != alone:
        return _RANDOM
    if alone != "FIXED":
        return ""
    for before in EARLIER:
        written(before)
        if on_its_own(file).startswith("FAILED"):
            return f"a call for {before} before it, which is in the file"
    written("")
    return "the calls of a whole run before it: on its own the file says FIXED; run verify again with the same seed"


def _diagnosis(
    target: str,
    subject: Implementation,
    cell: Cell | CustomCell,
    first: Result,
    problem: tuple[Case, Cotangents],
    limit: TimeLimit,
    asked: Question,
) -> str:
    """The diagnosis as a sentence; empty where neither the implementation nor a fresh one runs.

    It is made on a freshly loaded implementation if possible, which keeps nothing from earlier calls yet.
    """
    if not limit.left:
        return "the time was up before one could be made"
    found, fresh = None, subject
    none = "none could be made: one that was not called before always raises"
    with suppress(TargetError, AdapterError):
        fresh = load(target)
    try:
        found = diagnose(
            fresh,
            cell,
            first.dtype,
            failing=[problem],
            limit=TimeLimit(min(USUAL, limit.left)),
            against=asked.own().against,
        )
    except AdapterError as error:
        none = f"none could be made: {error}"
    except Exception as error:  # the verdict stands without one
        return f"none could be made: {type(error).__name__}: {error}"
    if (found is None or not (found.names or found.moody)) and _has_changed(target, subject, problem):
        return (
            "one that has not been called before has other numbers at this case: something is left behind by one call "
            "for the next"
        )
    if found is None:
        return none if first.status == "failed" else ""
    return found.sentence() if found.broken or first.status == "failed" else ""


def _has_changed(target: str, subject: Implementation, problem: tuple[Case, Cotangents]) -> bool:
    """Whether an implementation gives other numbers after its calls than a freshly loaded one, or raises."""
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
