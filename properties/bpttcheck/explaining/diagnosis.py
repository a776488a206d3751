"""What is wrong: the name of a planted fault that gives the subject's numbers, or else where the error sits.

A battery of fresh problems, full and truncated, is put to the subject, to the reference and to the planted faults, and
to the cell with its gates in each other order. A fault is named only if it repeats the subject's numbers, right and
wrong ones, within tolerance on every problem.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bpttcheck.cases.blocks import Named, case_arrays, named
from bpttcheck.cases.changes import other_problem, with_arrays
from bpttcheck.contract import Case, Cotangents, CustomCell, Gradients, Implementation, Outputs, TwoPhase
from bpttcheck.dtypes import FORMATS
from bpttcheck.explaining.battery import DECLINABLE, battery
from bpttcheck.explaining.lags import lags_of
from bpttcheck.faults import FAULTS, Fault, Faulty, gate_orders
from bpttcheck.measuring.calls import AdapterError, Refused, capabilities_of
from bpttcheck.measuring.completeness import declared, kind
from bpttcheck.measuring.tolerance import Measured
from bpttcheck.measuring.trial import Trial
from bpttcheck.running.time_limit import USUAL, TimeLimit
from bpttref import Cell, trees
from bpttref.arrays import Array

_AGAIN, _SECOND = "again ", "second pullback's "
_FLAGS = {"arguments overwritten", "outputs overwritten", "other dtypes"}


@dataclass(frozen=True)
class Diagnosis:
    """names: the planted faults that give exactly these numbers; several if nothing tells them apart.

    level: the simplest kind of problem on which the subject is wrong. wrong, right: the arrays, by gate, in which it
    differs from the reference there, and in which it does not. factors: what some of the wrong ones are multiplied by.
    lags: how far back the gradient of x is right. moody: whether a problem, put again, had other numbers. cut: whether
    the time was up.
    """

    names: tuple[str, ...]
    level: str
    wrong: tuple[str, ...]
    right: tuple[str, ...]
    factors: Mapping[str, str] = field(default_factory=dict)
    lags: str = ""
    moody: bool = False
    cut: bool = False

    def sentence(self) -> str:
        """The diagnosis, and whether the time was up before all problems and planted faults were tried."""
        ended = " The time was up before every problem and every planted fault was tried." if self.cut else ""
        return self._found() + ended

    def _found(self) -> str:
        if self.moody and not self.names:
            return (
                "the same problem has other numbers when it is put again: something is left behind by one call for the "
                "next, and which arrays are wrong changes with it"
            )
        if not self.wrong:
            return (
                "outputs and gradients of fresh problems are right: look at what the law does beside calling once, "
                "and at what the failing case has that they have not"
            )
        by_factor: dict[str, list[str]] = {}
        for block in self.wrong:
            by_factor.setdefault(self.factors.get(block, ""), []).append(block)
        wrong = "; ".join(", ".join(blocks) + (f" ({said})" if said else "") for said, blocks in by_factor.items())
        where = f"with {self.level}, wrong: {wrong}"
        if self.names:
            statements = {fault.id: fault.statement.rstrip(".") for fault in FAULTS}
            named = " or ".join(f"{name} ({statements[name]})" if name in statements else name for name in self.names)
            return f"the numbers are those of the planted fault {named}; {where}."
        lags = f" {self.lags}" if self.lags else ""
        return f"no planted fault gives these numbers; {where}; right: {', '.join(self.right) or 'nothing'}.{lags}"


def diagnose(
    subject: Implementation,
    cell: Cell | CustomCell,
    dtype: str,
    faults: Sequence[Fault] = FAULTS,
    failing: Sequence[tuple[Case, Cotangents]] = (),
    limit: TimeLimit | None = None,
) -> Diagnosis | None:
    """Diagnose a subject that broke a law; None for unknown cells, which have no reference.

    failing: problems on which laws failed, which are looked at after the fresh ones. limit: a minute unless given; then
    problems and faults that are left are not tried. Raises AdapterError if the subject cannot run the problems.
    """
    if isinstance(cell, CustomCell):
        return None
    limit = limit or TimeLimit(USUAL)
    where, wrong, right = "", set[str](), set[str]()
    found: list[tuple[Trial, Named]] = []
    broken: list[tuple[Trial, Named]] = []
    factors: dict[str, set[str]] = {}
    capabilities = capabilities_of(subject)
    known = [("the case that failed", Trial(subject, capabilities, *problem)) for problem in failing]
    for level, trial in limit.within((*battery(subject, cell, dtype), *known)):
        declined = (Refused, AdapterError) if level in DECLINABLE else (Refused,)
        try:
            results = _results(trial)
        except declined:
            continue
        true = _true(trial)
        margins, seen_in = _margins(trial, results, true)
        bad = {block for block, margin in margins.items() if margin > 1}
        found.append((trial, results))
        if bad:
            broken.append((trial, results))
        if bad and level == (where := where or level):
            wrong |= bad
            right |= seen_in - bad
            for block, seen in _factors(trial, results, true, bad).items():
                factors[block] = factors.get(block, seen) & seen
    moody = any(_differs_again(trial, before) for trial, before in found[:1] + broken[:1])
    doors = ("vjp",) if isinstance(subject, TwoPhase) else ("vjp", "loss_and_gradients")
    everything = (*faults, *gate_orders(cell)) if where else ()
    candidates = [fault for fault in everything if fault.door in doors and fault.fits(cell)]
    likely = [
        fault for fault in limit.within(candidates) if _gives(fault, broken)
    ] or candidates  # what remembers must see them all
    names = [fault.id for fault in limit.within(likely) if _gives(fault, found)]
    again = {block for block in wrong | right if block.startswith(_SECOND)}
    telling = {
        block for block in wrong & again if block.removeprefix(_SECOND) not in wrong
    }  # wrong the second time only
    right -= wrong | again | _FLAGS
    wrong = wrong - again | telling
    said = {block: min(seen, key=list(_FACTORS).index) for block, seen in factors.items() if seen}
    lags = "" if names or not where or not limit.left or "truncation" in where else lags_of(subject, cell, dtype)
    return Diagnosis(tuple(names), where, tuple(sorted(wrong)), tuple(sorted(right)), said, lags, moody, limit.cut)


_FACTORS: Mapping[str, Callable[[int, int], float]] = {  # of the number of steps and of rows
    "zero": lambda T, B: 0,
    "of the wrong sign": lambda T, B: -1,
    "twice as large": lambda T, B: 2,
    "half as large": lambda T, B: 1 / 2,
    "T times as large": lambda T, B: T,
    "1/T times as large": lambda T, B: 1 / T,
    "B times as large": lambda T, B: B,
    "1/B times as large": lambda T, B: 1 / B,
    "T B times as large": lambda T, B: T * B,
    "1/(T B) times as large": lambda T, B: 1 / (T * B),
}


def _factors(trial: Trial, got: Named, true: Measured, bad: set[str]) -> dict[str, set[str]]:
    """By which simple factors each wrong block is off."""
    T, B = trial.case.x.shape[:2]
    found: dict[str, set[str]] = {block: set() for block in bad}
    for said, factor in _FACTORS.items() if T and B else ():
        by = factor(T, B)
        scaled = Measured({n: by * a for n, a in true.values.items()}, {n: abs(by) * a for n, a in true.spread.items()})
        margins, _ = _margins(trial, got, scaled)
        for block in bad:
            if margins.get(block, 2.0) <= 1:
                found[block].add(said)
    return found


def _results(trial: Trial) -> Named:
    """What the subject returns; a second pullback's gradients, after a call for another problem; what it overwrote."""
    case = with_arrays(trial.case, lambda _, array: array.copy(order="K"))
    cotangents = Cotangents(*(trees.each(lambda array: array.copy(order="K"), part) for part in trial.cotangents))
    changed = []

    def taken(returned: Outputs | Gradients) -> Named:
        """Copies of what is declared, and of what the case has."""
        there = declared(named(returned), trial.capabilities)
        return {name: np.array(a) for name, a in there.items() if case.initial is not None or kind(name) != "initial"}

    if isinstance(trial.subject, TwoPhase):
        outputs, pullback = trial.calls.run(case, copy=False)
        results = taken(outputs)
        if pullback is not None:
            results |= taken(trial.calls.pull(pullback, cotangents, copy=False))
            if trial.capabilities.reusable:
                trial.calls.run(other_problem(trial.case))
                changed = [not np.array_equal(results[n], a, equal_nan=True) for n, a in taken(outputs).items()]
                again = taken(trial.calls.pull(pullback, trial.cotangents))
                results |= {f"{_AGAIN}{name}": array for name, array in again.items()}
    else:
        outputs, gradients = trial.calls.score(case, copy=False)
        results = taken(gradients)
        results["loss"] = np.array(outputs.loss)
    others = [array.dtype != FORMATS[trial.case.dtype].storage for array in results.values()]
    arguments = zip(_given(trial.case, trial.cotangents), _given(case, cotangents), strict=True)
    overwritten = [not np.array_equal(a, b, equal_nan=True) for a, b in arguments]
    flags = {"arguments overwritten": overwritten, "outputs overwritten": changed, "other dtypes": others}
    return results | {name: np.array(flag, float) for name, flag in flags.items()}


