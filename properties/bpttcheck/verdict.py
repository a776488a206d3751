"""The engine: draw a case once, put every applicable law to it, shrink what fails.

Cells and dtypes are judged one after the other. The first pass draws cases and evaluates all laws on each, sharing
outputs, reference and tolerance. A law that fails is then run alone, on smaller cases, and shrunk by Hypothesis.
"""

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from zlib import crc32

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import HypothesisException

from bpttcheck.case_file import CaseFile
from bpttcheck.cases import Draw, draw_around, draw_case, near_kink, realise, smaller_draws
from bpttcheck.contract import Implementation
from bpttcheck.laws import Law
from bpttcheck.laws.law import Asked
from bpttcheck.oracle import reference_is_confirmed
from bpttcheck.trial import AdapterError, Comparison, Refused, Trial, Violation

Status: TypeAlias = Literal["passed", "failed", "skipped", "vacuous", "error", "unsure", "unfinished", "known"]
BAD: tuple[Status, ...] = ("error", "failed", "unsure")
_TRIES = 100  # smaller cases that are tried before the one that failed is shown as it is


@dataclass
class Result:
    """What became of one law on one cell of a subject in one dtype, by their names and ids.

    status: "passed", "failed", "skipped" (not asked), "vacuous" (no case could prove anything), "error" (the subject
    raised), "unsure" (the reference is in doubt), "unfinished" (the time was up) or "known" (failed as was known).
    seed: of the run. examples: cases in which the law compared something; vacuous: cases that proved nothing. dead:
    arrays that were looked at and in no case above the tolerance. warnings: what the subject warned of. margin: the
    largest error over tolerance. seconds: that it took. reason: the sentence behind a status. case: the smallest that
    fails. worst: the comparison behind the margin.
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
    worst: Comparison | None = field(default=None, repr=False)

    @property
    def heading(self) -> str:
        """What its case is: errors and known failures are shown on the case that was drawn."""
        return "smallest case found" if self.status in ("failed", "unsure") else "case"


@dataclass(frozen=True)
class Finding:
    """One law on one case: the worst comparison, or the sentence of a violation, or neither if it proved nothing,
    perhaps since the subject refused the case. alive: for each array compared, whether a wrong number would show."""

    worst: Comparison | None = None
    violation: str = ""
    refused: str = ""
    alive: Mapping[str, bool] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return bool(self.violation) or (self.worst is not None and self.worst.margin > 1)

    @property
    def proves(self) -> bool:
        """Whether the law could have failed."""
        return self.failed or any(self.alive.values())

    def sentence(self) -> str:
        if self.violation or self.worst is None:
            return self.violation
        allowed = "nothing" if self.worst.exact else f"{self.worst.tolerance:.3g}"
        return f"{self.worst.block} is off by {self.worst.error:.3g}, where {allowed} is allowed"


@dataclass(frozen=True)
class Own:
    """What a user brings: sizes of their own, a case of their own, an implementation that is right."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    case: CaseFile | None = None
    against: Implementation | None = None

    def __str__(self) -> str:
        """As it goes on after "40 examples"; empty if there is nothing."""
        said = [f", {name}={size}" for name, size in self.sizes.items()]
        said += [f", case {self.case.path}"] if self.case else []
        return "".join(said) + (f", against {self.against.name}" if self.against else "")


NOTHING = Own()


class _Broken(Exception):
    """Tells Hypothesis that a law failed."""


def evaluate(law: Law, trial: Trial) -> Finding:
    """Put one law to one trial. Raises AdapterError if the subject does."""
    if any(trial.case.sizes.get(name, least) < least for name, least in law.smallest.items()):
        return Finding()
    trial.drawing_for(law.id)
    try:
        with np.errstate(all="ignore"):
            if not law.decisive and not trial.determined:
                return Finding()
            comparisons = list(law.check(trial))
    except Violation as violation:
        return Finding(violation=str(violation))
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, AssertionError) as error:
        said = f"{type(error).__name__}: {error}"
        return Finding(violation=f"what the subject returned does not fit together: {said}")
    except Refused as refusal:
        return Finding(refused=str(refusal))
    alive: dict[str, bool] = {}
    for comparison in comparisons:
        array = re.sub(r"^(layer\d+\.)?(reverse\.)?|\[t=.*", "", comparison.block)  # one of all layers and directions
        alive[array] = alive.get(array, False) or comparison.alive
    return Finding(max(comparisons, key=lambda c: c.margin, default=None), alive=alive)


