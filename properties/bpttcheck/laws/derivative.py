"""The pullback is the derivative of the subject's own forward pass. The reference lends scales of error, no value."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from bpttcheck.cases.blocks import Named, blocks, case_arrays, named
from bpttcheck.cases.changes import with_arrays
from bpttcheck.cases.kinks import sides_of_kinks
from bpttcheck.contract import Case, CustomCell, ForwardMode, Gradients, OneShot
from bpttcheck.dtypes import FORMATS, rounded
from bpttcheck.laws.law import NO_REFERENCE, Law, fine_format, float64, gradients, smooth_cell
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.tolerance import FACTOR, Measured, allowed, in_range
from bpttcheck.measuring.trial import Trial
from bpttref.arrays import Array


def _own_forward(trial: Trial) -> Iterator[Comparison]:
    def objective(case: Case) -> tuple[float, float]:
        """``<cotangents, outputs>`` in float64, and the sum of the magnitudes of its terms."""
        outputs = named(trial.run(case)[0])
        terms = [np.multiply(c, outputs[n], dtype=np.float64) for n, c in cotangents.items() if n in outputs]
        return float(sum(t.sum() for t in terms)), float(sum(np.abs(t).sum() for t in terms))

    cotangents, spread = named(trial.cotangents), trial.measured.spread
    output_error = sum(float((np.abs(c) * spread[n]).sum()) for n, c in cotangents.items() if n in spread)
    return _differences(trial, objective, trial.gradients, trial.measured, output_error, 3)


def _own_loss(trial: Trial) -> Iterator[Comparison]:
    def objective(case: Case) -> tuple[float, float]:
        loss = float(trial.score(case)["loss"])
        return loss, abs(loss)

    measured = trial.scored_measured
    return _differences(trial, objective, trial.scored, measured, float(measured.spread["loss"]), 1)


def _differences(
    trial: Trial,
    objective: Callable[[Case], tuple[float, float]],
    gradients: Named,
    measured: Measured,
    output_error: float,
    most: int,
) -> Iterator[Comparison]:
    """Central differences along one random direction in each of ``most`` blocks, at three widths.

    They are few since each costs six passes; the cases are many. Richardson's extrapolation gives two estimates; their
    distance, and that to the plain difference, bound the error of truncation. To it come the rounding of the outputs,
    which the extrapolation multiplies by 12 at most (2/3 (8 * 2 + 2)), and the error allowed to the gradient itself. A
    block that drowns in the sum proves nothing, and so does one in which the function has a kink. One at the centre
    adds to each difference and to each bend alike; what is left of the bends without their second and fourth powers
    says how much, so that a kink that is too small to be told from curvature is allowed for.
    """
    eps = FORMATS[trial.case.dtype].eps
    centre, magnitude = objective(trial.case)
    rounding = FACTOR * output_error + 4 * eps * magnitude
    for name, label, direction in _directions(trial, gradients, most):
        own_spread = measured.spread.get(name, np.zeros(1))
        slope = abs(float(np.sum(gradients[name].astype(np.float64) * direction)))
        step = _smooth_step(trial, name, direction, min(_reach(trial, name, direction, gradients, measured),
                                                        _balanced(12 * rounding, 2 * slope)))  # fmt: skip
        if not step:
            continue
        wide, middle, narrow = (
            _difference(trial.case, objective, gradients, name, step / k * direction, centre) for k in (1, 2, 4)
        )
        if abs(narrow.bend) > abs(wide.bend) / 8 + 4 * rounding:  # of a smooth function it is a 16th
            continue
        first, second = (8 * middle.measured - wide.measured) / 3, 2 * (8 * narrow.measured - middle.measured) / 3
        predicted = 2 * (8 * narrow.predicted - middle.predicted) / 3
        truncation = abs(second - first) + abs(second - 4 * narrow.measured) / 4
        gradient_error = 2 * step * float((np.abs(direction) * own_spread).sum())
        slack = allowed(gradient_error, abs(predicted), trial.case.dtype, direction.size)
        kink = abs(64 * narrow.bend - 20 * middle.bend + wide.bend) / 7
        slack += 4 * truncation + kink + 12 * rounding
        if np.isfinite(slack) and slack < 0.1 * max(abs(predicted), abs(second)):
            yield Comparison(label, abs(second - predicted), slack)


_WIDEST = 0.25  # of an array's largest number: beyond it a difference says little of the derivative


def _balanced(rounding: float, difference: float) -> float:
    """The step at which what rounding adds to a difference is as much as the fourth power of the step, to which the
    error that Richardson's extrapolation leaves is proportional. difference: that of a step of 1, by the gradient."""
    return float((rounding / difference) ** 0.2) if difference > 0 else _WIDEST


