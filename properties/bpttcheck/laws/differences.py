"""Central differences of an implementation's own forward pass or loss, next to its gradients."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from bpttcheck.cases.blocks import Named, blocks, case_arrays
from bpttcheck.cases.changes import domain_of, meant_to_differ, put_inside, with_arrays
from bpttcheck.cases.kinks import sides_of_kinks
from bpttcheck.contract import Case, CustomCell
from bpttcheck.custom_cell import room
from bpttcheck.dtypes import FORMATS
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.tolerance import FACTOR, Measured, allowed
from bpttcheck.measuring.trial import Trial
from bpttref.arrays import Array


class Slope(NamedTuple):
    """objective: a number, and its size: the root of the sum of the squares of its terms, whose roundings are
    independent. gradients: of that number, at another case."""

    objective: Callable[[Case], tuple[float, float]]
    gradients: Callable[[Case], Named]


def differences(
    trial: Trial,
    slope: Slope,
    gradients: Named,
    measured: Measured,
    output_error: float,
    most: int,
) -> Iterator[Comparison]:
    """Central differences along one random direction in each of ``most`` blocks, at three widths.

    They are few because each costs six passes; the cases are many. Richardson's extrapolation gives two estimates;
    their distance, and that to the plain difference, bound the error of truncation. The tolerance also contains the
    rounding of the outputs, which the extrapolation multiplies by 12 at most (2/3 (8 * 2 + 2)), and the tolerance of
    the gradient itself. A block that is lost in the rounding of the sum proves nothing, and neither does one in which
    the function has a kink. A kink at the centre adds the same amount to each difference and to each bend; the bends
    without their second and fourth powers show how much, so that the tolerance covers a kink that cannot be
    distinguished from curvature. The kinks of an unknown cell are unknown: a shorter step follows where a long one
    proves nothing. Before such a cell fails, the gradients along the way are added up instead; if these leave it open,
    a shorter step follows, too.
    """
    objective, eps = slope.objective, FORMATS[trial.case.dtype].eps
    centre, size = objective(trial.case)
    rounding = FACTOR * output_error + 4 * eps * size

    def compared(name: str, label: str, direction: Array, most: float) -> tuple[Comparison, bool] | None:
        """The comparison, and whether it passes where the plain difference fails."""
        rise = abs(float(np.sum(gradients[name].astype(np.float64) * direction)))
        step = _smooth_step(trial, name, direction, min(most, _balanced(12 * rounding, 2 * rise)))
        if not step:
            return None
        wide, middle, narrow = (
            _difference(trial.case, objective, gradients, name, step / k * direction, centre) for k in (1, 2, 4)
        )
        if abs(narrow.bend) > abs(wide.bend) / 8 + 4 * rounding:  # of a smooth function it is a 16th
            return None
        first, second = (8 * middle.measured - wide.measured) / 3, 2 * (8 * narrow.measured - middle.measured) / 3
        predicted = 2 * (8 * narrow.predicted - middle.predicted) / 3
        truncation = abs(second - first) + abs(second - 4 * narrow.measured) / 4
        gradient_error = 2 * step * float((np.abs(direction) * measured.spread.get(name, 0)).sum())
        slack = allowed(gradient_error, abs(predicted), trial.case.format, direction.size)
        slack += 4 * truncation + abs(64 * narrow.bend - 20 * middle.bend + wide.bend) / 7 + 12 * rounding
        if not np.isfinite(slack) or slack >= 0.1 * max(abs(predicted), abs(second)):
            return None
        found = Comparison.of_numbers(label, predicted, second, slack)
        if found.margin > 1 and isinstance(trial.case.cell, CustomCell):
            along = _across_kinks(trial.case, slope, name, step * direction, found)
            return along, along.margin <= 1
        return found, False

    for name, label, direction in _directions(trial, gradients, most):
        said = list[tuple[Comparison, bool]]()
        for reach in _reaches(trial, name, direction, gradients, measured):
            if found := compared(name, label, direction, reach):
                said.append(found)
            if said and not said[-1][1]:
                break
        if said:
            yield said[-1][0]


_PIECES = 32  # into which the way from one end of a difference to the other is cut
_ALIKE = 4.0  # times the median bend of a way: if no bend is larger, the gradient jumps nowhere by more than that


def _across_kinks(case: Case, slope: Slope, name: str, change: Array, found: Comparison) -> Comparison:
    """f(w + change) - f(w - change) is the integral of the gradient from one end to the other, across kinks, too.

    Pieces and pieces of twice the length give Simpson's rule from the trapezoidal rule. Where all bends of the gradient
    are alike, its error is less than the distance of the two, of the order of the square of a piece; this includes
    jumps that are no larger than such a bend. Where they are not, there are kinks, and the gradient may jump at either
    side of another jump: then the trapezoidal rule errs in each piece by less than its length times the difference of
    the gradients at its ends, and the tolerance is twice that. The rest is as in the comparison ``found``.
    """
    cases = [_moved(case, name, k * change) for k in np.linspace(-1, 1, _PIECES + 1)]
    (below, _), (above, _) = (slope.objective(cases[end]) for end in (0, -1))
    places = np.stack([case_arrays(c)[name].astype(np.float64) for c in cases])
    gradients = np.stack([slope.gradients(c)[name].astype(np.float64) for c in cases])

    def along(slopes: Array, every: int) -> Array:
        """Slopes along each of the pieces of ``every`` times the length, times their length."""
        products = slopes * (places[every::every] - places[:-every:every])
        found: Array = products.reshape(len(products), -1).sum(axis=1)
        return found

    fine = along((gradients[1:] + gradients[:-1]) / 2, 1)
    coarse = along((gradients[2::2] + gradients[:-2:2]) / 2, 2)
    rises = along(gradients[1:] - gradients[:-1], 1)
    bends = np.abs(np.diff(rises))
    if bends.max() <= _ALIKE * np.median(bends):
        pairs = fine.reshape(-1, 2).sum(axis=1)
        integral, error = (4 * pairs - coarse).sum() / 3, 8 / 3 * np.abs(pairs - coarse).sum()
    else:
        integral, error = fine.sum(), 2 * np.abs(rises).sum()
    return Comparison.of_numbers(found.block, float(integral), above - below, found.tolerance + float(error))


_WIDEST = 0.25  # of an array's largest number: beyond it a difference says little of the derivative


def _balanced(rounding: float, difference: float) -> float:
    """The step at which the rounding in a difference equals the fourth power of the step, to which the error after
    Richardson's extrapolation is proportional. difference: for a step of 1, by the gradient."""
    return float((rounding / difference) ** 0.2) if difference > 0 else _WIDEST


