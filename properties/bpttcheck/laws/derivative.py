"""The pullback is the derivative of the subject's own forward pass. No reference takes part."""

from collections.abc import Iterator

import numpy as np

from bpttcheck.blocks import Named, blocks, case_arrays, named
from bpttcheck.cases import near_kink, with_arrays
from bpttcheck.contract import Case, ForwardMode, Gradients, Outputs
from bpttcheck.laws.law import Law, gradients, pushforward
from bpttcheck.tolerance import FACTOR, allowed
from bpttcheck.trial import AdapterError, Comparison, Trial
from bpttref.arrays import Array

_DIRECTIONS = 6  # per case: differences cost six forward passes each, and the cases are many


def _objective(trial: Trial, case: Case) -> tuple[float, float]:
    """``<cotangents, outputs>`` of the subject in float64, and the sum of the magnitudes of its terms."""
    outputs = named(trial.vjp(case)[0])
    terms = [np.multiply(c, outputs[n], dtype=np.float64) for n, c in named(trial.cotangents).items() if n in outputs]
    return float(sum(t.sum() for t in terms)), float(sum(np.abs(t).sum() for t in terms))


def _own_forward(trial: Trial) -> Iterator[Comparison]:
    """Central differences along one random direction in each of a few blocks, at three widths.

    Richardson's extrapolation gives two estimates; their distance, and that to the plain difference, bound the error
    of truncation. To it come the rounding of the outputs and the error allowed to the gradient itself. A block that
    drowns in the sum proves nothing.
    """
    eps = float(np.finfo(trial.case.dtype).eps)
    step = eps**0.2  # truncation of order step^4 against rounding of order eps / step
    if near_kink(trial.case, 16 * step):
        return
    cotangents, spread = named(trial.cotangents), trial.measured.spread
    output_error = sum(float((np.abs(c) * spread[n]).sum()) for n, c in cotangents.items() if n in spread)
    for name, label, direction in _directions(trial):
        wide, middle, narrow = (_difference(trial, name, step / k * direction) for k in (1, 2, 4))
        first, second = (8 * middle - wide) / 3, 2 * (8 * narrow - middle) / 3
        measured, predicted, magnitude = second
        truncation = abs(second[0] - first[0]) + abs(second[0] - 4 * narrow[0]) / 4
        gradient_error = 2 * step * float((np.abs(direction) * spread.get(name, np.zeros(1))).sum())
        slack = allowed(gradient_error, abs(predicted), trial.case.dtype, direction.size)
        slack += 4 * truncation + 12 * (FACTOR * output_error + 4 * eps * magnitude)
        if np.isfinite(slack) and slack < 0.1 * max(abs(predicted), abs(measured)):
            yield Comparison(label, abs(measured - predicted), slack)


def _directions(trial: Trial) -> list[tuple[str, str, Array]]:
    """A random direction inside each of a few blocks, drawn anew for each case: array, block, direction."""
    found = []
    for name, array in case_arrays(trial.case).items():
        if name in trial.gradients and array.dtype.kind == "f":
            size = min(1.0, float(np.abs(array).max(initial=0)) + 2**-10)
            signs = trial.rng.choice([-size, size], array.shape)
            for k, (label, part) in enumerate(blocks(trial.case, name, signs)):
                direction = np.zeros_like(signs)
                list(blocks(trial.case, name, direction))[k][1][...] = part
                found.append((name, label, direction))
    chosen = trial.rng.permutation(len(found))[:_DIRECTIONS]
    return [found[k] for k in chosen]


def _difference(trial: Trial, name: str, change: Array) -> Array:
    """The objective's change between ``w + change`` and ``w - change``, what the gradient says it is, and the
    magnitude of the terms: three numbers."""

    def moved(sign: int) -> Case:
        return with_arrays(trial.case, lambda n, a: (a + sign * change).astype(a.dtype) if n == name else a)

    plus, minus = moved(1), moved(-1)
    (above, size), (below, _) = _objective(trial, plus), _objective(trial, minus)
    actual = np.subtract(case_arrays(plus)[name], case_arrays(minus)[name], dtype=np.float64)
    return np.array([above - below, np.sum(trial.gradients[name].astype(np.float64) * actual), size])


def _duality(trial: Trial) -> Iterator[Comparison]:
    assert isinstance(trial.subject, ForwardMode)
    tangents: Named = {}

    def draw(name: str, array: Array) -> Array:
        tangents[name] = trial.rng.standard_normal(array.shape).astype(array.dtype)
        return tangents[name]

    moved = with_arrays(trial.case, draw)
    try:
        pushed: Outputs = trial.subject.jvp(trial.case, Gradients(moved.x, moved.parameters, moved.initial))
    except Exception as error:
        raise AdapterError(f"jvp raised {type(error).__name__}: {error}") from error
    forward = [(c, p) for n, p in named(pushed).items() if (c := named(trial.cotangents).get(n)) is not None]
    left = sum(float(np.multiply(c, p, dtype=np.float64).sum()) for c, p in forward)
    size = sum(float(np.abs(np.multiply(c, p, dtype=np.float64)).sum()) for c, p in forward)
    right = sum(float(np.multiply(g, tangents[n], dtype=np.float64).sum()) for n, g in trial.gradients.items())
    spread = sum(float((np.abs(v) * trial.measured.spread[n]).sum()) for n, v in tangents.items())
    yield Comparison("<u, Jv> = <J'u, v>", abs(left - right), allowed(spread, size, trial.case.dtype, len(tangents)))


LAWS = (
    Law(
        "own-forward-derivative",
        "The pullback is the derivative of the subject's own forward pass, by central differences.",
        "<J'u, v> = d/de <u, f(w + e v)> at e = 0",
        "Richardson's extrapolation of central differences",
        _own_forward,
        (gradients,),
    ),
    Law(
        "forward-mode-duality",
        "Pushforward and pullback are transposes of each other.",
        "<u, J v> = <J' u, v>",
        "Griewank and Walther, Evaluating Derivatives, ch. 3",
        _duality,
        (gradients, pushforward),
    ),
)
