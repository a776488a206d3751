"""The engine: draw a case once, run every law that applies on it, and settle what became of each.

Cells and dtypes are judged one after the other. The first pass draws cases and evaluates all laws on each, sharing
outputs, reference and tolerance. A law that fails is then run alone, on smaller cases (`bpttcheck.running.shrinking`).
"""

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from zlib import crc32

import numpy as np

from bpttcheck.cases.case_file import CaseFile
from bpttcheck.cases.drawing import Draw, draw_around, draw_case
from bpttcheck.cases.realising import realise
from bpttcheck.contract import Implementation
from bpttcheck.laws import Law
from bpttcheck.laws.law import Asked
from bpttcheck.measuring.calls import AdapterError, capabilities_of
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.doing import judging
from bpttcheck.measuring.trial import Trial
from bpttcheck.running.evaluating import Finding, evaluate, found_in, trial_of
from bpttcheck.running.oracle import reference_is_confirmed
from bpttcheck.running.results import Lost, Result
from bpttcheck.running.time_limit import USUAL, TimeLimit


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
_DEATHS, _HANGS = 5, 2  # after which a subject is not asked any more in a cell and dtype
_DECLINED = "the subject declares that it takes no such case: "


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
    lost: Sequence[Lost] = (),
    progress: Callable[[Result], None] = lambda result: None,
) -> Iterator[Result]:
    """Judge a subject by laws: yields a `Result` per cell, dtype and law, skipped ones included.

    cells, dtypes: restrict what the subject declares, by name. examples: cases drawn for a cell and dtype. seconds: for
    drawing them, of which there is one at least, and for making failures small, of which each has a minute at most.
    seed: other cases for another one. Laws to which none could prove anything by then are "unfinished". shrink: whether
    to look for the smallest case of each failure, but for those of the laws ``as_drawn``, by id. own: what the user
    asks for instead of what is drawn and known here. lost: what the process of the subject died of when this was asked
    before: it is an error of the law that put the case, which is put to no law again. progress: called with a result
    each time it has changed. Raises ValueError where the sizes of ``own`` are not declared.
    """
    capabilities = capabilities_of(subject)
    drawing = capabilities.at(own.sizes)
    for cell in capabilities.cells:
        for dtype in capabilities.dtypes:
            if (not cells or cell.name in cells) and (not dtypes or dtype in dtypes):
                verdict = _Verdict(
                    Asked(subject, capabilities, cell, dtype, drawing, own.against),
                    laws,
                    seed,
                    progress,
                    own.case,
                    lost,
                )
                limit = TimeLimit(seconds)
                verdict.draw_cases(examples, limit)
                yield from verdict.settled([] if shrink else None, as_drawn, limit)


