"""Laws as checks for a test runner: a call answers for one law on one cell of a subject in one dtype."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console

from bpttcheck.contract import Implementation
from bpttcheck.explaining.explanation import Explanation
from bpttcheck.laws import LAWS, Law
from bpttcheck.reporting.text import print_failure
from bpttcheck.running.parallel import Question, Share, shares
from bpttcheck.running.results import Result

if TYPE_CHECKING:
    import pytest


@dataclass
class Sitting:
    """A share of a subject: its laws are judged at the first check, together, on the same cases.

    laws: the ids of those that will be judged. object: whether the subject is one of the test's own objects, which no
    command can name.
    """

    subject: Implementation
    share: Share
    asked: Question
    laws: list[str]
    object: bool = False

    @cached_property
    def results(self) -> dict[str, Result]:
        """What became of each law."""
        asked = replace(self.asked, laws=tuple(self.laws))
        judged = self.share.judged(self.subject, asked, asked.budget, lambda result: None)
        return {result.law: result for result in judged}

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
        return f"{self.sitting.subject.name}-{self.sitting.share.cell}-{self.sitting.share.dtype}-{self.law.id}"

    def __call__(self) -> None:
        """Raises AssertionError with what is wrong; skips the test that runs if the law says nothing."""
        import pytest

        __tracebackhide__ = True
        result = self.sitting.results[self.law.id]
        if result.status in ("skipped", "vacuous", "unfinished"):
            pytest.skip(result.reason if result.status == "skipped" else f"{result.status}: {result.reason}")
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
    """A decorator for a test function with the argument ``check``: a test per implementation, cell, dtype and law.

    implementations: objects, not classes. laws: all, or those chosen from `LAWS`. examples, seed: as `judge` takes
    them. ``check()`` raises AssertionError with what is wrong, or skips the test with the reason for which the law says
    nothing. A cell and dtype is judged at its first test, by all ``laws``. Raises ImportError without pytest.
    """
    import pytest

    asked = Question(examples=examples, seed=seed)
    judged = [
        Sitting(subject, share, asked, [law.id for law in laws], object=True)
        for subject in implementations
        for share in shares(subject.name, subject, asked)
    ]
    return pytest.mark.parametrize("check", [Check(sitting, law) for sitting in judged for law in laws], ids=repr)
