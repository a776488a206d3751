"""The scale of error of an implementation with an unknown cell: it runs again on slightly other numbers."""

import math
from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np

from bpttcheck.cases.blocks import Named, case_arrays, has_rows, has_steps, named
from bpttcheck.cases.changes import with_arrays
from bpttcheck.contract import Case, Cotangents
from bpttcheck.dtypes import FORMATS, rounded
from bpttcheck.measuring.tolerance import Measured, as_stored
from bpttref import trees
from bpttref.arrays import Array

_Run: TypeAlias = Callable[[Case, Cotangents], Named]
_ROUNDED = 5  # runs of a black box with its inputs rounded at random
_COARSE = 32.0  # roundoffs of the largest number, the most that a run may round itself


def measure_black_box(run: _Run, case: Case, cotangents: Cotangents, judged: _Run | None = None) -> Measured:
    """The results of ``run``, and their scale of error: how far they move when all inputs are rounded at random, plus
    the rounding inside ``judged``, by default inside ``run``."""
    values, eps = run(case, cotangents), FORMATS[case.dtype].eps
    others = [_moved(run, case, cotangents, 4 * eps, k) for k in range(_ROUNDED)]
    spread = {
        name: np.max([np.abs(other[name].astype(float) - value) for other in others], axis=0)
        for name, value in values.items()
    }
    if eps < 1e-5:
        centre = values if judged is None else judged(case, cotangents)
        for name, rounding in _own_rounding(judged or run, case, cotangents, centre).items():
            spread[name] = spread[name] + rounding
    of_gradients, steepest = _of_saturation(case, cotangents, values), eps * _steepest(case, values)
    largest = _largest([array for name, array in values.items() if name not in case_arrays(case)], 1.0)
    of_outputs = eps * largest if eps < 1e-5 else 0.0  # in 16 bits it would hide mistakes
    for name in spread:
        floor = of_gradients if name in case_arrays(case) else of_outputs
        spread[name] = spread[name] + (floor if steepest > 1 else np.minimum(floor, steepest * _sizes(name, values)))
    return as_stored(Measured(values, spread), case.format)


def _own_rounding(run: _Run, case: Case, cotangents: Cotangents, values: Named) -> Named:
    """The rounding inside ``run``, which gives ``values``: the part of its results' movement that is not smooth.

    The logarithm of a decayed state, or a sum over all steps, errs by more than the inputs do, and with small weights
    no rounding of the inputs shows it. So all inputs move by the root of the roundoff, forward and back, and twice as
    far: powers up to the third cancel in the combination of these results. The rest is allowed up to some roundoffs of
    the largest number next to it; more means a coarser format inside. In 16 bits the steps are too large for this.
    """
    eps = FORMATS[case.dtype].eps
    near, back, far, far_back = (_moved(run, case, cotangents, by * eps**0.5, 0) for by in (1, -1, 2, -2))
    found = {}
    with np.errstate(invalid="ignore"):
        for name, value in values.items():
            narrow, wide = near[name].astype(float) + back[name], far[name].astype(float) + far_back[name]
            bend = np.abs(wide - 4 * narrow + 6 * value) / 8
            found[name] = np.fmin(bend, _COARSE * eps * _sizes(name, values))
    return found


def _moved(run: _Run, case: Case, cotangents: Cotangents, by: float, seed: int) -> Named:
    """The results where each number that goes in is moved at random, by up to ``by`` of its size."""
    rng = np.random.default_rng([1, seed])

    def moved(array: Array) -> Array:
        return rounded(array * (1 + by * (2 * rng.random(array.shape) - 1)), case.dtype)

    other = with_arrays(case, lambda _, array: moved(array))
    return run(other, Cotangents(*(trees.each(moved, part) for part in cotangents)))


def _sizes(name: str, values: Named) -> Array:
    """The largest number next to each: of its step in a sequence, else of its array."""
    size = np.abs(values[name].astype(float))
    largest: Array = size.max(axis=tuple(range(has_steps(name), size.ndim)), initial=0, keepdims=True)
    return largest


def measure_right(run: _Run, case: Case, cotangents: Cotangents, judged: _Run | None = None) -> Measured:
    """The results of a correct implementation, and the scale of error of others with the same unknown cell.

    They may compute the derivative of a unit by another formula, which errs by more than the steepness of a unit
    suggests.
    """
    measured = measure_black_box(run, case, cotangents, judged)
    floor = _of_saturation(case, cotangents, measured.values)
    spread = {n: s + floor * (n in case_arrays(case)) for n, s in measured.spread.items()}
    return Measured(measured.values, spread)


def _of_saturation(case: Case, cotangents: Cotangents, values: Named) -> float:
    """The roundoff times its largest factor on the way into a gradient. In an output the roundoff is added: nothing is
    left of the difference of two saturated units.

    The derivative of a saturated unit is mostly computed from the unit's value, as 1 - h^2 or (1 - z) dh, and errs by
    the roundoff of that value. No change of the inputs shows this error, because the unit's value does not move.
    """
    gradients = [array for name, array in values.items() if name in case_arrays(case)]
    into = _largest(case_arrays(case).values(), 1.0)
    return FORMATS[case.dtype].eps * into * _largest([*named(cotangents).values(), *gradients], 0.0)


def _steepest(case: Case, values: Named) -> float:
    """By how much, at most, the relative error of a unit's derivative exceeds the roundoff of the unit's value.

    The derivative of tanh is at least e^(-2|a|), the derivative of a sigmoid at least e^-|a| / 4; one below the
    roundoff may come out as zero. The pre-activation of a unit is at most the largest sum of weights times the largest
    input, plus the biases.
    """
    arrays = case_arrays(case)
    outputs = [array for name, array in values.items() if name not in arrays]
    weights = [np.abs(a.astype(float)) for n, a in arrays.items() if not has_rows(n) and a.size]
    sums = [max(w.sum(axis=-1).max(), w.sum(axis=0).max()) for w in weights if w.ndim > 1]
    into = [array for name, array in arrays.items() if has_rows(name)]
    a = _largest([*into, *outputs], 1.0) * max(sums, default=0.0) + sum(w.max() for w in weights if w.ndim == 1)
    return 4 * math.exp(min(2 * a, 700.0))


def _largest(arrays: Iterable[Array], least: float) -> float:
    return max([least, *(float(np.abs(array).max(initial=0)) for array in arrays)])
