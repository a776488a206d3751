"""How large an error may be: measured for each case, not chosen.

The reference runs in float64, and again several times with every operation perturbed at random by the unit roundoff
of the dtype under test (Monte-Carlo arithmetic; Parker, 1997). The largest deviation is the scale of legitimate
error for this case, and `FACTOR` times it is the tolerance.

The perturbation is an array type. The reference computes in ufuncs, so it runs on `_Noisy` arrays unchanged.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpttcheck.blocks import Named, named
from bpttcheck.cases import with_arrays
from bpttcheck.contract import Case, Cotangents, CustomCell
from bpttref import vjp
from bpttref.arrays import Array

FACTOR = 16.0  # several times the largest ratio of error to scale that correct libraries showed
REPLICATES = 8

_EXACT = {np.negative, np.maximum, np.greater, np.greater_equal, np.less, np.equal, np.absolute}


@dataclass(frozen=True)
class Measured:
    """Values in float64 by name, and for each element the scale of legitimate error.

    ``values`` is empty for an unknown cell, whose true values are not known.
    """

    values: Named
    spread: Named


def _noisy_type(unit: float, rng: np.random.Generator) -> type[Array]:
    """An array type whose every operation errs at random by ``unit``."""

    def noise(shape: tuple[int, ...]) -> Array:
        return unit * (2 * rng.random(shape) - 1)

    class _Noisy(np.ndarray):
        def __array_ufunc__(
            self, ufunc: np.ufunc, method: str, *inputs: Any, out: tuple[Any, ...] | None = None, **options: Any
        ) -> Any:
            plain = [i.view(np.ndarray) if isinstance(i, np.ndarray) else i for i in inputs]
            if ufunc is np.matmul or method != "__call__":  # inside a long sum errors are relative to its terms
                plain = [
                    o * (1 + noise(o.shape)) if isinstance(o, np.ndarray) and o.dtype.kind in "fc" else o for o in plain
                ]
            if out is not None:
                options["out"] = tuple(o.view(np.ndarray) for o in out)
            size = np.maximum(*map(np.abs, plain)) if ufunc in (np.add, np.subtract) and method == "__call__" else None
            result = np.asarray(getattr(ufunc, method)(*plain, **options))
            if ufunc is np.reciprocal:  # the sigmoid's last operation; libraries compute sigmoids by other formulas
                result += noise(result.shape)
            elif size is not None:  # and may add up in another order
                result += size * noise(result.shape)
            elif ufunc not in _EXACT and result.dtype != bool:
                result *= 1 + noise(result.shape)
            return result.view(_Noisy)

    return _Noisy


def measure(case: Case, cotangents: Cotangents | None, seed: int) -> Measured:
    """The reference's outputs and gradients in float64, with the scale of legitimate error in the case's dtype.

    Without cotangents, of the case's objective, with its value as "loss".
    """
    noisy = _noisy_type(float(np.finfo(case.dtype).eps), np.random.default_rng(seed))

    def exact(array: Array, axis: int) -> Array:
        return array if array.dtype.kind in "iu" else array.astype(np.float64)

    def replicated(array: Array, axis: int) -> Array:
        if array.dtype.kind in "iu":
            return array
        copies = np.expand_dims(array.astype(np.float64), axis)
        return np.repeat(copies, REPLICATES, axis).view(noisy)

    with np.errstate(all="ignore"):
        values = _run(case, cotangents, exact)
        perturbed = _run(case, cotangents, replicated)
        spread = {}
        for name, value in values.items():
            axis = 1 if name in ("x", "y") else 0
            copies = np.moveaxis(perturbed[name].view(np.ndarray), axis, 0)
            spread[name] = np.abs(copies - value).max(axis=0, initial=0)
    return Measured(values, spread)


def _run(case: Case, cotangents: Cotangents | None, convert: Callable[[Array, int], Array]) -> Named:
    """Outputs and gradients of the reference, on arrays converted one by one; the integer is the replicates' axis."""

    def states(tree: Any) -> Any:
        return tree and tuple(tuple({k: convert(v, 0) for k, v in leaf.items()} for leaf in layer) for layer in tree)

    assert not isinstance(case.cell, CustomCell)
    outputs, pullback = vjp(
        case.cell,
        states(case.parameters),
        convert(case.x, 1),
        states(case.initial),
        lengths=case.lengths,
        strategy=case.truncation,
    )
    if cotangents is not None:
        dy = None if cotangents.y is None else convert(cotangents.y, 1)
        return named(outputs) | named(pullback(Cotangents(dy, states(cotangents.final))))
    assert case.objective is not None and outputs.y is not None
    readout = {name: convert(array, 0) for name, array in case.objective.readout.items()}
    evaluated = case.objective.with_readout(readout)(outputs.y)
    gradients = pullback(Cotangents(evaluated.dy))._replace(readout=evaluated.readout)
    return named(outputs) | named(gradients) | {"loss": np.asanyarray(evaluated.loss)}


def measure_black_box(run: Callable[[Case], Named], case: Case, seed: int) -> Measured:
    """The scale of error of an unknown cell: how far the results of ``run`` move when every input is rounded at
    random."""
    rng = np.random.default_rng(seed)
    eps = float(np.finfo(case.dtype).eps)

    def rounded_anew(_: str, array: Array) -> Array:
        return (array * (1 + 4 * eps * (2 * rng.random(array.shape) - 1))).astype(array.dtype)

    results = [run(case if k == 0 else with_arrays(case, rounded_anew)) for k in range(REPLICATES)]
    spread = {
        name: np.max([np.abs(result[name].astype(float) - value) for result in results[1:]], axis=0)
        for name, value in results[0].items()
    }
    return Measured({}, spread)


def allowed(scale: float, size: float, dtype: str, operations: int) -> float:
    """The tolerance of a block: ``scale`` is its largest spread, ``size`` its largest value.

    A result is rounded at least once; and below the smallest normal number per operation anything is right.
    """
    info = np.finfo(dtype)
    return FACTOR * (scale + float(info.eps) / 2 * size + operations * float(info.smallest_normal))


def in_range(size: float, scale: float, dtype: str) -> bool:
    """Whether the dtype can hold a block at all; one that it cannot hold proves nothing."""
    return math.isfinite(size + scale) and size + scale < float(np.finfo(dtype).max) / 1024
