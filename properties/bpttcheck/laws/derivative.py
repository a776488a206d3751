"""The pullback is the derivative of the implementation's own forward pass. The reference gives only scales of error."""

import math
from collections.abc import Iterator

import numpy as np

from bpttcheck.cases.blocks import Named, case_arrays, named, nested, streams
from bpttcheck.cases.changes import domain_of, meant_to_differ, put_inside, with_arrays, zero_where
from bpttcheck.contract import Case, Cotangents, CustomCell, ForwardMode, Gradients, OneShot
from bpttcheck.custom_cell import room
from bpttcheck.dtypes import rounded
from bpttcheck.laws.differences import HARDLY, Slope, differences, doubling
from bpttcheck.laws.law import NO_REFERENCE, Law, fine_format, float64, gradients, smooth_cell
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.tolerance import FACTOR, allowed, in_range
from bpttcheck.measuring.trial import Trial
from bpttref.arrays import Array


def _own_forward(trial: Trial) -> Iterator[Comparison]:
    def objective(case: Case) -> tuple[float, float]:
        """``<cotangents, outputs>`` in float64, and the root of the sum of the squares of its terms."""
        outputs = named(trial.run(case)[0])
        terms = [np.multiply(c, outputs[n], dtype=np.float64) for n, c in cotangents.items() if n in outputs]
        return float(sum(t.sum() for t in terms)), math.sqrt(sum(float(np.vdot(t, t)) for t in terms))

    own = _of_own_forward(trial)
    cotangents, output_error = named(own.cotangents), own.error_of_product()
    slope = Slope(objective, lambda case: trial.gradients_of(case, own.cotangents))
    return differences(trial, slope, own.gradients, own.measured, output_error, 1 if trial.large else 3)


def _of_own_forward(trial: Trial) -> Trial:
    """The `Trial`, without cotangents of states for which the pullback is meant to differ from the derivatives."""
    cell, final = trial.case.cell, trial.cotangents.final
    if not isinstance(cell, CustomCell) or final is None or not {*cell.surrogate} & final[0][0].keys():
        return trial
    return trial.beside(trial.case, Cotangents(trial.cotangents.y, zero_where(final, cell.surrogate)))


def _own_loss(trial: Trial) -> Iterator[Comparison]:
    def objective(case: Case) -> tuple[float, float]:
        loss = float(trial.score(case)["loss"])
        return loss, abs(loss)

    measured = trial.scored_measured
    slope = Slope(objective, trial.score)
    return differences(trial, slope, trial.scored, measured, float(measured.spread["loss"]), 1)


def _remainder(trial: Trial) -> Iterator[Comparison]:
    """The remainder f(w + e v) - f(w) - e <g, v>, v along all arrays at once: at a small e it is less than 4 times the
    value that a square law predicts from three larger e. With an incorrect gradient it falls like e, and is 2^6 times
    this value. The larger e stay where the gradient hardly changes. An array whose domain is a function does not move:
    at an edge it would not move along v.
    """
    tangents: Named = {}
    trial = _of_own_forward(trial)

    def direction(name: str, array: Array) -> Array:
        domain = domain_of(trial.case, name)
        moves = domain is complex or not callable(domain)
        if moves and name in trial.gradients and not meant_to_differ(trial.case, name):
            tangents[name] = trial.rng.choice([-0.5, 0.5], array.shape) * np.minimum(
                min(1.0, float(np.abs(array).max(initial=0))), room(domain, array)
            )
        return array

    with_arrays(trial.case, direction)
    spread, eps = trial.measured.spread, float(np.finfo(float).eps)

    def remainder(e: float) -> tuple[float, float, float]:
        """The remainder, the linear term, and the rounding of both."""
        case = with_arrays(
            trial.case, lambda n, a: put_inside(trial.case, n, a + e * tangents[n]) if n in tangents else a
        )
        after, moves = named(trial.run(case)[0]), case_arrays(case)
        change = {n: moves[n] - a for n, a in case_arrays(trial.case).items() if n in tangents}
        linear = {n: trial.gradients[n] * v for n, v in change.items()}
        terms = [c * (after[n] - trial.outputs[n]) for n, c in named(trial.cotangents).items() if n in after]
        moved, predicted = (float(sum(a.sum() for a in arrays)) for arrays in (terms, linear.values()))
        rounding = sum(
            float((np.abs(c) * (spread[n] + eps / 2 * np.abs(trial.outputs[n]))).sum())  # each is rounded at least once
            for n, c in named(trial.cotangents).items()
        )
        rounding += sum(float((np.abs(v) * spread[n]).sum()) for n, v in change.items())
        size = sum(float(np.abs(a).sum()) for a in (*terms, *linear.values()))
        return abs(moved - predicted), abs(predicted), FACTOR * rounding + 64 * eps * size

    e = min([2.0**-6, *(HARDLY * doubling(trial, name, trial.gradients, trial.measured) for name in tangents)])
    small, linear, rounding = remainder(e / 2**8)
    larger = max(remainder(e / 2**k)[0] * 4.0 ** (k - 8) for k in (0, 1, 2))
    tolerance = 4 * larger + rounding
    if np.isfinite(tolerance) and tolerance < max(linear, small) / 4:
        yield Comparison("f(w + e v) - f(w) - e <g, v>", small, tolerance)


