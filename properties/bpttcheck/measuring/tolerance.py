"""How large an error may be: measured for each case, not chosen.

The reference runs in float64, and again several times with every operation perturbed at random by the unit roundoff
of the dtype under test (Monte-Carlo arithmetic; Parker, 1997). The largest deviation is the scale of legitimate
error for this case, and `FACTOR` times it is the tolerance.

Sums, products and inputs err in proportion to their size, tanh and sigmoid in proportion to 1: 2 / (1 + e^-2a) - 1, the
difference of two sigmoids or a quotient of exponentials are as right as a library's tanh, and the 1 in them rounds,
however small a is. That error travels on through the reference to where it matters; nothing is added to the results.

The perturbation is an array type. The reference computes in ufuncs, so it runs on `_Noisy` arrays unchanged.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from bpttcheck.cases.blocks import Named, case_arrays, digest, has_rows, has_steps, named
from bpttcheck.cases.changes import with_arrays
from bpttcheck.cases.kinks import at_kink, on_other_sides
from bpttcheck.contract import Case, Cotangents, CustomCell, Outputs, Pullback
from bpttcheck.dtypes import FORMATS, rounded
from bpttref import trees, vjp
from bpttref.arrays import Array
from bpttref.inputs import is_tokens

FACTOR = 16.0  # several times the largest ratio of error to scale that correct libraries showed
REPLICATES = 8
_ROUNDED = 5  # times that what goes into a black box is rounded
_COARSE = 32.0  # roundoffs of the largest number, by which these may err

_Run: TypeAlias = Callable[[Case, Cotangents], Named]
_EXACT = {np.negative, np.maximum, np.greater, np.greater_equal, np.less, np.equal, np.absolute}
_SUMS = {np.matmul, np.add, np.subtract}
_FROM_ONE = {np.tanh, np.reciprocal}  # the last is the sigmoid's last operation


@dataclass(frozen=True)
class Measured:
    """Values in float64 by name, and for each element the scale of legitimate error.

    ``values`` is empty where the true values are not known.
    """

    values: Named
    spread: Named


@cache
def _noise(dtype: str) -> tuple[Array, Array]:
    """Numbers between minus and plus the unit roundoff, and those numbers plus 1: drawn once, handed out in turn."""
    pool = FORMATS[dtype].eps * (2 * np.random.default_rng(1).random(2**17) - 1)
    return pool, 1 + pool


def _noisy_type(case: Case) -> type[Array]:
    """An array type whose every operation errs at random by the unit roundoff of the case's dtype."""
    pool, factors = _noise(case.dtype)
    used = digest(case.x) % len(pool)  # another noise for each case, the same on every run

    def taken(source: Array, shape: tuple[int, ...]) -> Array:
        nonlocal used
        size = math.prod(shape)
        if used + size > len(source):
            used = 0
        part = source[used : used + size] if size <= len(source) else np.resize(source, size)
        used += size
        return part.reshape(shape)

    def erring(operand: Any) -> Any:
        rounded = isinstance(operand, np.ndarray) and operand.dtype.kind == "f"
        return operand * taken(factors, operand.shape) if rounded else operand

    class _Noisy(np.ndarray):
        def __array_ufunc__(
            self, ufunc: np.ufunc, method: str, *inputs: Any, out: tuple[Any, ...] | None = None, **options: Any
        ) -> Any:
            plain = [i.view(np.ndarray) if isinstance(i, _Noisy) else i for i in inputs]
            if ufunc in _SUMS or method != "__call__":  # the error of a sum is relative to its terms, not to the sum
                plain = [erring(operand) for operand in plain]
            if out is not None:
                options["out"] = tuple(o.view(np.ndarray) for o in out)
            result = np.asarray(getattr(ufunc, method)(*plain, **options))
            if ufunc in _FROM_ONE:
                result += taken(pool, result.shape)
            elif ufunc not in _EXACT and ufunc not in _SUMS and result.dtype.kind == "f":
                result *= taken(factors, result.shape)
            return result.view(_Noisy)

    return _Noisy


