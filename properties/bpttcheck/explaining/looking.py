"""A problem that the implementation ran: its results, the correct numbers, and the incorrect blocks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.blocks import Named, case_arrays, named
from bpttcheck.cases.changes import meant_to_differ, other_problem, with_arrays
from bpttcheck.contract import Case, Cotangents, CustomCell, Gradients, Implementation, Outputs, TwoPhase
from bpttcheck.dtypes import FORMATS
from bpttcheck.explaining.battery import battery
from bpttcheck.explaining.factors import FACTORS
from bpttcheck.explaining.own_derivatives import OwnDerivatives
from bpttcheck.measuring.black_box import measure_black_box
from bpttcheck.measuring.calls import AdapterError, Refused, capabilities_of
from bpttcheck.measuring.comparisons import Comparison, Violation
from bpttcheck.measuring.completeness import declared, kind
from bpttcheck.measuring.tolerance import Measured
from bpttcheck.measuring.trial import Trial
from bpttcheck.running.time_limit import TimeLimit
from bpttref import Cell, Full, trees
from bpttref.arrays import Array

AGAIN, SECOND = "again ", "second pullback's "
FLAGS = {"arguments overwritten", "outputs overwritten", "other dtypes"}
FAILED = "the case that failed"
_LARGEST = 2**27  # numbers of an array


@dataclass(frozen=True)
class Seen:
    """One problem of a level: what came back, what is right, and which blocks are wrong, or would show a mistake."""

    level: str
    trial: Trial
    results: Named
    true: Measured
    bad: set[str]
    alive: set[str]

    def gradients(self) -> tuple[Named, Named, set[str]]:
        """The gradients that came back, the correct ones, and the names of the incorrect ones."""
        names = [n for n in self.trial.expected() if n in self.results and n in self.true.values]
        wrong = {block.split("[")[0] for block in self.bad} & set(names)
        return {n: self.results[n] for n in names}, {n: self.true.values[n] for n in names}, wrong


def looked_at(
    subject: Implementation,
    right: Implementation,
    cell: Cell | CustomCell,
    dtype: str,
    failing: Sequence[tuple[Case, Cotangents]],
    limit: TimeLimit,
) -> Iterator[Seen]:
    """The problems that failed, then the battery, run on the implementation; without problems on which it raises, or
    whose correct numbers are unknown."""
    capabilities = capabilities_of(subject)
    known = [(FAILED, Trial(subject, capabilities, *problem)) for problem in failing]
    for level, trial in limit.within((*known, *battery(subject, cell, dtype))):
        try:
            results, true = results_of(trial), _true(beside(trial, right), right)
        except (Refused, AdapterError, Violation):
            continue
        worst, alive = margins(trial, results, true)
        yield Seen(level, trial, results, true, {block for block, margin in worst.items() if margin > 1}, alive)


def number_by_number(
    subject: Implementation, right: Implementation, worst: Comparison | None, case: Case, cotangents: Cotangents
) -> Comparison | None:
    """The array of an unknown cell in which a law found an error, next to the derivatives of a forward pass, if these
    are the correct numbers; None where they are not available, or show no error."""
    if worst is None or worst.case is not None or not isinstance(right, OwnDerivatives):
        return None
    try:
        trial = Trial(subject, capabilities_of(subject), case, cotangents)
        true = truth(trial, right, case, cotangents)
        results = trial.returned if isinstance(subject, TwoPhase) else trial.scored
    except (Refused, AdapterError, Violation):
        return None
    wrong = [c for c in trial.compare(results, true.values, true) if c.margin > 1]
    there = [c for c in wrong if c.block == worst.block] or wrong
    return max(there, key=lambda c: c.margin, default=None)


def factors_of(seen: Seen) -> dict[str, set[str]]:
    """The simple factors that explain each incorrect block."""
    T, B = seen.trial.case.T, seen.trial.case.B
    found: dict[str, set[str]] = {block: set() for block in seen.bad}
    for said, factor in FACTORS.items() if T and B else ():
        by = factor(T, B)
        values = {n: by * a for n, a in seen.true.values.items()}
        scaled = Measured(values, {n: abs(by) * a for n, a in seen.true.spread.items()})
        worst, _ = margins(seen.trial, seen.results, scaled)
        for block in seen.bad:
            if worst.get(block, 2.0) <= 1:
                found[block].add(said)
    return found


def results_of(trial: Trial) -> Named:
    """The results of the implementation; a second pullback's gradients, after a call for another problem; flags for
    overwritten arrays."""
    case = with_arrays(trial.case, lambda _, array: array.copy(order="K"))
    handed = trial.handed
    cotangents = Cotangents(*(trees.each(lambda array: array.copy(order="K"), part) for part in handed.cotangents))
    changed: list[bool] = []
    others: list[bool] = []

    def taken(returned: Outputs | Gradients) -> Named:
        """Copies of the declared arrays that the case has; objects other than arrays of numbers get a shape that does
        not fit."""
        there = {
            name: array
            for name, array in declared(named(returned), trial.capabilities).items()
            if case.initial is not None or kind(name) != "initial"
        }
        others.extend(array.dtype != FORMATS[case.dtype].storage for array in there.values())
        return {
            name: np.array(a) if a.dtype.kind in "fiub" and a.size <= _LARGEST else np.zeros(0)
            for name, a in there.items()
        }

    if isinstance(trial.subject, TwoPhase):
        outputs, pullback = trial.calls.run(case, copy=False)
        results = taken(outputs)
        if pullback is not None:
            results |= taken(trial.calls.pull(pullback, handed._replace(cotangents=cotangents)))
            if trial.capabilities.reusable:
                trial.calls.run(other_problem(trial.case))
                changed = [not np.array_equal(results[n], a, equal_nan=True) for n, a in taken(outputs).items()]
                again = taken(trial.calls.pull(pullback, trial.cotangents))
                results |= {f"{AGAIN}{name}": array for name, array in again.items()}
    else:
        outputs, gradients = trial.calls.score(case, copy=False)
        results = taken(gradients)
        results["loss"] = np.array(outputs.loss)
    arguments = zip(_given(trial.case, handed.cotangents), _given(case, cotangents), strict=True)
    overwritten = [not np.array_equal(a, b, equal_nan=True) for a, b in arguments]
    flags = {"arguments overwritten": overwritten, "outputs overwritten": changed, "other dtypes": others}
    return results | {name: np.array(flag, float) for name, flag in flags.items()}


def differs_again(seen: Seen) -> bool:
    """Whether a second run of a problem gives other numbers."""
    trial = seen.trial
    after = results_of(Trial(trial.subject, trial.capabilities, trial.case, trial.cotangents))
    return any(not np.array_equal(after[n], a, equal_nan=True) for n, a in seen.results.items() if alike(n, a, after))


def alike(name: str, array: Array, others: Named) -> bool:
    """Whether the others have an array of that name and shape."""
    return name in others and others[name].shape == array.shape


def _given(case: Case, cotangents: Cotangents) -> list[Array]:
    return [*case_arrays(case).values(), *named(cotangents).values()]


def beside(trial: Trial, right: Implementation) -> Trial:
    """The `Trial`, compared with the correct numbers."""
    if not isinstance(right, OwnDerivatives | Reference):
        trial.against = right
    return trial


def truth(trial: Trial, right: Implementation, case: Case, cotangents: Cotangents) -> Measured:
    """The correct numbers of a case, and the scales of error. Raises Refused if they cannot be found."""
    if not isinstance(right, OwnDerivatives):
        return trial.measure(case, cotangents)[0] if isinstance(trial.subject, TwoPhase) else trial.scored_measured
    if case.truncation != Full():
        raise Refused("the derivatives of the forward pass belong to full BPTT")
    if isinstance(trial.subject, TwoPhase):
        own = measure_black_box(trial.results, case, cotangents).spread
    else:
        own = trial.measure_objective(case).spread
    found = right.measure(case, cotangents)
    values = {n: a for n, a in found.values.items() if n in own and not meant_to_differ(case, n)}
    return Measured(values, {n: own[n] + found.spread.get(n, 0) for n in values})


def _true(trial: Trial, right: Implementation) -> Measured:
    true = truth(trial, right, trial.case, trial.cotangents)
    if not isinstance(trial.subject, TwoPhase):
        return true
    gradients = [name for name in trial.expected() if name in true.values]
    values, spread = dict(true.values), dict(true.spread)
    if trial.capabilities.gradients and trial.capabilities.reusable:
        values |= {f"{AGAIN}{name}": values[name] for name in gradients}
        spread |= {f"{AGAIN}{name}": spread[name] for name in gradients}
    return Measured(values, spread)


def margins(trial: Trial, got: Named, expected: Measured) -> tuple[dict[str, float], set[str]]:
    """The largest margin of each array, by gate, and the arrays in which an incorrect number would show; all steps
    count as one."""
    worst: dict[str, float] = {}
    alive: set[str] = set()
    objective = trial.case.objective if "loss" in got else None
    there = {
        name
        for name in declared(expected.values, trial.capabilities)
        if not name.startswith(AGAIN) and "loss" not in got
    }
    required = {*trial.expected(), *there, *(objective.readout if objective else {})}
    flags = {name: np.zeros_like(got[name]) for name in FLAGS & got.keys()}
    for name, array in (flags | expected.values).items():
        if name not in got:
            if name in required:
                worst[name] = float("inf")
            continue
        if got[name].shape != array.shape:
            worst[name] = float("inf")
            continue
        plain = name.removeprefix(AGAIN)
        spread = expected.spread.get(name)
        scale = {plain: np.zeros(array.shape) if spread is None or spread.shape != array.shape else spread}
        for c in trial.compare({plain: got[name]}, {plain: array}, Measured({}, scale)):
            block = (SECOND if name.startswith(AGAIN) else "") + c.block.split("[t=")[0]
            worst[block] = max(worst.get(block, 0.0), c.margin)
            alive |= {block} if c.alive else set()
    return worst, alive
