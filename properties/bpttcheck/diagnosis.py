"""What is wrong: the name of a planted fault that gives the subject's numbers, or else where the error sits.

A battery of fresh problems, full and truncated, is put to the subject, to the reference and to the planted faults. A
fault is named only if it repeats the subject's numbers, right and wrong ones, within tolerance on every problem.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bpttcheck.blocks import Named, case_arrays, named
from bpttcheck.cases import draw_case, near_kink, realise, with_arrays
from bpttcheck.contract import Case, Cotangents, CustomCell, Implementation, TwoPhase
from bpttcheck.faults import FAULTS, Fault, Faulty
from bpttcheck.laws.truncation import DRAWN
from bpttcheck.tolerance import Measured
from bpttcheck.trial import AdapterError, Trial, copied
from bpttref import Cell, Full, Regular, trees
from bpttref.arrays import Array

_PROBLEMS = 4  # of each level
_AGAIN, _SECOND = "again ", "second pullback's "
_FLAGS = {"arguments kept", "dtypes"}


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
    found: list[tuple[Trial, Named]] = []
    for level, trial in _battery(subject, cell, dtype):
        try:
            results = _results(trial)
        except Exception as error:
            raise AdapterError(f"the subject raised {type(error).__name__}: {error}") from error
        margins = _margins(trial, results, _true(trial))
        bad = {block for block, margin in margins.items() if margin > 1}
        found.append((trial, results))
        if bad and level == (where := where or level):
            wrong |= bad
            right |= margins.keys() - bad
    door = "vjp" if isinstance(subject, TwoPhase) else "loss_and_gradients"
    candidates = [fault for fault in faults if fault.door == door and _has_gates(fault, cell) and where]
    names = [fault.id for fault in candidates if _gives(fault, found)]
    again = {block for block in wrong | right if block.startswith(_SECOND)}
    telling = {
        block for block in wrong & again if block.removeprefix(_SECOND) not in wrong
    }  # wrong the second time only
    right -= wrong | again | _FLAGS
    return Diagnosis(tuple(names), where, tuple(sorted(wrong - again | telling)), tuple(sorted(right)))


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
            draw = replace(draw_case(rng, capabilities, 0), **changes)
            case, cotangents = realise(draw, cell, dtype, capabilities)
            case = replace(case, truncation=DRAWN[kind](rng, draw.T) if kind else Full())
            for name, vary in (("", None), *_VARIATIONS.items()) if n == 0 else (("", None),):
                if vary is not None and isinstance(subject, TwoPhase):
                    varied = Trial(subject, capabilities, *vary(case, cotangents))
                else:
                    varied = Trial(subject, capabilities, case, cotangents)
                allowed = capabilities.empty or len(varied.case.x)
                if allowed and not near_kink(varied.case) and not capabilities.refusal(varied.case):
                    yield f"{level}{name}", varied


def _strided(case: Case, cotangents: Cotangents) -> tuple[Case, Cotangents]:
    return case, Cotangents(None if cotangents.y is None else np.asfortranarray(cotangents.y), cotangents.final)


def _large(case: Case, cotangents: Cotangents) -> tuple[Case, Cotangents]:
    return case, Cotangents(*(None if part is None else trees.scale(part, 128) for part in cotangents))


def _covered(case: Case, cotangents: Cotangents) -> tuple[Case, Cotangents]:
    one_way = isinstance(case.truncation, Regular)
    return (replace(case, truncation=Regular(len(case.x) + 2)) if one_way else case), cotangents


def _without_steps(case: Case, cotangents: Cotangents) -> tuple[Case, Cotangents]:
    if case.lengths is not None:
        return case, cotangents
    dy = None if cotangents.y is None else cotangents.y[:0]
    return replace(case, x=case.x[:0]), Cotangents(dy, cotangents.final)


_VARIATIONS: dict[str, Callable[[Case, Cotangents], tuple[Case, Cotangents]]] = {
    ", large cotangents": _large,
    ", no cotangent of y": lambda case, cotangents: (case, Cotangents(None, cotangents.final)),
    ", cotangents in Fortran order": _strided,
    ", tau longer than the sequence": _covered,
    ", no step at all": _without_steps,
}


def _results(trial: Trial) -> Named:
    """What the subject returns; a second pullback's gradients, after a call for another problem; what it overwrote."""
    if not isinstance(trial.subject, TwoPhase):
        return trial.scored
    case = with_arrays(trial.case, lambda _, array: array.copy(order="K"))
    final = trial.cotangents.final
    cotangents = Cotangents(
        None if trial.cotangents.y is None else trial.cotangents.y.copy(order="K"), final and trees.copy(final)
    )
    outputs, pullback = trial.subject.vjp(case)
    results = {name: np.array(array) for name, array in named(outputs).items()}
    if pullback is not None:
        results |= {name: np.array(array) for name, array in named(pullback(cotangents)).items()}
        if trial.capabilities.reusable:
            trial.subject.vjp(with_arrays(trial.case, lambda name, a: (0.5 * a + 0.25).astype(a.dtype)))
            again = named(pullback(copied(trial.cotangents)))
            results |= {f"{_AGAIN}{name}": np.array(array) for name, array in again.items()}
    kept = zip(_given(trial.case, trial.cotangents), _given(case, cotangents), strict=True)
    results["arguments kept"] = np.array([not np.array_equal(a, b, equal_nan=True) for a, b in kept], float)
    results["dtypes"] = np.array(
        [np.dtype(trial.case.dtype) != a.dtype for n, a in results.items() if n != "arguments kept"], float
    )
    return results


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


def _margins(trial: Trial, got: Named, expected: Measured) -> dict[str, float]:
    """The largest margin of each array, by gate; steps of a sequence count as one."""
    worst: dict[str, float] = {}
    objective = trial.case.objective if "loss" in got else None
    required = trial.expected() | (objective.readout if objective else {})
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
    return worst


def _has_gates(fault: Fault, cell: Cell) -> bool:
    """Whether a fault can be planted in a cell: some are equations of one cell alone."""
    return any(planted.gates == cell.gates for planted in fault.cells)


def _gives(fault: Fault, found: Sequence[tuple[Trial, Named]]) -> bool:
    """Whether a fault gives the subject's numbers on every problem, put to it in the same order."""
    planted = Faulty(fault)
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
        eps, true = np.finfo(trial.case.dtype).eps, _true(trial)
        same = [n for n, s in true.spread.items() if n in numbers and numbers[n].shape == s.shape]
        scale = {n: 4 * true.spread[n] + eps * np.abs(numbers[n]) for n in same}
        values = {n: a for n, a in numbers.items() if n not in flags}
        got = {n: a for n, a in results.items() if n not in flags}
        if any(margin > 1 for margin in _margins(trial, got, Measured(values, scale)).values()):
            return False
    return True