def judge(
    subject: Implementation,
    laws: Sequence[Law],
    *,
    cells: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    examples: int = 100,
    seconds: float = math.inf,
    seed: int = 0,
    shrink: bool = True,
    as_drawn: Collection[str] = (),
    own: Own = NOTHING,
    progress: Callable[[Result], None] = lambda result: None,
) -> Iterator[Result]:
    """Judge a subject by laws: yields a `Result` per cell, dtype and law, skipped ones included.

    cells, dtypes: restrict what the subject declares, by name. examples: cases drawn for a cell and dtype. seconds: for
    drawing them; there is one at least. seed: other cases for another one. Laws to which none could prove anything by
    then are "unfinished". shrink: whether to look for the smallest case of each failure, but for those of the laws
    ``as_drawn``, by id. own: what the user asks for instead of what is drawn and known here. progress: called with a
    result each time it has changed. Raises ValueError where the sizes of ``own`` are not declared.
    """
    capabilities = subject.capabilities()
    drawing = capabilities.at(own.sizes)
    for cell in capabilities.cells:
        for dtype in capabilities.dtypes:
            if (not cells or cell.name in cells) and (not dtypes or dtype in dtypes):
                run = _Run(
                    Asked(subject, capabilities, cell, dtype, drawing, own.against), laws, seed, progress, own.case
                )
                run.draw_cases(examples, time.monotonic() + seconds)
                yield from run.verdict([] if shrink else None, as_drawn)


