"""The result of one law on one cell in one dtype, and of all results in a sentence."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from bpttcheck.cases.drawing import Draw
from bpttcheck.measuring.comparisons import Comparison

Status: TypeAlias = Literal["passed", "failed", "skipped", "vacuous", "error", "unsure", "unfinished", "known"]
BAD: tuple[Status, ...] = ("error", "failed", "unsure")


@dataclass(frozen=True)
class Lost:
    """How the process of an implementation was lost. said: in words. hung: whether it was ended because it did not
    answer.

    law, draw: of the test that was running; empty and None if none was.
    """

    law: str
    draw: Draw | None
    said: str
    hung: bool = False


@dataclass
class Tried:
    """The cases that were drawn for a cell and dtype: how many of each kind, and between which sizes."""

    kinds: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)

    @property
    def cases(self) -> int:
        """How many there were."""
        return sum(self.kinds.values())

    def add(self, draw: Draw) -> None:
        """Count a case."""
        kind = draw.kind
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        sizes = self.sizes.setdefault(kind, {})
        for name in "TBDH":
            size = getattr(draw, name)
            least, most = sizes.get(name, (size, size))
            sizes[name] = min(least, size), max(most, size)

    def __str__(self) -> str:
        """As "40 cases: 22 small, T=1..7, B=1..4, D=1..5, H=1..6; 10 large, ...": the frequent kinds first."""
        parts = []
        for kind, number in sorted(self.kinds.items(), key=lambda item: -item[1]):
            sizes = ", ".join(f"{n}={a}..{b}" if a < b else f"{n}={a}" for n, (a, b) in self.sizes[kind].items())
            parts.append(f"{number} {kind}, {sizes}")
        return f"{self.cases} cases: {'; '.join(parts)}"


@dataclass
class Result:
    """The outcome of one law on one cell of an implementation in one dtype.

    Parameters
    ----------
    subject, cell, dtype, law : str
        Names, and the id of the law.
    seed : int
        The seed of the run.
    status : str
        "passed", "failed", "skipped", "vacuous" (no case could prove anything), "error" (the implementation raised),
        "unsure" (the reference is in doubt), "unfinished" (the time was up) or "known" (a known failure).
    examples, vacuous : int
        Cases in which the law compared something, and cases that proved nothing.
    drawn : int
        Cases of the cell and dtype. Some laws alternate, and run on some of these.
    dead : tuple of str
        Arrays that were compared, and above the tolerance in no case.
    left_out : tuple of str
        Arrays that the declarations exempt from this law.
    warnings : tuple of str
        Warnings of the implementation.
    margin : float
        The largest error over tolerance.
    seconds : float
        The time that the law took.
    reason : str
        The sentence behind the status.
    case : Draw or None
        The smallest case that fails.
    inside : str
        The format of operations, if it is not the dtype.
    sees : str
        The smallest error that the law would have seen, if that depends on all cases.
    cut_short : bool
        Whether the time was up before all smaller cases were tried.
    died : bool
        Whether the process of the implementation was lost in a case of the law.
    tried : Tried
        All cases of the cell and dtype.
    known : tuple of (str, str)
        The reason and the link of each known failure that covers it.
    worst : Comparison or None
        The comparison behind the margin.

    Examples
    --------
    >>> result = Result("mine", "lstm", "float64", "causality", seed=0)
    >>> result.examples, result.vacuous = 38, 2
    >>> result.proved
    '38 of 40'
    """

    subject: str
    cell: str
    dtype: str
    law: str
    seed: int
    status: Status = "unfinished"
    examples: int = 0
    vacuous: int = 0
    drawn: int = 0
    dead: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    margin: float = 0.0
    seconds: float = 0.0
    reason: str = ""
    case: Draw | None = None
    sees: str = ""
    inside: str = ""
    cut_short: bool = False
    died: bool = False
    tried: Tried = field(default_factory=Tried)
    known: tuple[tuple[str, str], ...] = ()
    worst: Comparison | None = field(default=None, repr=False)

    @property
    def proved(self) -> str:
        """In how many of the cases that the law ran on it proved something: "3 of 40"."""
        return f"{self.examples} of {self.examples + self.vacuous}"

    @property
    def in_part(self) -> list[tuple[str, str]]:
        """The parts that were not tested, each with a label and a sentence."""
        found = []
        if self.status == "passed" and self.dead:
            found.append(("in part vacuous", f"nothing above rounding was seen in {', '.join(self.dead)}"))
        if self.status not in ("skipped", "unfinished") and self.left_out:
            said = f"gradients of {', '.join(self.left_out)} differ on purpose, as you declared, and are left out"
            found.append(("in part", said))
        if self.status == "passed" and self.sees:
            found.append(("in part", f"errors below {self.sees} would not have been seen"))
        return found

    @property
    def seldom(self) -> bool:
        """Whether a law that passed proved something in less than a tenth of its cases."""
        return self.status == "passed" and 9 * self.examples < self.vacuous

    @property
    def heading(self) -> str:
        """The heading of its case: known failures are shown on the case as it was generated."""
        if self.status not in BAD or self.died:
            return "case"
        return "smallest case found before the time was up" if self.cut_short else "smallest case found"


def unproved(results: Sequence[Result]) -> list[str]:
    """A sentence for a target of which nothing was proved, or for each cell and dtype in which no law proved
    anything."""
    asked = [result for result in results if result.status != "skipped"]
    if results and not asked:
        return ["nothing was tested: all selected laws were skipped"]
    if asked and not _prove(asked):
        return [f"no law proved anything: {_usual_reason(asked)}"]
    shares: dict[tuple[str, str], list[Result]] = {}
    for result in asked:
        shares.setdefault((result.cell, result.dtype), []).append(result)
    return [
        f"no law proved anything on {cell} {dtype}: {_usual_reason(own)}"
        for (cell, dtype), own in shares.items()
        if not _prove(own)
    ]


def _prove(results: Sequence[Result]) -> bool:
    return any(result.status not in ("skipped", "vacuous", "unfinished") for result in results)


def _usual_reason(results: Sequence[Result]) -> str:
    ((reason, _),) = Counter(result.reason for result in results).most_common(1)
    return reason


def summary(results: Sequence[Result]) -> str:
    """One closing sentence over all results."""
    count = Counter(result.status for result in results)
    ran = len(results) - count["skipped"] - count["unfinished"]
    return f"ran {ran} of {len(results)} laws by cell and dtype, {so_far(results)}."


def so_far(results: Sequence[Result]) -> str:
    """How many laws passed, and how many have each other status: "180 passed, 2 failed"."""
    count = Counter(result.status for result in results)
    others: tuple[Status, ...] = ("failed", "known", "unsure", "error", "vacuous", "skipped", "unfinished")
    return ", ".join([f"{count['passed']} passed", *(f"{count[s]} {s}" for s in others if count[s])])
