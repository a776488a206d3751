"""A backward loop that clips the cotangents of the states, with a declared bound.

Such a pullback is not linear, and is no derivative. But below the bound it is the plain one, and that holds for any
place in the loop where it may clip. So it gets cotangents times a power of two with which the loop stays below the
bound, its gradients are divided by that number, which no rounding shows, and all laws hold as they stand. For a cell of
the reference the number is as large as it may be: the reference runs the same backward pass and is watched, so that
some of the cases reach a bound that is lower than the declared one. One law tests cotangents above the bound.

The reference itself does not learn to clip: its recursion would have another argument that nothing else needs, and
other laws would need one case for each side of the bound. Here it runs with a cell whose pullback of one step is
wrapped. The loop of a user's own cell is unknown: its cotangents are far below the bound, and at the bound nothing is
tested.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bpttcheck.cases.blocks import named
from bpttcheck.cases.changes import all_states, in_float64
from bpttcheck.contract import Case, Clips, Cotangents, CustomCell
from bpttcheck.dtypes import FORMATS
from bpttref import vjp
from bpttref.arrays import Array
from bpttref.cells import State

_ROOM = 7 / 8  # of the bound: the dtype may round where the reference does not
_FARTHEST = 40  # powers of two below the bound, for an unknown cell


def below(clips: Clips, case: Case, cotangents: Cotangents) -> float:
    """The power of two times which the cotangents stay below the bound at every step of the loop; 1 if all vanish."""
    by, bound = clips
    if isinstance(case.cell, CustomCell):
        most = max(
            (float(np.abs(a).max(initial=0, where=np.isfinite(a))) for a in named(cotangents).values()), default=0
        )
        far = min(_FARTHEST, int(-math.log2(FORMATS[case.dtype].least)) // 5)
        return _power_of_two(bound / most) * 2.0**-far if most else 1.0
    most = largest(by, case, cotangents)
    factor = _power_of_two(_ROOM * bound / most) if most and math.isfinite(most) else 1.0
    return min(1.0, factor) if case.dtype == "float16" else factor  # in which larger numbers overflow


def largest(by: str, case: Case, cotangents: Cotangents) -> float:
    """The largest cotangent of a state, by value or by the norm of a row, before and after each step of the loop."""
    found = [0.0]

    def watched(pull: Callable[..., State], local: Any, ds: State, W: Array, da: Array) -> State:
        found.append(max(float(_size(by, d).max(initial=0)) for d in ds))
        before: State = pull(local, ds, W, da)
        found.append(max(float(_size(by, d).max(initial=0)) for d in before))
        return before

    exact, given = in_float64(_wrapped(case, watched), cotangents)
    assert not isinstance(exact.cell, CustomCell)
    with np.errstate(all="ignore"):
        _, pullback = vjp(
            exact.cell,
            exact.parameters,
            exact.x,
            all_states(exact, exact.initial),
            lengths=exact.lengths,
            strategy=exact.truncation,
            resets=exact.resets,
            reset_to=exact.reset_to,
        )
        pullback(given)
    return float(np.max(found))


def clipped(clips: Clips, case: Case, *, carried: bool) -> Case:
    """The case, of a cell whose backward loop clips: the cotangent that enters a step, with the cotangent of y, or, if
    ``carried``, the one that leaves it for the step before."""
    by, bound = clips

    def clip(array: Array) -> Array:
        size = _size(by, array)
        return array * np.where(size > bound, bound / np.where(size == 0, 1, size), 1)

    def pulled(pull: Callable[..., State], local: Any, ds: State, W: Array, da: Array) -> State:
        if carried:
            return tuple(map(clip, pull(local, ds, W, da)))
        return pull(local, tuple(map(clip, ds)), W, da)

    return _wrapped(case, pulled)


def _wrapped(case: Case, wrapping: Callable[..., State]) -> Case:
    """The case, of a cell whose pullback of one step is called by another function."""
    base: Any = type(case.cell)

    def pull(self: Any, *arguments: Any) -> State:
        return wrapping(super(wrapped, self).pull, *arguments)

    wrapped: Any = type(base.__name__, (base,), {"pull": pull})
    return replace(case, cell=wrapped(**vars(case.cell)))


def _size(by: str, array: Array) -> Array:
    """Of each number, or of each row."""
    size: Array = np.abs(array) if by == "value" else np.sqrt(np.sum(array * array, axis=-1, keepdims=True))
    return size


def _power_of_two(most: float) -> float:
    """The largest that is no more."""
    return 2.0 ** math.floor(math.log2(most))
