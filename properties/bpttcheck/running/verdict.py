"""The engine: draw a case once, run every law that applies on it, and settle the result of each.

Cells and dtypes are tested one after the other. The first pass draws cases and evaluates all laws on each, sharing
outputs, reference and tolerance. A law that fails then runs on its own, on smaller cases
(`bpttcheck.running.shrinking`).
"""

import itertools
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache, partial
from zlib import crc32

import numpy as np

from bpttcheck.cases.case_file import CaseFile
from bpttcheck.cases.drawing import USUALLY, Draw, draw_around, draw_case
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
from bpttcheck.running.own import NOTHING, Own
from bpttcheck.running.precision import precisions
from bpttcheck.running.results import BAD, Lost, Result, Tried
from bpttcheck.running.time_limit import USUAL, TimeLimit

_EARLY = 4  # cases; until then a law waits for its turn
_BETWEEN = 64  # cases, after which Hypothesis searches on
_OF_ALL = 2  # times the scale of one perturbed run is about the largest of eight
_DEATHS, _HANGS = 5, 2  # after which a cell and dtype is given up
_DECLINED = "the implementation declares that it takes no such case: "


def judge(
    subject: Implementation,
    laws: Sequence[Law],
    *,
    cells: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    examples: int | None = 100,
    seconds: float = math.inf,
    seed: int = 0,
    shrink: bool = True,
    as_drawn: Collection[str] = (),
    own: Own = NOTHING,
    lost: Sequence[Lost] = (),
    progress: Callable[[Result], None] = lambda result: None,
) -> Iterator[Result]:
    """Run laws on an implementation, and yield a result for each cell, dtype and law.

    Parameters
    ----------
    subject : Implementation
        What is tested.
    laws : sequence of Law
        Such as `LAWS`.
    cells, dtypes : sequence of str
        Only these of the ones that the implementation has, by name; all if empty.
    examples : int or None
        Cases for each cell and dtype; None: as many as the time allows, larger and larger, until a law fails.
    seconds : float
        For all cases, at least one, and for the smallest case of each failure, a minute at most. After this time the
        laws that proved nothing are "unfinished".
    seed : int
        Another seed gives other cases.
    shrink : bool
        Whether to look for the smallest case of each failure.
    as_drawn : collection of str
        Ids of laws whose failures are not made smaller.
    own : Own
        Your own sizes, case, or implementation with the correct numbers, in place of what bpttcheck generates and
        knows.
    lost : sequence of Lost
        What the process of the implementation died of before: an error of the law that ran, and no law runs on that
        case.
    progress : callable
        Called with each result that has changed.

    Yields
    ------
    Result
        One for each cell, dtype and law, including skipped laws.

    Raises
    ------
    ValueError
        If the implementation does not support the sizes of ``own``.

    Examples
    --------
    >>> from bpttcheck import LAWS, judge
    >>> from bpttcheck.adapters.reference import Reference
    >>> laws = [law for law in LAWS if law.id == "causality"]
    >>> for result in judge(Reference(), laws, cells=["lstm"], examples=5):
    ...     print(result.dtype, result.status)
    float32 passed
    float64 passed
    """
    capabilities = capabilities_of(subject)
    for cell, dtype in itertools.product(capabilities.cells, capabilities.dtypes):
        if (cells and cell.name not in cells) or (dtypes and dtype not in dtypes):
            continue
        limit = TimeLimit(seconds)
        for tried in precisions(capabilities, cell, dtype):
            last = tried is capabilities
            asked = Asked(subject, tried, cell, dtype, tried.at(own.sizes), own.against)
            verdict = _Verdict(asked, laws, seed, progress, own.case, lost)
            verdict.draw_cases(examples, limit, as_drawn, attempt=not last)
            results = verdict.settled([] if shrink and last else None, as_drawn, limit)
            if last or not any(result.status in BAD for result in results):
                yield from results
                break