class _Verdict:
    """All laws on one cell in one dtype: cases are drawn, and each is put to the laws whose turn it is."""

    def __init__(
        self,
        asked: Asked,
        laws: Sequence[Law],
        seed: int,
        progress: Callable[[Result], None],
        case: CaseFile | None,
        lost: Sequence[Lost],
    ) -> None:
        self._asked = asked
        self._case = case
        self._seed = seed
        self._progress = progress
        place = (asked.subject.name, asked.cell.name, asked.dtype)
        self._results = {law.id: Result(*place, law.id, seed, left_out=law.left_out(asked.cell)) for law in laws}
        self._running: list[Law] = []
        self._alive: dict[str, dict[str, bool]] = {}
        self._samples: dict[str, list[Sequence[Comparison]]] = {}
        self._out_of_time = False
        self._lost = lost
        self._given_up = len(lost) >= _DEATHS or sum(one.hung for one in lost) >= _HANGS
        self._stopped = False  # before all cases were drawn, since it was given up
        for law in laws:
            if reason := law.unmet(asked):
                self._results[law.id].status, self._results[law.id].reason = "skipped", reason
            else:
                self._running.append(law)

    def draw_cases(self, examples: int, limit: TimeLimit) -> None:
        seed = [self._seed, crc32(f"{self._asked.cell.name} {self._asked.dtype}".encode())]
        families: dict[str, list[Law]] = {}
        for law in self._running:
            families.setdefault(law.id if law.every_case else law.family or law.id, []).append(law)
        turns = {name: np.random.default_rng([*seed, crc32(name.encode())]) for name in families}
        held = None if self._case is None else self._case.holds(*self._asked.place)
        drawn = 0
        for k in range(examples):
            if all(self._settled(law) for law in self._running):
                break
            if k and not limit.left:
                self._out_of_time = True
                break
            drawn = k + 1
            rng_of_case = np.random.default_rng([*seed, k])
            if self._case is None or held is None:
                draw = draw_case(rng_of_case, self._asked.drawing, k)
            else:
                draw = draw_around(rng_of_case, self._case, held)
            if any(draw == one.draw for one in self._lost):
                self._note_lost(draw)
                if self._given_up and draw == self._lost[-1].draw:
                    self._stopped = True
                    break
                continue
            trial = trial_of(self._asked, draw)
            if trial is None:
                continue
            for name, family in families.items():
                if self._put_to_one(family, trial, draw, turns[name]):
                    break
        for law in self._running:
            self._results[law.id].drawn = drawn

    def _note_lost(self, draw: Draw) -> None:
        """The process of the subject died of a draw: an error of the law that put it."""
        for one in self._lost:
            result = self._results[one.law]
            if one.draw == draw and result.status not in ("failed", "error"):
                result.status, result.reason, result.case, result.died = "error", one.said, draw, True

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
            judging(law.id, draw)
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
            result.warnings = tuple(sorted({*result.warnings, *trial.calls.warnings}))
            trial.calls.warnings.clear()
            self._progress(result)
            if finding.proves:
                return law.decisive and finding.failed
        return False

    def _look_over_cases(self, result: Result, over_cases: Callable[..., Iterable[Comparison]]) -> None:
        """Let a law look at all cases at once."""
        samples = self._samples.get(result.law, [])
        comparisons = list(over_cases(samples, self._asked.dtype))
        finding = found_in(comparisons)
        if finding.worst is None:
            return
        result.examples, result.margin, result.worst = len(samples), finding.worst.margin, finding.worst
        coarsest = max(comparisons, key=lambda c: c.tolerance)
        result.sees = f"{coarsest.tolerance:.2g} in {coarsest.block}"
        if finding.failed:
            result.status, result.reason = "failed", finding.sentence()

    def _settled(self, law: Law) -> bool:
        """Whether more cases would change nothing."""
        return self._results[law.id].status in ("failed", "error")

    def _record(self, result: Result, finding: Finding, draw: Draw) -> None:
        if finding.sample:
            self._samples.setdefault(result.law, []).append(finding.sample)
            return
        if not finding.proves:
            result.vacuous += 1
            if not result.examples:
                result.reason = f"{_DECLINED}{finding.refused}" if finding.refused else ""
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

    def settled(self, smallest: list[Draw] | None, as_drawn: Collection[str], limit: TimeLimit) -> Iterator[Result]:
        """Settle all results. smallest: the cases to which failures have been shrunk so far; None: do not shrink."""
        broken = [law.id for law in self._running if law.decisive and self._results[law.id].case is not None]
        stands = cache(partial(_reference_stands, self._asked))  # many laws fail at the same case
        for law in self._running:
            result = self._results[law.id]
            if law.over_cases is not None:
                self._look_over_cases(result, law.over_cases)
            result.dead = tuple(array for array, above in self._alive.get(law.id, {}).items() if not above)
            fatal = {one.draw: one.said for one in self._lost if one.law == law.id and one.draw is not None}
            if not (result.died or self._given_up or law.id in as_drawn or smallest is None or result.case is None):
                from bpttcheck.running.shrinking import shrink  # by Hypothesis, which takes long to import

                shrink(result, law, self._asked, smallest, TimeLimit(min(USUAL, limit.left)), fatal)
            if fatal and not result.died:  # it died of a smaller case than that which failed
                result.died = True
                said = {f"{said} (case: {draw})" for draw, said in fatal.items()}
                result.warnings = tuple(sorted({*result.warnings, *said}))
            if self._stopped and not self._settled(law):
                result.status = "error"
                result.reason = f"not judged to the end: {len(self._lost)} cases ended its process"
            if result.status == "failed" and result.case is not None:
                _confirm(result, stands)
            elif result.status not in ("failed", "error") and (result.examples or not self._out_of_time):
                _close(result, law, broken)
            elif result.status not in ("failed", "error"):
                result.reason = "the time was up before a case could prove anything; --budget gives more"
            self._progress(result)
        yield from self._results.values()


def _reference_stands(asked: Asked, draw: Draw) -> bool:
    return asked.against is not None or reference_is_confirmed(*realise(draw, *asked.place))


def _confirm(result: Result, stands: Callable[[Draw], bool]) -> None:
    """Try the reference at the failing case: where the oracles contradict it, the result is "unsure"."""
    assert result.case is not None
    if not stands(result.case):
        result.status = "unsure"
        result.reason = f"the oracles contradict our reference at this case, please report it: {result.reason}"


def _close(result: Result, law: Law, broken: Sequence[str]) -> None:
    """Settle a law that did not fail; ``broken`` are the decisive laws that did."""
    if result.examples:
        result.status = "passed"
    elif broken:
        result.reason = f"not asked, since {broken[0]} was broken in every case"
    elif law.voluntary and result.reason:
        result.status, result.reason = "skipped", result.reason.removeprefix(_DECLINED)
    else:
        result.status = "vacuous"
        result.reason = result.reason or "no case that was drawn could prove anything"