def _differs_again(trial: Trial, before: Named) -> bool:
    """Whether a problem that is put once more has other numbers than before."""
    after = _results(Trial(trial.subject, trial.capabilities, trial.case, trial.cotangents))
    return any(not np.array_equal(after[n], a, equal_nan=True) for n, a in before.items() if after[n].shape == a.shape)


def _given(case: Case, cotangents: Cotangents) -> list[Array]:
    return [*case_arrays(case).values(), *named(cotangents).values()]


def _true(trial: Trial) -> Measured:
    if not isinstance(trial.subject, TwoPhase):
        return trial.scored_measured
    true = trial.measured
    gradients = [name for name in trial.expected() if name in true.values]
    values, spread = dict(true.values), dict(true.spread)
    if trial.capabilities.gradients and trial.capabilities.reusable:
        values |= {f"{_AGAIN}{name}": values[name] for name in gradients}
        spread |= {f"{_AGAIN}{name}": spread[name] for name in gradients}
    return Measured(values, spread)


def _margins(trial: Trial, got: Named, expected: Measured) -> tuple[dict[str, float], set[str]]:
    """The largest margin of each array, by gate, and those in which a wrong number would show; steps count as one."""
    worst: dict[str, float] = {}
    alive: set[str] = set()
    objective = trial.case.objective if "loss" in got else None
    there = {
        name
        for name in declared(expected.values, trial.capabilities)
        if not name.startswith(_AGAIN) and "loss" not in got
    }
    required = {*trial.expected(), *there, *(objective.readout if objective else {})}
    flags = {name: np.zeros_like(got[name]) for name in _FLAGS & got.keys()}
    for name, array in (flags | expected.values).items():
        if name not in got:
            if name in required:
                worst[name] = float("inf")
            continue
        if got[name].shape != array.shape:
            worst[name] = float("inf")
            continue
        plain = name.removeprefix(_AGAIN)
        spread = expected.spread.get(name)
        scale = {plain: np.zeros(array.shape) if spread is None or spread.shape != array.shape else spread}
        for c in trial.compare({plain: got[name]}, {plain: array}, Measured({}, scale)):
            block = (_SECOND if name.startswith(_AGAIN) else "") + c.block.split("[t=")[0]
            worst[block] = max(worst.get(block, 0.0), c.margin)
            alive |= {block} if c.alive else set()
    return worst, alive


