"""Which planted faults give the implementation's numbers, all of them or some."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.blocks import Named
from bpttcheck.cases.changes import only_ends
from bpttcheck.contract import Implementation, TwoPhase
from bpttcheck.dtypes import FORMATS
from bpttcheck.explaining.in_steps import InSteps
from bpttcheck.explaining.looking import FLAGS, Seen, alike, margins, results_of
from bpttcheck.faults import Fault, Faulty
from bpttcheck.faults.planting import Altered
from bpttcheck.measuring.handing import plain
from bpttcheck.measuring.tolerance import Measured
from bpttcheck.measuring.trial import Trial
from bpttref.arrays import Array

_MOST_NAMES = 3  # alternatives that are named


def gives(fault: Fault, right: Implementation, found: Sequence[Seen]) -> bool:
    """Whether a fault gives the implementation's numbers on each of these problems, run in the same order, and has
    errors where the implementation has them."""
    planted = _planted(fault, right, found)
    for seen in found:
        numbers, results = _numbers(planted, seen), seen.results
        if numbers is None or any(not np.array_equal(numbers[n], results[n]) for n in FLAGS & results.keys()):
            return False
        if any(not np.array_equal(np.isfinite(numbers[n]), np.isfinite(a)) for n, a in results.items()):
            return False
        if any(margin > 1 for margin in margins(seen.trial, *_beside(numbers, seen))[0].values()):
            return False
        if seen.bad and not any(margin > 1 for margin in margins(seen.trial, numbers, seen.true)[0].values()):
            return False
    return True


def _planted(fault: Fault, right: Implementation, found: Sequence[Seen]) -> Faulty:
    """A fault in the correct implementation; a fault of a cell's equations in the reference, because only the reference
    has them."""
    within: Any = right
    if isinstance(fault.make, Altered) or isinstance(right, Reference):
        within = Reference()
    elif isinstance(right, TwoPhase) and fault.door == "vjp":
        within = InSteps(right)
    return Faulty(fault, within, scored=bool(found) and not isinstance(found[0].trial.subject, TwoPhase))


def _numbers(planted: Faulty, seen: Seen) -> Named | None:
    """The results of a fault on a problem; None where it does not run, or has other arrays than the implementation."""
    trial = seen.trial
    try:
        numbers = results_of(Trial(planted, plain(trial.capabilities), trial.case, trial.cotangents))
    except Exception:  # a fault may not even run where it makes no sense
        return None
    if "last" in trial.capabilities.outputs and "y" in numbers:
        numbers["y"] = only_ends(trial.case, numbers["y"])
    same = numbers.keys() == seen.results.keys() and all(alike(n, a, numbers) for n, a in seen.results.items())
    return numbers if same else None


def _beside(numbers: Named, seen: Seen) -> tuple[Named, Measured]:
    """The implementation's numbers, and the fault's numbers with their scales of error, which grow with them."""
    eps, true = FORMATS[seen.trial.case.dtype].eps, seen.true
    same = [n for n, s in true.spread.items() if alike(n, s, numbers)]
    scale = {n: 4 * _growth(numbers[n], true.values[n]) * true.spread[n] + eps * np.abs(numbers[n]) for n in same}
    got, values = ({n: a for n, a in side.items() if n not in FLAGS} for side in (seen.results, numbers))
    return got, Measured(values, scale)


def explain_some(
    candidates: Sequence[Fault], right: Implementation, found: Sequence[Seen], level: str
) -> tuple[list[str], int]:
    """The faults that each explain, array by array, all errors at the problems of a level, or two faults that do so
    together; and whether it takes one or two. They have no error where the implementation is correct, and explain
    most."""
    first = [seen for seen in found if seen.level == level and seen.bad]
    others = [seen for seen in found if not (seen.level == level and seen.bad)]
    explained: dict[str, list[set[str]]] = {}
    counts: dict[str, int] = {}
    for fault in candidates:
        overlaps = [_overlap(fault, right, seen) for seen in first]
        if any(overlaps):
            overlaps += [_overlap(fault, right, seen) for seen in others]
            if all(overlap is not None for overlap in overlaps):
                blocks = [overlap or set() for overlap in overlaps]
                explained[fault.id], counts[fault.id] = blocks[: len(first)], sum(map(len, blocks))
    wrong = [seen.bad - FLAGS for seen in first]
    for number in (1, 2):
        fitting = [
            names
            for names in combinations(explained, number)
            if [set().union(*blocks) for blocks in zip(*(explained[name] for name in names), strict=True)] == wrong
        ]
        best = max((sum(counts[name] for name in names) for names in fitting), default=0)
        chosen = [names for names in fitting if sum(counts[name] for name in names) == best]
        if chosen:
            alternatives = list(dict.fromkeys(name for names in chosen for name in names))
            return (alternatives, number) if len(alternatives) <= (_MOST_NAMES, 2)[number - 1] else ([], 0)
    return [], 0


def _overlap(fault: Fault, right: Implementation, seen: Seen) -> set[str] | None:
    """The incorrect blocks in which a fault gives the implementation's numbers; None if the fault has an error where
    the implementation is correct."""
    numbers = _numbers(_planted(fault, right, [seen]), seen)
    if numbers is None or any(not np.array_equal(numbers[n], seen.results[n]) for n in FLAGS & numbers.keys()):
        return None
    own = {block for block, margin in margins(seen.trial, numbers, seen.true)[0].items() if margin > 1} - FLAGS
    if not own <= seen.bad:
        return None
    return own - {block for block, margin in margins(seen.trial, *_beside(numbers, seen))[0].items() if margin > 1}


def _growth(numbers: Array, true: Array) -> float:
    """How much larger a fault's numbers are than the true ones, at least 1; their errors grow by the same factor."""
    sizes = [float(np.abs(array).max(initial=0)) for array in (numbers, true)]
    return max(1.0, sizes[0] / sizes[1]) if sizes[1] else 1.0
