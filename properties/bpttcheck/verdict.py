"""The engine: draw a case once, put every applicable law to it, shrink what fails.

Cells and dtypes are judged one after the other. The first pass draws cases and evaluates all laws on each, sharing
outputs, reference and tolerance. A law that fails is then run alone, on smaller cases, and shrunk by Hypothesis.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from zlib import crc32

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import HypothesisException

from bpttcheck.cases import Draw, draw_case, near_kink, realise, smaller_draws
from bpttcheck.contract import Capabilities, CustomCell, Implementation
from bpttcheck.laws import Law
from bpttcheck.oracle import reference_is_confirmed
from bpttcheck.trial import AdapterError, Comparison, Refused, Trial, Violation, largest
from bpttref import Cell

Status: TypeAlias = Literal["passed", "failed", "skipped", "vacuous", "error", "unsure", "unfinished"]
_TRIES = 100  # smaller cases that are tried before the one that failed is shown as it is


@dataclass
class Result:
    """What became of one law on one cell in one dtype."""

    subject: str
    cell: str
    dtype: str
    law: str
    seed: int
    status: Status = "unfinished"
    examples: int = 0  # cases in which the law compared something
    vacuous: int = 0  # cases that proved nothing
    margin: float = 0.0  # the largest error over tolerance
    seconds: float = 0.0
    reason: str = ""
    case: Draw | None = None
    worst: Comparison | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Finding:
    """One law on one case: the worst comparison, or the sentence of a violation, or neither if it proved nothing,
    perhaps since the subject refused the case."""

    worst: Comparison | None = None
    violation: str = ""
    refused: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.violation) or (self.worst is not None and self.worst.margin > 1)

    def sentence(self) -> str:
        if self.violation or self.worst is None:
            return self.violation
        return f"{self.worst.block} is off by {self.worst.error:.3g}, where {self.worst.tolerance:.3g} is allowed"


class _Broken(Exception):
    """Tells Hypothesis that a law failed."""


def evaluate(law: Law, trial: Trial) -> Finding:
    """Put one law to one trial."""
    if any(trial.case.sizes.get(name, least) < least for name, least in law.smallest.items()):
        return Finding()
    try:
        return Finding(largest(law.check(trial)))
    except Violation as violation:
        return Finding(violation=str(violation))
    except (ValueError, IndexError, KeyError, TypeError) as error:
        return Finding(violation=f"what the subject returned does not fit together: {error}")
    except Refused as refusal:
        return Finding(refused=str(refusal))


def judge(
    subject: Implementation,
    laws: Sequence[Law],
    *,
    cells: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    examples: int = 100,
    seed: int = 0,
    progress: Callable[[Result], None] = lambda result: None,
) -> Iterator[Result]:
    """Judge a subject: yields a result per cell, dtype and law, skipped ones included.

    cells, dtypes: restrict what the subject declares. progress: called with a result each time it has changed.
    """
    capabilities = subject.capabilities()
    for cell in capabilities.cells:
        for dtype in capabilities.dtypes:
            if (not cells or cell.name in cells) and (not dtypes or dtype in dtypes):
                yield from _judge_cell(subject, capabilities, cell, dtype, laws, examples, seed, progress)


def _judge_cell(
    subject: Implementation,
    capabilities: Capabilities,
    cell: Cell | CustomCell,
    dtype: str,
    laws: Sequence[Law],
    examples: int,
    seed: int,
    progress: Callable[[Result], None],
) -> Iterator[Result]:
    results = {law.id: Result(subject.name, cell.name, dtype, law.id, seed) for law in laws}
    running: list[Law] = []
    for law in laws:
        if reason := law.unmet(subject, capabilities, cell):
            results[law.id].status, results[law.id].reason = "skipped", reason
        else:
            running.append(law)

    def put_all(draw: Draw) -> None:
        trial = _trial(subject, capabilities, cell, dtype, draw)
        if trial is None:
            return
        for law in running:
            result = results[law.id]
            settled = result.status in ("failed", "error")
            if settled and not law.decisive:
                continue
            started = time.perf_counter()
            broken = True
            try:
                finding = evaluate(law, trial)
                broken = finding.failed
                if not settled:
                    _record(result, finding, draw)
            except AdapterError as error:
                if not settled:
                    result.status, result.reason, result.case = "error", str(error), draw
            result.seconds += time.perf_counter() - started
            progress(result)
            if law.decisive and broken:
                return

    for k in range(examples):
        rng = np.random.default_rng([seed, k, crc32(f"{cell.name} {dtype}".encode())])
        put_all(draw_case(rng, capabilities, k))
    for law in running:
        result = results[law.id]
        if result.status == "failed":
            _shrink(result, law, subject, capabilities, cell, dtype)
            assert result.case is not None
            if not reference_is_confirmed(*realise(result.case, cell, dtype, capabilities)):
                result.status = "unsure"
                result.reason = f"the oracles contradict our reference at this case, please report it: {result.reason}"
        elif result.status != "error":
            _close(result, [other.id for other in running if other.decisive and results[other.id].case is not None])
        progress(result)
    yield from results.values()


def _close(result: Result, broken: Sequence[str]) -> None:
    """Settle a law that did not fail; ``broken`` are the decisive laws that did."""
    if result.examples:
        result.status = "passed"
    elif broken:
        result.reason = f"not asked, since {broken[0]} was broken in every case"
    else:
        result.status = "vacuous"
        result.reason = result.reason or "no case that was drawn could prove anything"


def _trial(
    subject: Implementation, capabilities: Capabilities, cell: Cell | CustomCell, dtype: str, draw: Draw
) -> Trial | None:
    """The trial of a draw; None if a pre-activation is so near to a kink that rounding decides about its side."""
    case, cotangents = realise(draw, cell, dtype, capabilities)
    return None if near_kink(case) else Trial(subject, capabilities, case, cotangents)


def _record(result: Result, finding: Finding, draw: Draw) -> None:
    if finding.worst is None and not finding.violation:
        result.vacuous += 1
        result.reason = finding.refused and f"the subject declares that it takes no such case: {finding.refused}"
        return
    result.examples += 1
    result.reason = ""
    if finding.worst is not None and finding.worst.margin >= result.margin:
        result.margin, result.worst = finding.worst.margin, finding.worst
    if finding.failed:
        result.status, result.reason, result.case = "failed", finding.sentence(), draw


def _shrink(
    result: Result,
    law: Law,
    subject: Implementation,
    capabilities: Capabilities,
    cell: Cell | CustomCell,
    dtype: str,
) -> None:
    """Let Hypothesis find a failing case among those that are smaller than the one found, and make it small."""

    def put_one(draw: Draw) -> None:
        trial = _trial(subject, capabilities, cell, dtype, draw)
        finding = evaluate(law, trial) if trial else Finding()
        if finding.failed:
            result.reason, result.case, result.worst = finding.sentence(), draw, finding.worst
            raise _Broken

    assert result.case is not None
    configured = settings(
        max_examples=_TRIES,
        phases=(Phase.generate, Phase.shrink),
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    test = configured(given(smaller_draws(result.case, capabilities))(put_one))
    with suppress(_Broken, AdapterError, HypothesisException):
        hypothesis.seed(result.seed)(test)()  # the smallest case is in the result, also if the subject is moody


def summary(results: Sequence[Result]) -> str:
    """One closing sentence over all results."""
    count = Counter(result.status for result in results)
    ran = len(results) - count["skipped"] - count["unfinished"]
    parts = [f"ran {ran} of {len(results)} laws by cell and dtype", f"{count['passed']} passed"]
    parts += [f"{count[s]} {s}" for s in ("failed", "unsure", "error", "vacuous", "skipped", "unfinished") if count[s]]
    return ", ".join(parts) + "."