def _reaches(trial: Trial, name: str, direction: Array, gradients: Named, measured: Measured) -> Iterator[float]:
    """The step up to which the gradient of a block changes by no more than itself.

    Rounding differs in each of T steps, so it adds up to the root of T where a change of the array adds up to T. Only
    the numbers that move count: a block that is small next to others of its array may change faster than they do. An
    unknown cell may have kinks anywhere: few of them lie within the second, short step.
    """
    yield min(_WIDEST, doubling(trial, name, gradients, measured, direction != 0) / math.sqrt(trial.case.T))
    if isinstance(trial.case.cell, CustomCell):
        short = float(FORMATS[trial.case.dtype].eps ** 0.2)
        yield min(short, HARDLY * doubling(trial, name, gradients, measured))


def _smooth_step(trial: Trial, name: str, direction: Array, most: float) -> float:
    """The step, or a quarter of it and so on, within which no ReLU changes its side; 0 if there is none near."""
    for step in (most, most / 4, most / 16, most / 64):
        above, below = (sides_of_kinks(_moved(trial.case, name, sign * step * direction)) for sign in (1, -1))
        if np.array_equal(above, below):
            return step
    return 0.0


def _directions(trial: Trial, gradients: Named, most: int) -> list[tuple[str, str, Array]]:
    """A random direction inside each of a few blocks, drawn anew for each case: array, block, direction.

    In a large problem most of the numbers move with their gradient: at random they would cancel, and the rest would be
    lost in the rounding of the sum.
    """
    found = []
    for name, array in case_arrays(trial.case).items():
        if name in gradients and not meant_to_differ(trial.case, name):
            size = min(1.0, float(np.abs(array).max(initial=0)) + 2**-10)
            signs = trial.rng.choice([-1.0, 1.0], array.shape)
            if trial.large:
                signs = np.where(trial.rng.random(array.shape) < 3 / 4, np.sign(gradients[name]), signs)
            signs *= np.minimum(size, 2 * room(domain_of(trial.case, name), array))  # a step is a quarter at most
            for k, (label, part) in enumerate(blocks(trial.case, name, signs)):
                direction = np.zeros_like(signs)
                list(blocks(trial.case, name, direction))[k][1][...] = part
                found.append((name, label, direction))
    chosen = trial.rng.permutation(len(found))[:most]
    return [found[k] for k in chosen]


class _Difference(NamedTuple):
    """measured: f(w + change) - f(w - change). predicted: the same by the gradient. bend: f(w + change) - 2 f(w) +
    f(w - change)."""

    measured: float
    predicted: float
    bend: float


def _difference(
    case: Case,
    objective: Callable[[Case], tuple[float, float]],
    gradients: Named,
    name: str,
    change: Array,
    centre: float,
) -> _Difference:
    plus, minus = _moved(case, name, change), _moved(case, name, -change)
    (above, _), (below, _) = objective(plus), objective(minus)
    actual = np.subtract(case_arrays(plus)[name], case_arrays(minus)[name], dtype=np.float64)
    predicted = float(np.sum(gradients[name].astype(np.float64) * actual))
    return _Difference(above - below, predicted, above - 2 * centre + below)


def _moved(case: Case, name: str, change: Array) -> Case:
    return with_arrays(case, lambda n, a: put_inside(case, name, a + change) if n == name else a)


HARDLY = 0.02  # of the step that doubles a gradient: within it the gradient hardly changes


def doubling(trial: Trial, name: str, gradients: Named, measured: Measured, moved: Array | bool = True) -> float:
    """The step that changes a gradient by as much as itself: its response to rounding predicts its response to a step.

    For a gradient that the implementation leaves at zero the reference gives the size, if it knows the cell. If not, a
    zero shows nothing, and any step is allowed. moved: a mask of the array's shape, for the numbers that move.
    """

    def largest(found: Named) -> float:
        return float(np.abs(found[name]).max(initial=0, where=moved)) if name in found else 0.0

    scale, size = largest(measured.spread), max(largest(gradients), largest(measured.values))
    return FORMATS[trial.case.dtype].eps * size / scale if scale and size else np.inf
