"""Laws as checks for a test runner: a call answers for one law on one cell of an implementation in one dtype."""

import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console

from bpttcheck.contract import Implementation
from bpttcheck.explaining.explanation import Explanation
from bpttcheck.laws import LAWS, Law
from bpttcheck.reporting.text import print_failure
from bpttcheck.running.introduction import introduce
from bpttcheck.running.known_failures import settle
from bpttcheck.running.question import Question, Share
from bpttcheck.running.results import Result, unproved
from bpttcheck.running.turns import judge_share

if TYPE_CHECKING:
    import pytest


@dataclass
class Sitting:
    """A share of an implementation: its laws are tested at the first check, together, on the same cases.

    name: of the implementation. judged: tests the laws. can_be_asked: the ids of the laws that apply to the
    implementation. laws: the ids of the laws that will be tested. target: all sittings of the implementation, this one
    included.
    object: whether the implementation is one of the test's own objects, which no command can name.
    """

    name: str
    share: Share
    asked: Question
    can_be_asked: Collection[str]
    judged: Callable[[Share, Question], list[Result]]
    laws: list[str]
    target: list["Sitting"]
    object: bool = False
    speaker: tuple[Share, str] | None = None  # the test that reports that nothing was proved

    def __post_init__(self) -> None:
        self.target.append(self)

    @cached_property
    def results(self) -> dict[str, Result]:
        """The outcome of each law, known failures settled."""
        results = self.judged(self.share, replace(self.asked, laws=tuple(self.laws)))
        settle(results, self.share.target, self.asked.known)
        return {result.law: result for result in results}

    @cached_property
    def _silent(self) -> bool:
        """Whether no law that will be tested applies to the implementation."""
        return not set(self.laws) & set(self.can_be_asked)

    def unproved(self, law: str) -> str:
        """A sentence that nothing was proved, if the test of this ``law`` is the one that reports it; else empty.

        The test of the first selected law reports it; of an object's tests, which do not know the selection, the first
        that runs. If no law applies to this cell and dtype but some do to others of the target, no test reports it.
        """
        in_vain = unproved(list(self.results.values()))
        others = [sitting for sitting in self.target if sitting.laws]
        if not in_vain or (self._silent and not all(sitting._silent for sitting in others)):
            return ""
        first = others[0] if self._silent else self
        if not first.speaker:
            first.speaker = (self.share, law) if self.object else (first.share, first.laws[0])
        return in_vain[0] if first.speaker == (self.share, law) else ""

    def reproduce(self, law: str) -> str:
        """How to see the failure of a law again."""
        asked, share = self.asked, self.share
        if self.object:
            return f"this test draws the same cases on every run: seed {asked.seed}, {asked.examples} examples"
        command = ["bpttcheck", "verify", share.target, "--cell", share.cell, "--dtype", share.dtype, "--law", law]
        return shlex.join([*command, "--examples", str(asked.examples), "--seed", str(asked.seed)])


@dataclass(frozen=True, eq=False, repr=False)
class Check:
    """One law of a sitting."""

    sitting: Sitting
    law: Law

    def __repr__(self) -> str:
        return f"{self.sitting.name}-{self.sitting.share.cell}-{self.sitting.share.dtype}-{self.law.id}"

    def __call__(self) -> None:
        """Raises AssertionError with the failure, or that nothing was proved; skips the test if the law is silent."""
        import pytest

        __tracebackhide__ = True
        result = self.sitting.results[self.law.id]
        if in_vain := self.sitting.unproved(self.law.id):
            where = "" if in_vain.startswith("nothing") else f" on {result.cell} {result.dtype}"
            raise AssertionError(f"nothing was proved{where}, which is not green: {in_vain}")
        if result.status in ("skipped", "vacuous", "unfinished"):
            pytest.skip(result.reason if result.status == "skipped" else f"{result.status}: {result.reason}")
        if result.status == "known":
            pytest.xfail(result.reason)
        if result.status != "passed" and result.case is None:
            mark = result.status if result.status == "unsure" else result.status.upper()
            raise AssertionError(f"{mark} {result.law} on {result.cell} {result.dtype}: {result.reason}")
        if result.status != "passed":
            text = StringIO()
            print_failure(Console(file=text, color_system=None), Explanation([result], "", None, ()))
            raise AssertionError(f"{text.getvalue().strip()}\n    reproduce: {self.sitting.reproduce(result.law)}")


def parametrize_with_laws(
    implementations: Sequence[Implementation],
    laws: Sequence[Law] = LAWS,
    *,
    examples: int = 40,
    seed: int = 0,
) -> "pytest.MarkDecorator":
    """Make a test for each implementation, cell, dtype and law, as a decorator for a test function.

    The test function has the argument ``check``. ``check()`` raises AssertionError with the mistake, or skips the test
    with the reason. If no law proved anything on a cell and dtype, one test fails with this sentence.

    Parameters
    ----------
    implementations : sequence of Implementation
        Objects, not classes.
    laws : sequence of Law
        All of `LAWS`, or some. The first test of a cell and dtype runs them all.
    examples, seed : int
        As `judge` takes them.

    Returns
    -------
    pytest.MarkDecorator
        The decorator.

    Raises
    ------
    ImportError
        Without pytest.

    Examples
    --------
    >>> from bpttcheck import parametrize_with_laws
    >>> from bpttcheck.adapters.reference import Reference
    >>> @parametrize_with_laws([Reference()], examples=5)
    ... def test_reference(check):
    ...     check()
    """
    import pytest

    asked = Question(examples=examples, seed=seed)
    judged: list[Sitting] = []
    for subject in implementations:
        own: list[Sitting] = []
        said = introduce(subject, subject.name, asked)
        for share, can_be_asked in said.shares.items():
            by = partial(judge_share, subject)
            Sitting(said.name, share, asked, can_be_asked, by, [law.id for law in laws], own, object=True)
        judged += own
    return pytest.mark.parametrize("check", [Check(sitting, law) for sitting in judged for law in laws], ids=repr)
