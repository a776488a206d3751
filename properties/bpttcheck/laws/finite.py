"""Numbers that are finite by the equations are finite in the results.

An overflow is no mistake, so not every infinity is one. A value that is not finite is incorrect where another
computation of it stays far within the format's range: by the reference, by ``--against``, or by the implementation
itself in float64. Without another computation, or if it is not finite either, the problem gets ordinary numbers: no
input exceeds 3, and weights are divided by the root of their fan-in. Numbers grow before they overflow: so the law
searches for the shortest sequence with such a value. If the sequence without its last step gives numbers whose fourth
powers add up within the range, the value is incorrect.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np

from bpttcheck.cases.blocks import Named, case_arrays, has_steps, streams
from bpttcheck.cases.changes import first_steps, in_float64, ordinary
from bpttcheck.contract import Case, Cotangents, CustomCell, OneShot
from bpttcheck.dtypes import FORMATS
from bpttcheck.laws.law import NO_REFERENCE, Law, gradients
from bpttcheck.measuring.calls import Refused
from bpttcheck.measuring.comparisons import Comparison, Violation
from bpttcheck.measuring.tolerance import Measured
from bpttcheck.measuring.trial import Trial

_ORDINARY = 64.0  # a number up to this is not large in any format in whose range its squares add up

_Run = Callable[[Case, Cotangents], Named]


def _through_vjp(trial: Trial) -> Iterator[Comparison]:
    return _finite(trial, trial.returned, trial.results, lambda: trial.measured)


def _through_loss(trial: Trial) -> Iterator[Comparison]:
    return _finite(trial, trial.scored, lambda case, _: trial.score(case), lambda: trial.scored_measured)


def _finite(trial: Trial, got: Named, run: _Run, measured: Callable[[], Measured]) -> Iterator[Comparison]:
    """Each array. Raises Violation for one that is not finite where it should be; other infinite ones prove nothing."""
    if not _not_finite(got):
        yield from (Comparison(name, 0.0, 1.0) for name in sorted(got))
        return
    case, cotangents = trial.case, trial.cotangents
    if not isinstance(case.cell, CustomCell) or trial.against not in (None, trial.subject):
        other = "the reference" if trial.against is None else trial.against.name
        _accuse(got, measured().values, case, f"{other} gives finite numbers")
        return
    if "float64" in trial.capabilities.dtypes and case.dtype != "float64":
        with suppress(Refused):
            _accuse(got, run(*in_float64(case, cotangents)), case, "the same in float64 is finite")
    _accuse_ordinary(run, *ordinary(case, cotangents))


def _accuse(got: Named, right: Named, case: Case, why: str) -> None:
    """Raises Violation for numbers that are not finite where the correct ones are far within the range."""
    if _far_within_range(right, case):
        _raise_first({name: array for name, array in got.items() if name in right}, case, why)


def _accuse_ordinary(run: _Run, case: Case, cotangents: Cotangents) -> None:
    """Raises Violation if the shortest problem that gives something that is not finite has no large number before."""
    before: Named | None = {}
    for steps in range(1, case.T + 1):
        short = first_steps(case, cotangents, steps)
        try:
            got = run(*short)
        except Refused:  # this number of steps: the next one has no predecessor
            before = None
            continue
        if _not_finite(got):
            if before is not None and _far_within_range(before, short[0]):
                _raise_first(got, short[0], "nothing that goes in exceeds 3, and no number before it is large")
            return
        before = got


def _not_finite(arrays: Named) -> list[str]:
    return [name for name, array in arrays.items() if not np.isfinite(array).all()]


def _far_within_range(arrays: Named, case: Case) -> bool:
    """Whether all numbers are finite, and fourth powers of as many as the largest array has add up within the range.

    Then the squares that a cell or a norm computes on the way do not overflow, and neither do the squares of these.
    """
    most = max([1, *(array.size for array in (streams(case.x) | case_arrays(case)).values())])
    squares = (FORMATS[case.dtype].most / (16 * most)) ** 0.5
    bound = max(min(_ORDINARY, squares), squares**0.5)
    everything = [*arrays.values(), *case_arrays(case).values()]
    return all(bool((np.abs(array) <= bound).all()) for array in everything)


def _raise_first(got: Named, case: Case, why: str) -> None:
    """Raises Violation that names the first array that is not finite, outputs before gradients, and its first step."""
    names = _not_finite(got)
    if not names:
        return
    name = min(names, key=lambda name: (name != "y", "final." not in name, name != "loss"))
    wrong, where = ~np.isfinite(got[name]), ""
    value = got[name][wrong].flat[0]
    if has_steps(name) and wrong.any(axis=tuple(range(1, wrong.ndim))).any():
        steps = np.flatnonzero(wrong.any(axis=tuple(range(1, wrong.ndim))))
        where = f" from step {steps[0]} on" if name == "y" else f" at step {steps[-1]} and before"
        where = where if len(steps) > 1 else f" at step {steps[0]}"
    elif case.T:
        where = f" with {case.T} steps"
    what = name if name in ("y", "loss") or "final." in name else f"the gradient of {name}"
    raise Violation(f"{what} is {value}{where}, where {why}")


LAWS = (
    Law(
        "ordinary-is-finite",
        "Outputs and gradients are finite where the same numbers in float64, or computed differently, are not large.",
        "|f(x)| < infinity",
        "steps of ordinary size do not overflow",
        _through_vjp,
        every_case=True,
        in_chaos=True,
        kept=NO_REFERENCE,
    ),
    Law(
        "ordinary-loss-is-finite",
        "Loss and gradients are finite where the same numbers in float64, or computed differently, are not large.",
        "|L(x)| < infinity",
        "steps of ordinary size do not overflow",
        _through_loss,
        (gradients,),
        door=OneShot,
        every_case=True,
        in_chaos=True,
        kept=NO_REFERENCE,
    ),
)