def _gives(fault: Fault, found: Sequence[tuple[Trial, Named]]) -> bool:
    """Whether a fault gives the subject's numbers on each of these problems, put to it in the same order."""
    planted = Faulty(fault, scored=not isinstance(found[0][0].subject, TwoPhase))
    for trial, results in found:
        try:
            numbers = _results(Trial(planted, trial.capabilities, trial.case, trial.cotangents))
        except Exception:  # a fault may not even run where it makes no sense
            return False
        if numbers.keys() != results.keys() or any(numbers[n].shape != a.shape for n, a in results.items()):
            return False
        flags = _FLAGS & results.keys()
        if any(not np.array_equal(numbers[n], results[n]) for n in flags):
            return False
        if any(not np.array_equal(np.isfinite(numbers[n]), np.isfinite(a)) for n, a in results.items()):
            return False
        eps, true = FORMATS[trial.case.dtype].eps, _true(trial)
        same = [n for n, s in true.spread.items() if n in numbers and numbers[n].shape == s.shape]
        scale = {n: 4 * _growth(numbers[n], true.values[n]) * true.spread[n] + eps * np.abs(numbers[n]) for n in same}
        values = {n: a for n, a in numbers.items() if n not in flags}
        got = {n: a for n, a in results.items() if n not in flags}
        if any(margin > 1 for margin in _margins(trial, got, Measured(values, scale))[0].values()):
            return False
    return True


def _growth(numbers: Array, true: Array) -> float:
    """How much larger a fault's numbers are than the true ones, as then are their errors; at least 1."""
    sizes = [float(np.abs(array).max(initial=0)) for array in (numbers, true)]
    return max(1.0, sizes[0] / sizes[1]) if sizes[1] else 1.0
