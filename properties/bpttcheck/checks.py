"""Laws as checks for a test runner: a call answers for one law on one cell of a subject in one dtype."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console

from bpttcheck.contract import Implementation
from bpttcheck.explanation import Explanation
from bpttcheck.laws import LAWS, Law
from bpttcheck.report import print_failure
from bpttcheck.verdict import Result, judge

if TYPE_CHECKING:
    import pytest


@dataclass
class Sitting:
    """One cell of a subject in one dtype: its laws are judged at the first check, together, on the same cases.

    laws: those that will be judged. target: what ``bpttcheck verify`` calls the subject; empty for an object.
    """

    subject: Implementation
    cell: str
    dtype: str
    laws: list[Law]
    examples: int
    seed: int
    target: str = ""

    @cached_property
    def results(self) -> dict[str, Result]:
        """What became of each law."""
        judged = judge(
            self.subject, self.laws, cells=[self.cell], dtypes=[self.dtype], examples=self.examples, seed=self.seed
        )
        return {result.law: result for result in judged}

    def reproduce(self, law: str) -> str:
        """How to see the failure of a law again."""
        if not self.target:
            return f"this test draws the same cases on every run: seed {self.seed}, {self.examples} examples"
        command = ["bpttcheck", "verify", self.target, "--cell", self.cell, "--dtype", self.dtype, "--law", law]
        return shlex.join([*command, "--examples", str(self.examples), "--seed", str(self.seed)])


@dataclass(frozen=True, eq=False, repr=False)
class Check:
    """One law of a sitting."""

    sitting: Sitting
    law: Law

    def __repr__(self) -> str:
        return f"{self.sitting.subject.name}-{self.sitting.cell}-{self.sitting.dtype}-{self.law.id}"

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


def sittings(
    subject: Implementation, laws: Iterable[Law], examples: int, seed: int, target: str = ""
) -> Iterator[Sitting]:
    """A sitting for each cell and dtype that the subject declares."""
    capabilities = subject.capabilities()
    for cell in capabilities.cells:
        for dtype in capabilities.dtypes:
            yield Sitting(subject, cell.name, dtype, list(laws), examples, seed, target)


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

    judged = [sitting for subject in implementations for sitting in sittings(subject, laws, examples, seed)]
    return pytest.mark.parametrize("check", [Check(sitting, law) for sitting in judged for law in laws], ids=repr)