class _Run:
    """All laws on one cell in one dtype: cases are drawn, and each is put to the laws whose turn it is."""

    def __init__(
        self,
        asked: Asked,
        laws: Sequence[Law],
        seed: int,
        progress: Callable[[Result], None],
        case: CaseFile | None,
    ) -> None:
        self._asked = asked
        self._case = case
        self._seed = seed
        self._progress = progress
        self._results = {law.id: Result(asked.subject.name, asked.cell.name, asked.dtype, law.id, seed) for law in laws}
        self._running: list[Law] = []
        self._alive: dict[str, dict[str, bool]] = {}
        self._out_of_time = False
        for law in laws:
            if reason := law.unmet(asked):
                self._results[law.id].status, self._results[law.id].reason = "skipped", reason
            else:
                self._running.append(law)

    def draw_cases(self, examples: int, deadline: float) -> None:
        seed = [self._seed, crc32(f"{self._asked.cell.name} {self._asked.dtype}".encode())]
        families: dict[str, list[Law]] = {}
        for law in self._running:
            families.setdefault(law.id if law.every_case else law.family or law.id, []).append(law)
        turns = {name: np.random.default_rng([*seed, crc32(name.encode())]) for name in families}
        held = None if self._case is None else self._case.holds(*self._asked.place)
        for k in range(examples):
            if all(self._settled(law) for law in self._running):
                break
            if k and time.monotonic() > deadline:
                self._out_of_time = True
                break
            rng_of_case = np.random.default_rng([*seed, k])
            if self._case is None or held is None:
                draw = draw_case(rng_of_case, self._asked.drawing, k)
            else:
                draw = draw_around(rng_of_case, self._case, held)
            trial = _trial(self._asked, draw)
            if trial is None:
                continue
            for name, family in families.items():
                if self._put_to_one(family, trial, draw, turns[name]):
                    break

    def _put_to_one(self, family: Sequence[Law], trial: Trial, draw: Draw, rng: np.random.Generator) -> bool:
        """Put a case to the law of a family that has waited longest and to which it proves something.

        Whether that is the end of it, since a decisive law was broken.
        """
        waiting = [(law.cost * self._results[law.id].examples, rng.random(), law) for law in family]
        for _, _, law in sorted(waiting, key=lambda entry: entry[:2]):
            result = self._results[law.id]
            settled = self._settled(law)
            if settled and not law.decisive:
                continue
            started = time.perf_counter()
            try:
                finding = evaluate(law, trial)
                if not settled:
                    self._record(result, finding, draw)
            except AdapterError as error:
                finding = Finding(violation=str(error))
                if not settled:
                    result.status, result.reason, result.case = "error", str(error), draw
                    result.margin, result.worst = 0.0, None
            result.seconds += time.perf_counter() - started
            result.warnings = tuple(sorted({*result.warnings, *trial.warnings}))
            trial.warnings.clear()
            self._progress(result)
            if finding.proves:
                return law.decisive and finding.failed
        return False

    def _settled(self, law: Law) -> bool:
        """Whether more cases would change nothing."""
        return self._results[law.id].status in ("failed", "error")

    def _record(self, result: Result, finding: Finding, draw: Draw) -> None:
        if not finding.proves:
            result.vacuous += 1
            if not result.examples:
                said = f"the subject declares that it takes no such case: {finding.refused}"
                result.reason = said if finding.refused else ""
            return
        result.examples += 1
        result.reason = ""
        alive = self._alive.setdefault(result.law, {})
        for array, above in finding.alive.items():
            alive[array] = alive.get(array, False) or above
        if finding.worst is not None and finding.worst.margin >= result.margin:
            result.margin, result.worst = finding.worst.margin, finding.worst
        if finding.failed:
            result.status, result.reason, result.case = "failed", finding.sentence(), draw

    def verdict(self, smallest: list[Draw] | None, as_drawn: Collection[str]) -> Iterator[Result]:
        """Settle all results. smallest: the cases to which failures have been shrunk so far; None: do not shrink."""
        broken = [law.id for law in self._running if law.decisive and self._results[law.id].case is not None]
        for law in self._running:
            result = self._results[law.id]
            result.dead = tuple(array for array, above in self._alive.get(law.id, {}).items() if not above)
            if result.status == "failed":
                if smallest is not None and law.id not in as_drawn:
                    self._shrink(result, law, smallest)
                self._confirm(result)
            elif result.status != "error" and (result.examples or not self._out_of_time):
                _close(result, broken)
            elif result.status != "error":
                result.reason = "the time was up before a case could prove anything; --budget gives more"
            self._progress(result)
        yield from self._results.values()

    def _confirm(self, result: Result) -> None:
        """Try the reference at the failing case before the subject is accused."""
        assert result.case is not None
        if self._asked.against is None and not reference_is_confirmed(*realise(result.case, *self._asked.place)):
            result.status = "unsure"
            result.reason = f"the oracles contradict our reference at this case, please report it: {result.reason}"

    def _shrink(self, result: Result, law: Law, smallest: list[Draw]) -> None:
        """Make the failing case small: one that is small already, or what Hypothesis finds."""
        assert result.case is not None

        def put_one(draw: Draw) -> None:
            trial = _trial(self._asked, draw)
            finding = evaluate(law, trial) if trial else Finding()
            if finding.failed:
                result.reason, result.case, result.worst = finding.sentence(), draw, finding.worst
                result.margin = finding.worst.margin if finding.worst else result.margin
                raise _Broken

        with suppress(AdapterError, HypothesisException):
            try:
                for draw in smallest:
                    put_one(draw)
                configured = settings(
                    max_examples=_TRIES,
                    phases=(Phase.generate, Phase.shrink),
                    database=None,
                    deadline=None,
                    print_blob=False,
                    report_multiple_bugs=False,
                    suppress_health_check=list(HealthCheck),
                )
                test = configured(given(smaller_draws(result.case, self._asked.drawing))(put_one))
                hypothesis.seed(result.seed)(test)()
            except _Broken:  # the smallest case is in the result, also if the subject is moody
                if result.case not in smallest:
                    smallest.append(result.case)


def _close(result: Result, broken: Sequence[str]) -> None:
    """Settle a law that did not fail; ``broken`` are the decisive laws that did."""
    if result.examples:
        result.status = "passed"
    elif broken:
        result.reason = f"not asked, since {broken[0]} was broken in every case"
    else:
        result.status = "vacuous"
        result.reason = result.reason or "no case that was drawn could prove anything"


def _trial(asked: Asked, draw: Draw) -> Trial | None:
    """The trial of a draw; None if a pre-activation is so near to a kink that rounding decides about its side."""
    case, cotangents = realise(draw, *asked.place)
    return None if near_kink(case) else Trial(asked.subject, asked.capabilities, case, cotangents, asked.against)


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
