"""How incorrect gradients differ from the correct ones: by a factor, or clipped."""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from bpttcheck.cases.blocks import Named
from bpttcheck.measuring.completeness import kind
from bpttref.arrays import Array

FACTORS: Mapping[str, Callable[[int, int], float]] = {  # of the number of steps and of rows
    "zero": lambda T, B: 0,
    "of the opposite sign": lambda T, B: -1,
    "twice as large": lambda T, B: 2,
    "half as large": lambda T, B: 1 / 2,
    "T times as large": lambda T, B: T,
    "1/T times as large": lambda T, B: 1 / T,
    "B times as large": lambda T, B: B,
    "1/B times as large": lambda T, B: 1 / B,
    "T B times as large": lambda T, B: T * B,
    "1/(T B) times as large": lambda T, B: 1 / (T * B),
}
_CLOSE = 1e-4  # relative
_MOST = 0.9  # of the problems: missing gradients, or exploded ones, may be clipped differently

_Sides = tuple[Named, Named]  # the returned gradients, and the correct ones


def clipping(problems: Sequence[tuple[Named, Named, Collection[str]]]) -> str:
    """How gradients are clipped, with the bound, if clipping explains the errors in most problems; else empty.

    problems: for each the returned gradients, the correct ones, and the names of the incorrect ones.
    """
    wrong = [({n: got[n] for n in names}, {n: true[n] for n in names}) for got, true, names in problems]
    each = [({n: got[n]}, {n: true[n]}) for got, true in wrong for n in got]
    ways: list[tuple[str, list[_Sides], Callable[[Named], float], Callable[[Named, float], Named]]] = [
        ("by value", wrong, _largest, _clipped),
        ("by the norm of all together", [(got, true) for got, true, _ in problems], _norm, _shrunk),
        ("by the norm of the parameters together", [_of_parameters(got, true) for got, true, _ in problems], _norm,
         _shrunk),
        ("by the norm of each array", each, _norm, _shrunk),
    ]  # fmt: skip
    for said, sides, size, clip in ways:
        bound = float(np.median([size(got) for got, _ in sides])) if len(sides) > 1 else 0.0
        explained = [all(_close(a, clip(true, bound)[n]) for n, a in got.items()) for got, true in sides]
        if bound and np.mean(explained) >= _MOST:
            return f"clipped {said} at {bound:.4g}"
    return ""


def _largest(arrays: Named) -> float:
    return max((float(np.abs(a).max(initial=0)) for a in arrays.values()), default=0.0)


def _clipped(arrays: Named, bound: float) -> Named:
    return {name: np.clip(array, -bound, bound) for name, array in arrays.items()}


def _norm(arrays: Named) -> float:
    return float(np.sqrt(sum(np.sum(np.square(a, dtype=np.float64)) for a in arrays.values())))


def _shrunk(arrays: Named, bound: float) -> Named:
    by = min(1.0, bound / (_norm(arrays) or 1.0))
    return {name: by * array for name, array in arrays.items()}


def _of_parameters(got: Named, true: Named) -> _Sides:
    names = [name for name in got if kind(name) == "parameters"]
    return {n: got[n] for n in names}, {n: true[n] for n in names}


def _close(got: Array, expected: Array) -> bool:
    size = float(np.abs(expected).max(initial=0))
    return got.shape == expected.shape and bool(np.all(np.abs(got - expected) <= _CLOSE * size))