def _reach(trial: Trial, name: str, direction: Array, gradients: Named, measured: Measured) -> float:
    """The step up to which the gradient of a block changes by no more than itself.

    How it answers to rounding says how to a step. But rounding is another in each of T steps, so that it adds up to the
    root of T where a change of the array adds up to T. The numbers that move count alone: a block that has vanished
    beside others of its array may change faster than they do. A cell that nobody knows may have kinks anywhere, and
    there the step is short, so that few of them lie within it.
    """
    if isinstance(trial.case.cell, CustomCell):
        return min(float(FORMATS[trial.case.dtype].eps ** 0.2), _steady(trial, name, gradients, measured))
    moved = direction != 0
    scale = float(measured.spread[name][moved].max(initial=0)) if name in measured.spread else 0.0
    own = (np.abs(array[moved]) for array in (gradients[name], measured.values.get(name, np.zeros_like(direction))))
    size = max(float(array.max(initial=0)) for array in own)  # the subject may leave at zero what is not
    least = FORMATS[trial.case.dtype].eps * size / len(trial.case.x) ** 0.5
    return min(_WIDEST, least / scale) if scale else _WIDEST


def _smooth_step(trial: Trial, name: str, direction: Array, most: float) -> float:
    """The step, or a quarter of it and so on, within which no ReLU changes its side; 0 if there is none near."""
    for step in (most, most / 4, most / 16, most / 64):
        above, below = (sides_of_kinks(_moved(trial.case, name, sign * step * direction)) for sign in (1, -1))
        if np.array_equal(above, below):
            return step
    return 0.0


def _directions(trial: Trial, gradients: Named, most: int) -> list[tuple[str, str, Array]]:
    """A random direction inside each of a few blocks, drawn anew for each case: array, block, direction."""
    found = []
    for name, array in case_arrays(trial.case).items():
        if name in gradients:
            size = min(1.0, float(np.abs(array).max(initial=0)) + 2**-10)
            signs = trial.rng.choice([-size, size], array.shape)
            for k, (label, part) in enumerate(blocks(trial.case, name, signs)):
                direction = np.zeros_like(signs)
                list(blocks(trial.case, name, direction))[k][1][...] = part
                found.append((name, label, direction))
    chosen = trial.rng.permutation(len(found))[:most]
    return [found[k] for k in chosen]