def measure(
    case: Case, *cotangents: Cotangents, objective: bool = False, replicates: int = REPLICATES
) -> list[Measured]:
    """The reference's outputs and gradients in float64, with the scale of legitimate error in the case's dtype.

    One for each of the ``cotangents`` and, if asked for, one more for the case's objective, with its value as "loss".
    They share a forward and a backward pass as replicates.
    """
    problems = len(cotangents) + objective
    dy = _filled([c.y for c in cotangents])
    final = _filled([c.final for c in cotangents])

    def run(copies: int, kind: type[Array]) -> tuple[Named, Named]:
        """Results of all problems, one after the other on the axis of replicates, and those of the objective alone."""

        def together(arrays: Sequence[Array], axis: int) -> Array:
            last = [np.zeros_like(arrays[0])] * objective
            return np.repeat(np.stack([*arrays, *last], axis).astype(np.float64), copies, axis).view(kind)

        def states(*parts: Any) -> Any:
            if isinstance(parts[0], tuple):
                return tuple(states(*inner) for inner in zip(*parts, strict=True))
            return {name: together([part[name] for part in parts], 0) for name in parts[0]}

        outputs, pullback = _vjp(case, copies * problems, kind)
        given = together(dy, 1) if dy else None
        scored: Named = {}
        if objective:
            assert case.objective is not None and outputs.y is not None
            readout = {n: _copies(a, 0, copies, kind) for n, a in case.objective.readout.items()}
            evaluated = case.objective.with_readout(readout)(outputs.y[:, -copies:])
            scored = {"loss": np.asanyarray(evaluated.loss), **evaluated.readout}
            given = np.zeros_like(outputs.y) if given is None else given
            given[:, -copies:] = evaluated.dy
        gradients = pullback(Cotangents(given, states(*final) if final else None))
        if case.initial is None:
            gradients = gradients._replace(initial=None)
        return named(outputs) | named(gradients), scored

    with np.errstate(all="ignore"):
        (exact, exact_score), (noisy, noisy_score) = run(1, np.ndarray), run(replicates, _noisy_type(case))
    found = [_compared(exact, noisy, k, replicates) for k in range(problems)]
    if objective:
        score = _compared(exact_score, noisy_score, 0, replicates)
        found[-1] = Measured(found[-1].values | score.values, found[-1].spread | score.spread)
    return found


def measure_at_kinks(case: Case, *cotangents: Cotangents, objective: bool = False) -> list[Measured]:
    """`measure`, where a gradient that depends on the side of a kink may be that of any side: for each number of which
    that is so the scale of error is infinite, and the others are compared as ever."""
    found = measure(case, *cotangents, objective=objective)
    if not at_kink(case):
        return found
    others = on_other_sides(case, REPLICATES)
    sides = [measure(other, *cotangents, objective=objective, replicates=1) for other in others]
    for k, measured in enumerate(found):
        for name, value in measured.values.items():
            if name in ("y", "loss") or "final." in name:  # they are the same on all sides
                continue
            apart = np.max([np.abs(side[k].values[name] - value) for side in sides], axis=0)
            rounding = FACTOR * (measured.spread[name] + FORMATS[case.dtype].eps * np.abs(value))
            measured.spread[name] = np.where(apart > rounding, np.inf, measured.spread[name])
    return found


def _compared(exact: Named, noisy: Named, k: int, replicates: int) -> Measured:
    """The k-th problem's values, and how far the perturbed ones are from them."""
    values, spread = {}, {}
    for name, array in exact.items():
        axis = 1 if has_steps(name) else 0
        values[name] = array.take(k, axis)
        own = np.moveaxis(noisy[name].view(np.ndarray), axis, 0)[k * replicates : (k + 1) * replicates]
        spread[name] = np.abs(own - values[name]).max(axis=0, initial=0)
    return Measured(values, spread)


def _vjp(case: Case, copies: int, kind: type[Array]) -> tuple[Outputs, Pullback]:
    """The reference on replicates of a case, in float64 arrays of some type."""

    def states(tree: Any) -> Any:
        return tree and tuple(
            tuple({k: _copies(v, 0, copies, kind) for k, v in leaf.items()} for leaf in layer) for layer in tree
        )

    assert not isinstance(case.cell, CustomCell)
    x = case.x if is_tokens(case.x) else _copies(case.x, 1, copies, kind)
    return vjp(
        case.cell,
        states(case.parameters),
        x,
        states(case.initial),
        lengths=case.lengths,
        strategy=case.truncation,
    )


