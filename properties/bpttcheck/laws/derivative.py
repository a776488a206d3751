"""The pullback is the derivative of the subject's own forward pass. No reference takes part."""

from collections.abc import Callable, Iterator

import numpy as np

from bpttcheck.blocks import Named, blocks, case_arrays, named
from bpttcheck.cases import sides_of_kinks, with_arrays
from bpttcheck.contract import Case, ForwardMode, Gradients, OneShot, Outputs
from bpttcheck.laws.law import Law, gradients
from bpttcheck.tolerance import FACTOR, allowed
from bpttcheck.trial import AdapterError, Comparison, Trial
from bpttref.arrays import Array


def _own_forward(trial: Trial) -> Iterator[Comparison]:
    def objective(case: Case) -> tuple[float, float]:
        """``<cotangents, outputs>`` in float64, and the sum of the magnitudes of its terms."""
        outputs = named(trial.vjp(case)[0])
        terms = [np.multiply(c, outputs[n], dtype=np.float64) for n, c in cotangents.items() if n in outputs]
        return float(sum(t.sum() for t in terms)), float(sum(np.abs(t).sum() for t in terms))

    cotangents, spread = named(trial.cotangents), trial.measured.spread
    output_error = sum(float((np.abs(c) * spread[n]).sum()) for n, c in cotangents.items() if n in spread)
    return _differences(trial, objective, trial.gradients, spread, output_error, 6)


def _own_loss(trial: Trial) -> Iterator[Comparison]:
    def objective(case: Case) -> tuple[float, float]:
        loss = float(trial.loss_and_gradients(case)["loss"])
        return loss, abs(loss)

    spread = trial.scored_measured.spread
    return _differences(trial, objective, trial.scored, spread, float(spread["loss"]), 2)


def _differences(
    trial: Trial,
    objective: Callable[[Case], tuple[float, float]],
    gradients: Named,
    spread: Named,
    output_error: float,
    most: int,
) -> Iterator[Comparison]:
    """Central differences along one random direction in each of ``most`` blocks, at three widths.

    They are few since each costs six passes; the cases are many.

    Richardson's extrapolation gives two estimates; their distance, and that to the plain difference, bound the error
    of truncation. To it come the rounding of the outputs and the error allowed to the gradient itself. A block that
    drowns in the sum proves nothing.
    """
    eps = float(np.finfo(trial.case.dtype).eps)
    step = eps**0.2  # truncation of order step^4 against rounding of order eps / step
    for name, label, direction in _directions(trial, gradients, most):
        above, below = (sides_of_kinks(_moved(trial.case, name, sign * step * direction)) for sign in (1, -1))
        if not np.array_equal(above, below):
            continue
        wide, middle, narrow = (
            _difference(trial.case, objective, gradients, name, step / k * direction) for k in (1, 2, 4)
        )
        first, second = (8 * middle - wide) / 3, 2 * (8 * narrow - middle) / 3
        measured, predicted, magnitude = second
        truncation = abs(second[0] - first[0]) + abs(second[0] - 4 * narrow[0]) / 4
        gradient_error = 2 * step * float((np.abs(direction) * spread.get(name, np.zeros(1))).sum())
        slack = allowed(gradient_error, abs(predicted), trial.case.dtype, direction.size)
        slack += 4 * truncation + 12 * (FACTOR * output_error + 4 * eps * magnitude)
        if np.isfinite(slack) and slack < 0.1 * max(abs(predicted), abs(measured)):
            yield Comparison(label, abs(measured - predicted), slack)


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


def _difference(
    case: Case, objective: Callable[[Case], tuple[float, float]], gradients: Named, name: str, change: Array
) -> Array:
    """The objective's change between ``w + change`` and ``w - change``, what the gradient says it is, and the
    magnitude of the terms: three numbers."""
    plus, minus = _moved(case, name, change), _moved(case, name, -change)
    (above, size), (below, _) = objective(plus), objective(minus)
    actual = np.subtract(case_arrays(plus)[name], case_arrays(minus)[name], dtype=np.float64)
    return np.array([above - below, np.sum(gradients[name].astype(np.float64) * actual), size])


def _moved(case: Case, name: str, change: Array) -> Case:
    return with_arrays(case, lambda n, a: (a + change).astype(a.dtype) if n == name else a)


def _duality(trial: Trial) -> Iterator[Comparison]:
    assert isinstance(trial.subject, ForwardMode)
    tangents: Named = {}

    def draw(name: str, array: Array) -> Array:
        tangents[name] = trial.rng.standard_normal(array.shape).astype(array.dtype)
        return tangents[name]

    moved = with_arrays(trial.case, draw)
    x = moved.x if "x" in tangents else None
    try:
        pushed: Outputs = trial.subject.jvp(trial.case, Gradients(x, moved.parameters, moved.initial))
    except Exception as error:
        raise AdapterError(f"jvp raised {type(error).__name__}: {error}") from error
    forward = [(c, p) for n, p in named(pushed).items() if (c := named(trial.cotangents).get(n)) is not None]
    left = sum(float(np.multiply(c, p, dtype=np.float64).sum()) for c, p in forward)
    size = sum(float(np.abs(np.multiply(c, p, dtype=np.float64)).sum()) for c, p in forward)
    right = sum(
        float(np.multiply(g, tangents[n], dtype=np.float64).sum()) for n, g in trial.gradients.items() if n in tangents
    )
    spread = sum(
        float((np.abs(v) * trial.measured.spread[n]).sum()) for n, v in tangents.items() if n in trial.measured.spread
    )
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
        (gradients,),
        door=ForwardMode,
    ),
    Law(
        "own-loss-derivative",
        "The gradients are those of the loss that the subject reports, by central differences.",
        "<dL, v> = d/de L(w + e v) at e = 0",
        "Richardson's extrapolation of central differences",
        _own_loss,
        (gradients,),
        door=OneShot,
    ),
)