class _Difference(NamedTuple):
    """measured: f(w + change) - f(w - change). predicted: what the gradient says it is. bend: f(w + change) - 2 f(w) +
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
    return with_arrays(case, lambda n, a: rounded(a + change, case.dtype) if n == name else a)


def _remainder(trial: Trial) -> Iterator[Comparison]:
    """What is left of f(w + e v) - f(w) once e <g, v> is taken away, v along all arrays at once: at a small e it is
    less than 4 times what a square law predicts from three larger ones. With a wrong gradient it falls like e, and
    is 2^6 times that. The larger ones stay where the gradient hardly changes.
    """
    tangents: Named = {}

    def direction(name: str, array: Array) -> Array:
        if name in trial.gradients:
            tangents[name] = trial.rng.choice([-0.5, 0.5], array.shape) * min(1.0, float(np.abs(array).max(initial=0)))
        return array

    with_arrays(trial.case, direction)
    spread = trial.measured.spread

    def remainder(e: float) -> tuple[float, float, float]:
        """The remainder, the linear term, and the rounding of both."""
        case = with_arrays(trial.case, lambda n, a: a + e * tangents[n] if n in tangents else a)
        after, moves = named(trial.run(case)[0]), case_arrays(case)
        change = {n: moves[n] - a for n, a in case_arrays(trial.case).items() if n in tangents}
        linear = {n: trial.gradients[n] * v for n, v in change.items()}
        terms = [c * (after[n] - trial.outputs[n]) for n, c in named(trial.cotangents).items() if n in after]
        moved, predicted = (float(sum(a.sum() for a in arrays)) for arrays in (terms, linear.values()))
        rounding = sum(float((np.abs(c) * spread[n]).sum()) for n, c in named(trial.cotangents).items())
        rounding += sum(float((np.abs(v) * spread[n]).sum()) for n, v in change.items())
        size = sum(float(np.abs(a).sum()) for a in (*terms, *linear.values()))
        return abs(moved - predicted), abs(predicted), FACTOR * rounding + 64 * float(np.finfo(float).eps) * size

    e = min(2.0**-6, *(_steady(trial, name, trial.gradients, trial.measured) for name in tangents))
    small, linear, rounding = remainder(e / 2**8)
    larger = max(remainder(e / 2**k)[0] * 4.0 ** (k - 8) for k in (0, 1, 2))
    tolerance = 4 * larger + rounding
    if np.isfinite(tolerance) and tolerance < max(linear, small) / 4:
        yield Comparison("f(w + e v) - f(w) - e <g, v>", small, tolerance)


def _steady(trial: Trial, name: str, gradients: Named, measured: Measured) -> float:
    """A relative step within which a gradient hardly changes: how it answers to rounding says how to a step.

    A gradient that the subject leaves at zero is as large as the reference says, if that knows the cell.
    """
    scale = float(measured.spread.get(name, np.zeros(1)).max(initial=0))
    known = measured.values.get(name, np.zeros(1))
    size = max(float(np.abs(gradients[name]).max(initial=0)), float(np.abs(known).max(initial=0)))
    return 0.02 * FORMATS[trial.case.dtype].eps * size / scale if scale else 1.0


def _duality(trial: Trial) -> Iterator[Comparison]:
    tangents: Named = {}

    def draw(name: str, array: Array) -> Array:
        """Nothing moves of which there is no gradient."""
        drawn = trial.rng.standard_normal(array.shape) * (name in trial.gradients)
        tangents[name] = rounded(drawn, trial.case.dtype)
        return tangents[name]

    def terms(a: Named, b: Named) -> list[Array]:
        return [np.multiply(a[name], b[name], dtype=np.float64) for name in a if name in b]

    moved = with_arrays(trial.case, draw)
    pushed = trial.calls.push(
        trial.case, Gradients(moved.x if "x" in tangents else None, moved.parameters, moved.initial)
    )
    forward, backward = terms(named(trial.cotangents), named(pushed)), terms(tangents, trial.gradients)
    left, right = (float(sum(a.sum() for a in products)) for products in (forward, backward))
    size = float(sum(np.abs(a).sum() for a in (*forward, *backward)))
    spread = float(sum(np.abs(a).sum() for a in terms(tangents, trial.measured.spread)))
    if in_range(size, spread, trial.case.dtype):
        tolerance = allowed(spread, size, trial.case.dtype, len(tangents))
        yield Comparison("<u, Jv> = <J'u, v>", abs(left - right), tolerance, alive=abs(left) > tolerance)


LAWS = (
    Law(
        "own-forward-derivative",
        "The pullback is the derivative of the subject's own forward pass, by central differences.",
        "<J'u, v> = d/de <u, f(w + e v)> at e = 0",
        "Richardson's extrapolation of central differences",
        _own_forward,
        (gradients, fine_format),
        kept=NO_REFERENCE,
    ),
    Law(
        "taylor-remainder",
        "What the gradient leaves of a change of all arrays at once falls like the square of that change.",
        "f(w + e v) - f(w) - e <g, v> = O(e^2)",
        "Taylor's theorem; no step size and no difference quotient takes part",
        _remainder,
        (gradients, smooth_cell, float64),
        kept="as own-forward-derivative, but it chooses no step, and all arrays move at once",
    ),
    Law(
        "forward-mode-duality",
        "Pushforward and pullback are transposes of each other.",
        "<u, J v> = <J' u, v>",
        "Griewank and Walther, Evaluating Derivatives, ch. 3",
        _duality,
        (gradients,),
        door=ForwardMode,
    ),
    Law(
        "own-loss-derivative",
        "The gradients are those of the loss that the subject reports, by central differences.",
        "<dL, v> = d/de L(w + e v) at e = 0",
        "Richardson's extrapolation of central differences",
        _own_loss,
        (gradients, fine_format),
        door=OneShot,
        kept=NO_REFERENCE,
    ),
)