class _Verdict:
    """All laws on one cell in one dtype: it draws cases, and runs on each the laws whose turn it is."""

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
        new = partial(Result, *place, seed=seed, inside=asked.capabilities.inside.get(asked.dtype, ""))
        self._results = {law.id: new(law.id, left_out=law.left_out(asked.cell)) for law in laws}
        self._running: list[Law] = []
        self._alive: dict[str, dict[str, bool]] = {}
        self._samples: dict[str, list[Sequence[Comparison]]] = {}
        self._out_of_time = False
        self._lost = lost
        self._given_up = len(lost) >= _DEATHS or sum(one.hung for one in lost) >= _HANGS
        self._stopped = False  # before all cases were drawn, because it was given up
        self._margin = 0.0  # the largest of a case
        self._tried = Tried()
        self._sees: dict[str, dict[str, float]] = {}  # the least of all cases
        self._families: dict[str, list[Law]] = {}
        for law in laws:
            if reason := law.unmet(asked):
                self._results[law.id].status, self._results[law.id].reason = "skipped", reason
            else:
                self._running.append(law)
                self._families.setdefault(law.id if law.every_case else law.family or law.id, []).append(law)
        self._of_place = seed, crc32(f"{asked.cell.name} {asked.dtype}".encode())
        self._turns = {n: np.random.default_rng([*self._of_place, crc32(n.encode())]) for n in self._families}

    def draw_cases(
        self, examples: int | None, limit: TimeLimit, as_drawn: Collection[str], attempt: bool = False
    ) -> None:
        """Run the laws on a number of cases; without a number until the time is up, or a law outside of ``as_drawn``
        fails. attempt: whether a law that fails ends it."""
        held = None if self._case is None else self._case.holds(*self._asked.place)
        for k in itertools.count() if examples is None else range(examples):
            if self._stopped or (any if attempt else all)(self._settled(law) for law in self._running):
                break
            if k and not limit.left:
                self._out_of_time = examples is not None or k < USUALLY
                break
            if examples is None and k >= USUALLY:
                if any(self._settled(law) and law.id not in as_drawn for law in self._running):
                    break
                if k % _BETWEEN == 0 and held is None:
                    from bpttcheck.running.searching import search  # by Hypothesis, which takes long to import

                    search(self._run_on, self._asked.drawing, k, limit)
            rng_of_case = np.random.default_rng([*self._of_place, k])
            if self._case is None or held is None:
                draw = draw_case(rng_of_case, self._asked.drawing, k, self._seed, escalating=examples is None)
            else:
                draw = draw_around(rng_of_case, self._case, held)
            self._run_on(draw, late=k >= max(_EARLY, (examples or USUALLY) // 2))

    def _run_on(self, draw: Draw, late: bool = True) -> float:
        """Run on one case a law of each family; the largest error over tolerance."""
        self._tried.add(draw)
        if any(draw == one.draw for one in self._lost):
            self._note_lost(draw)
            self._stopped = self._given_up and draw == self._lost[-1].draw
            return 0.0
        trial = trial_of(self._asked, draw)
        self._margin = 0.0
        for name, family in self._families.items():
            if trial is None or self._put_to_family(family, trial, draw, self._turns[name], late):
                break
        return self._margin

    def _note_lost(self, draw: Draw) -> None:
        """The process of the implementation died of a draw: it counts as an error of the law that ran."""
        for one in self._lost:
            result = self._results[one.law]
            if one.draw == draw and result.status not in ("failed", "error"):
                result.status, result.reason, result.case, result.died = "error", one.said, draw, True

    def _put_to_family(
        self, family: Sequence[Law], trial: Trial, draw: Draw, rng: np.random.Generator, late: bool
    ) -> bool:
        """Run the law of a family that has waited longest on a case, then the next ones until one proves something;
        late in the run also all laws that have proved nothing yet. Returns whether a decisive law was broken, which
        ends the run.
        """
        waiting = [(law.cost * self._results[law.id].examples, rng.random(), law) for law in family]
        proved = False
        for _, _, law in sorted(waiting, key=lambda entry: entry[:2]):
            result = self._results[law.id]
            settled = self._settled(law)
            if (settled and not law.decisive) or (proved and (result.examples or not late)):
                continue
            started = time.perf_counter()
            judging(law.id, draw)
            try:
                finding = evaluate(law, trial)
                if not settled:
                    self._record(law, result, finding, draw)
            except AdapterError as error:
                finding = Finding(violation=str(error))
                if not settled:
                    result.status, result.reason, result.case = "error", str(error), draw
                    result.margin, result.worst = 0.0, None
            result.seconds += time.perf_counter() - started
            result.warnings = tuple(sorted({*result.warnings, *trial.calls.warnings}))
            trial.calls.warnings.clear()
            self._progress(result)
            if finding.worst is not None and not finding.worst.exact:
                self._margin = max(self._margin, finding.worst.margin)
            if finding.failed and law.decisive:
                return True
            proved |= finding.proves
        return False

    def _look_over_cases(self, result: Result, over_cases: Callable[..., Iterable[Comparison]]) -> None:
        """Run a law that compares all cases at once."""
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

    def _record(self, law: Law, result: Result, finding: Finding, draw: Draw) -> None:
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
        if law.direct and (self._case is not None or self._asked.drawing.sizes != self._asked.capabilities.sizes):
            least = self._sees.setdefault(law.id, dict(finding.sees))
            least.update({array: min(seen, least.get(array, seen)) for array, seen in finding.sees.items()})
        alive = self._alive.setdefault(result.law, {})
        for array, above in finding.alive.items():
            alive[array] = alive.get(array, False) or above
        if finding.worst is not None and finding.worst.margin >= result.margin:
            result.margin, result.worst = finding.worst.margin, finding.worst
        if finding.failed:
            result.status, result.reason, result.case = "failed", finding.sentence(), draw

    def settled(self, smallest: list[Draw] | None, as_drawn: Collection[str], limit: TimeLimit) -> list[Result]:
        """All results, settled. smallest: the cases to which failures have been shrunk so far; None: do not shrink."""
        broken = [law.id for law in self._running if law.decisive and self._results[law.id].case is not None]
        stands = cache(partial(_reference_stands, self._asked))  # many laws fail at the same case
        for law in self._running:
            result = self._results[law.id]
            result.drawn, result.tried = self._tried.cases, self._tried
            if seen := self._sees.get(law.id):
                result.sees = ", ".join(f"{_OF_ALL * least:.1g} in {array}" for array, least in sorted(seen.items()))
            if law.over_cases is not None:
                self._look_over_cases(result, law.over_cases)
            result.dead = tuple(array for array, above in self._alive.get(law.id, {}).items() if not above)
            fatal = {one.draw: one.said for one in self._lost if one.law == law.id and one.draw is not None}
            if not (result.died or self._given_up or law.id in as_drawn or smallest is None or result.case is None):
                from bpttcheck.running.shrinking import shrink  # by Hypothesis, too

                shrink(result, law, self._asked, smallest, TimeLimit(min(USUAL, limit.left)), fatal)
            if fatal and not result.died:  # it died of a smaller case than the failing one
                result.died = True
                said = {f"{said} (case: {draw})" for draw, said in fatal.items()}
                result.warnings = tuple(sorted({*result.warnings, *said}))
            if self._stopped and not self._settled(law):
                result.status = "error"
                result.reason = f"not tested to the end: {len(self._lost)} cases ended its process"
            if result.status == "failed" and result.case is not None:
                _confirm(result, stands)
            elif result.status not in ("failed", "error") and (result.examples or not self._out_of_time):
                _close(result, law, broken)
            elif result.status not in ("failed", "error"):
                result.reason = "the time was up before a case could prove anything; --budget gives more"
            self._progress(result)
        return [*self._results.values()]


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
        result.reason = f"not run, because {broken[0]} was broken in every case"
    elif law.voluntary and result.reason:
        result.status, result.reason = "skipped", result.reason.removeprefix(_DECLINED)
    else:
        result.status = "vacuous"
        result.reason = result.reason or "no case that was drawn could prove anything"
