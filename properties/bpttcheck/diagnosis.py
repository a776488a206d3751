"""What is wrong: the name of a planted fault that gives the subject's numbers, or else where the error sits.

A battery of fresh problems, full and truncated, is put to the subject, to the reference and to the planted faults. A
fault is named only if it repeats the subject's numbers, right and wrong ones, within tolerance on every problem.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bpttcheck.blocks import Named
from bpttcheck.cases import draw_case, near_kink, realise
from bpttcheck.contract import CustomCell, Implementation, TwoPhase
from bpttcheck.faults import FAULTS, Fault, Faulty
from bpttcheck.laws.truncation import DRAWN
from bpttcheck.tolerance import Measured
from bpttcheck.trial import Refused, Trial, Violation
from bpttref import Cell, Full

_PROBLEMS = 6  # of each level


@dataclass(frozen=True)
class Diagnosis:
    """names: the planted faults that give exactly these numbers; several if nothing tells them apart.

    level: the simplest kind of problem on which the subject is wrong. wrong, right: the arrays, by gate, in which it
    differs from the reference there, and in which it does not.
    """

    names: tuple[str, ...]
    level: str
    wrong: tuple[str, ...]
    right: tuple[str, ...]

    def sentence(self) -> str:
        if not self.wrong:
            return "on fresh problems the numbers are right: look for what one call leaves behind for the next"
        where = f"With {self.level}, wrong: {', '.join(self.wrong)}; right: {', '.join(self.right) or 'nothing'}."
        if self.names:
            return f"the numbers are those of the planted fault {' or '.join(self.names)}. {where}"
        return f"no planted fault gives these numbers. {where}"


def diagnose(
    subject: Implementation, cell: Cell | CustomCell, dtype: str, faults: Sequence[Fault] = FAULTS
) -> Diagnosis | None:
    """Diagnose a subject that broke a law; None for unknown cells, which have no reference.

    Raises AdapterError if the subject cannot run the problems.
    """
    if isinstance(cell, CustomCell):
        return None
    where, wrong, right = "", set[str](), set[str]()
    deviating: list[tuple[Trial, Named]] = []
    agreeing: list[tuple[Trial, Named]] = []
    for level, trial in _battery(subject, cell, dtype):
        results = _results(trial)
        margins = _margins(trial, results, _true(trial))
        bad = {block for block, margin in margins.items() if margin > 1}
        (deviating if bad else agreeing).append((trial, results))
        if bad and level == (where := where or level):
            wrong |= bad
            right |= margins.keys() - bad
    door = "vjp" if isinstance(subject, TwoPhase) else "loss_and_gradients"
    candidates = [fault for fault in faults if fault.door == door and _has_gates(fault, cell) and deviating]
    names = [fault.id for fault in candidates if _gives(fault, deviating + agreeing)]
    return Diagnosis(tuple(names), where, tuple(sorted(wrong)), tuple(sorted(right - wrong)))


def _battery(subject: Implementation, cell: Cell, dtype: str) -> Iterator[tuple[str, Trial]]:
    """Fresh problems by level, the simplest first; the same for every subject of the same capabilities."""
    capabilities = subject.capabilities()
    plain = {"layers": 1, "bidirectional": False, "ragged": False, "weight_scale": 0.5}
    levels: list[tuple[str, dict[str, Any], Any]] = [
        ("one step", plain | {"T": 1}, None),
        ("several steps", plain, None),
        ("one row", plain | {"B": 1}, None),
        ("a stack", plain | {"layers": capabilities.layers}, None),
        ("two directions", plain | {"bidirectional": capabilities.bidirectional}, None),
        ("rows of different lengths", plain | {"ragged": "lengths" in capabilities.inputs}, None),
        (
            "two directions and rows of different lengths",
            plain | {"bidirectional": capabilities.bidirectional, "ragged": "lengths" in capabilities.inputs},
            None,
        ),
    ]
    for kind in capabilities.truncations:
        if kind in DRAWN:
            name = f"{kind.__name__.lower()} truncation"
            levels += [(name, plain, kind), (f"{name} in a stack", plain | {"layers": capabilities.layers}, kind)]
    for k, (level, changes, kind) in enumerate(levels):
        for n in range(_PROBLEMS):
            rng = np.random.default_rng([7, k, n])
            draw = replace(draw_case(rng, capabilities, edge=False), **changes)
            case, cotangents = realise(draw, cell, dtype, capabilities)
            case = replace(case, truncation=DRAWN[kind](rng, draw.T) if kind else Full())
            if not near_kink(case) and not capabilities.refusal(case):
                yield level, Trial(subject, capabilities, case, cotangents)


def _results(trial: Trial) -> Named:
    if isinstance(trial.subject, TwoPhase):
        return trial.results(trial.case, trial.cotangents)
    return trial.scored


def _true(trial: Trial) -> Measured:
    return trial.measured if isinstance(trial.subject, TwoPhase) else trial.scored_measured


def _margins(trial: Trial, got: Named, expected: Measured) -> dict[str, float]:
    """The largest margin of each array, by gate; steps of a sequence count as one."""
    worst: dict[str, float] = {}
    try:
        for c in trial.compare(got, expected.values, expected):
            block = c.block.split("[t=")[0]
            worst[block] = max(worst.get(block, 0.0), c.margin)
    except Violation:
        worst["shapes"] = float("inf")
    return worst


def _has_gates(fault: Fault, cell: Cell) -> bool:
    """Whether a fault can be planted in a cell: some are equations of one cell alone."""
    return any(planted.gates == cell.gates for planted in fault.cells)


def _gives(fault: Fault, found: Sequence[tuple[Trial, Named]]) -> bool:
    """Whether a fault gives the subject's numbers on every problem, the telling ones first."""
    planted = Faulty(fault)
    for trial, results in found:
        twin = Trial(planted, trial.capabilities, trial.case, trial.cotangents)
        try:
            numbers = _results(twin)
        except Refused:
            return False
        true = _true(trial)
        scale = {n: 4 * s + np.finfo(trial.case.dtype).eps * np.abs(numbers.get(n, 0)) for n, s in true.spread.items()}
        if any(margin > 1 for margin in _margins(trial, results, Measured(numbers, scale)).values()):
            return False
    return True