def _copies(array: Array, axis: int, copies: int, kind: type[Array]) -> Array:
    """``copies`` of an array, in float64, along a new axis."""
    return np.repeat(np.expand_dims(array.astype(np.float64), axis), copies, axis).view(kind)


def _filled(parts: Sequence[Any]) -> list[Any]:
    """Zeros for those that are None, unless all are."""
    given = next((part for part in parts if part is not None), None)
    return [] if given is None else [trees.scale(given, 0) if part is None else part for part in parts]


def measure_black_box(run: _Run, case: Case, cotangents: Cotangents, judged: _Run | None = None) -> Measured:
    """The results of ``run``, how far they move when all that goes in is rounded at random, and by how much what is
    ``judged``, which is ``run`` unless it is given, rounds itself."""
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
    floor, steepest = _of_saturation(case, cotangents, values), eps * _steepest(case, values)
    for name in spread.keys() & case_arrays(case).keys():
        spread[name] = spread[name] + (floor if steepest > 1 else np.minimum(floor, steepest * _sizes(name, values)))
    return Measured(values, spread)


def _own_rounding(run: _Run, case: Case, cotangents: Cotangents, values: Named) -> Named:
    """By how much ``run``, which gives ``values``, rounds itself: that part of how its results move that is not smooth.

    A logarithm of what a state has decayed to, or a sum over all steps, errs by more than what goes in, and where small
    weights hide that from it no rounding of what goes in brings it to light. So all is moved by the root of the
    roundoff, this way and that way, and twice as far: powers up to the third cancel in what is taken of these results.
    It is no mistake as long as it is not many times the roundoff of the largest number beside it, as where a coarser
    format is used inside. In 16 bits no way is straight.
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
    """The largest number beside each: of its step in a sequence, else of its array."""
    size = np.abs(values[name].astype(float))
    largest: Array = size.max(axis=tuple(range(has_steps(name), size.ndim)), initial=0, keepdims=True)
    return largest


def measure_right(run: _Run, case: Case, cotangents: Cotangents, judged: _Run | None = None) -> Measured:
    """The results of an implementation that is right, and the scale of error of others of whose cell no more is known.

    They may compute the derivative of a unit by another formula, which errs by more than the steepness of a unit says.
    """
    measured = measure_black_box(run, case, cotangents, judged)
    floor = _of_saturation(case, cotangents, measured.values)
    spread = {n: s + floor * (n in case_arrays(case)) for n, s in measured.spread.items()}
    return Measured(measured.values, spread)


def _of_saturation(case: Case, cotangents: Cotangents, values: Named) -> float:
    """The roundoff times what it may be multiplied with on its way into a gradient.

    The derivative of a saturated unit is mostly computed from the unit's value, as 1 - h^2 or (1 - z) dh, and errs by
    the roundoff of that, which no change of what goes in brings to light: the unit's value does not move.
    """
    gradients = [array for name, array in values.items() if name in case_arrays(case)]
    into = _largest(case_arrays(case).values(), 1.0)
    return FORMATS[case.dtype].eps * into * _largest([*named(cotangents).values(), *gradients], 0.0)


def _steepest(case: Case, values: Named) -> float:
    """By how much, at most, the relative error of a unit's derivative exceeds the roundoff of the unit's value.

    The derivative of tanh is at least e^(-2|a|), that of a sigmoid e^-|a| / 4; one that is below the roundoff may come
    out as zero. What goes into a unit is bounded by the
    largest sum of weights times the largest number that comes in, and the biases.
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


def allowed(scale: float, size: float, dtype: str, operations: int) -> float:
    """The tolerance of a block: ``scale`` is its largest spread, ``size`` its largest value.

    A result is rounded at least once; and each operation may lose a number that is too small.
    """
    format = FORMATS[dtype]
    return FACTOR * (scale + format.eps / 2 * size) + operations * format.lost


def in_range(size: float, scale: float, dtype: str) -> bool:
    """Whether the dtype can hold a block at all; one that it cannot hold proves nothing."""
    return math.isfinite(size + scale) and size + scale < FORMATS[dtype].most / 1024
