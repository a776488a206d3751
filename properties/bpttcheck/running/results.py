"""What became of one law on one cell in one dtype, and of all of them in a sentence."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from bpttcheck.cases.drawing import Draw
from bpttcheck.measuring.comparisons import Comparison

Status: TypeAlias = Literal["passed", "failed", "skipped", "vacuous", "error", "unsure", "unfinished", "known"]
BAD: tuple[Status, ...] = ("error", "failed", "unsure")


@dataclass
class Result:
    """What became of one law on one cell of a subject in one dtype, by their names and ids.

    status: "passed", "failed", "skipped" (not asked), "vacuous" (no case could prove anything), "error" (the subject
    raised), "unsure" (the reference is in doubt), "unfinished" (the time was up) or "known" (failed as was known).
    seed: of the run. examples: cases in which the law compared something; vacuous: cases that proved nothing. dead:
    arrays that were looked at and in no case above the tolerance. warnings: what the subject warned of. margin: the
    largest error over tolerance. seconds: that it took. reason: the sentence behind a status. case: the smallest that
    fails. worst: the comparison behind the margin. cut_short: whether the time was up before all smaller cases were
    tried.
    """

    subject: str
    cell: str
    dtype: str
    law: str
    seed: int
    status: Status = "unfinished"
    examples: int = 0
    vacuous: int = 0
    dead: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    margin: float = 0.0
    seconds: float = 0.0
    reason: str = ""
    case: Draw | None = None
    cut_short: bool = False
    worst: Comparison | None = field(default=None, repr=False)

    @property
    def heading(self) -> str:
        """What its case is: errors and known failures are shown on the case that was drawn."""
        if self.status not in ("failed", "unsure"):
            return "case"
        return "smallest case found before the time was up" if self.cut_short else "smallest case found"


def summary(results: Sequence[Result]) -> str:
    """One closing sentence over all results."""
    count = Counter(result.status for result in results)
    ran = len(results) - count["skipped"] - count["unfinished"]
    parts = [f"ran {ran} of {len(results)} laws by cell and dtype", f"{count['passed']} passed"]
    parts += [
        f"{count[s]} {s}"
        for s in ("failed", "known", "unsure", "error", "vacuous", "skipped", "unfinished")
        if count[s]
    ]
    return ", ".join(parts) + "."