def _duality(trial: Trial) -> Iterator[Comparison]:
    tangents: Named = {}
    trial = _of_own_forward(trial)

    def draw(name: str, array: Array) -> Array:
        """Arrays without a gradient do not move."""
        moves = name in trial.gradients and not meant_to_differ(trial.case, name)
        drawn = trial.rng.standard_normal(array.shape) * moves
        tangents[name] = rounded(drawn, trial.case.dtype)
        return tangents[name]

    def terms(a: Named, b: Named) -> list[Array]:
        return [np.multiply(a[name], b[name], dtype=np.float64) for name in a if name in b]

    moved = with_arrays(trial.case, draw)
    inputs = {name: array for name, array in streams(moved.x).items() if name in tangents}
    given = Gradients(nested(inputs) if inputs else None, moved.parameters, moved.initial)
    pushed = trial.calls.push(trial.case, given)
    forward, backward = terms(named(trial.cotangents), named(pushed)), terms(tangents, trial.gradients)
    left, right = (float(sum(a.sum() for a in products)) for products in (forward, backward))
    size = float(sum(np.abs(a).sum() for a in (*forward, *backward)))
    spread = float(sum(np.abs(a).sum() for a in terms(tangents, trial.measured.spread)))
    if in_range(size, spread, trial.case.format):
        tolerance = allowed(spread, size, trial.case.format, len(tangents))
        yield Comparison.of_numbers("<u, Jv> = <J'u, v>", left, right, tolerance, abs(left) > tolerance)


LAWS = (
    Law(
        "own-forward-derivative",
        "The pullback is the derivative of the implementation's own forward pass, by central differences.",
        "<J'u, v> = d/de <u, f(w + e v)> at e = 0",
        "Richardson's extrapolation of central differences",
        _own_forward,
        (gradients, fine_format),
        of_own_forward=True,
        kept=NO_REFERENCE,
    ),
    Law(
        "taylor-remainder",
        "When all arrays change at once, the error of the gradient's prediction falls like the square of the change.",
        "f(w + e v) - f(w) - e <g, v> = O(e^2)",
        "Taylor's theorem; no step size and no difference quotient takes part",
        _remainder,
        (gradients, smooth_cell, float64),
        of_own_forward=True,
        kept="it needs no step size, unlike own-forward-derivative, and moves all arrays at once",
    ),
    Law(
        "forward-mode-duality",
        "Pushforward and pullback are transposes of each other.",
        "<u, J v> = <J' u, v>",
        "Griewank and Walther, Evaluating Derivatives, ch. 3",
        _duality,
        (gradients,),
        door=ForwardMode,
        of_own_forward=True,
    ),
    Law(
        "own-loss-derivative",
        "The gradients are the derivatives of the loss that the implementation returns, by central differences.",
        "<dL, v> = d/de L(w + e v) at e = 0",
        "Richardson's extrapolation of central differences",
        _own_loss,
        (gradients, fine_format),
        door=OneShot,
        of_own_forward=True,
        kept=NO_REFERENCE,
    ),
)
