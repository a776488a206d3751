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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from bpttcheck.cases.blocks import Named, digest, has_steps, named
from bpttcheck.cases.changes import all_states
from bpttcheck.cases.kinks import at_kink, on_other_sides
from bpttcheck.contract import Case, Cotangents, CustomCell, Outputs, Pullback
from bpttcheck.dtypes import FORMATS
from bpttref import trees, vjp
from bpttref.arrays import Array
from bpttref.inputs import is_tokens

FACTOR = 16.0  # several times the largest ratio of error to scale that correct libraries showed
REPLICATES = 8

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
        states(all_states(case, case.initial)),
        lengths=case.lengths,
        strategy=case.truncation,
        resets=case.resets,
        reset_to=case.reset_to,
    )


def _copies(array: Array, axis: int, copies: int, kind: type[Array]) -> Array:
    """``copies`` of an array, in float64, along a new axis."""
    return np.repeat(np.expand_dims(array.astype(np.float64), axis), copies, axis).view(kind)


def _filled(parts: Sequence[Any]) -> list[Any]:
    """Zeros for those that are None, unless all are."""
    given = next((part for part in parts if part is not None), None)
    return [] if given is None else [trees.scale(given, 0) if part is None else part for part in parts]


def allowed(scale: float, size: float, dtype: str, operations: int) -> float:
    """The tolerance of a block: ``scale`` is its largest spread, ``size`` its largest value.

    A result is rounded at least once; and each operation may lose a number that is too small.
    """
    format = FORMATS[dtype]
    return FACTOR * (scale + format.eps / 2 * size) + operations * format.lost


def in_range(size: float, scale: float, dtype: str) -> bool:
    """Whether the dtype can hold a block at all; one that it cannot hold proves nothing."""
    return math.isfinite(size + scale) and size + scale < FORMATS[dtype].most / 1024
