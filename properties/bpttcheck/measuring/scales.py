"""The scale of legitimate error of known cells, for each number of a case.

The reference runs in float64, and again with every operation perturbed at random by the unit roundoff of the dtype
under test (Monte-Carlo arithmetic; Parker, 1997). The largest deviation is the scale.

More replicates only ever find more error. So `FEW` are enough to pass, and an error that is large next to their
tolerance is compared again with the tolerance of `REPLICATES`, which decides.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bpttcheck.cases.blocks import Named, has_steps, named
from bpttcheck.cases.changes import all_states
from bpttcheck.cases.kinks import at_kink, on_other_sides
from bpttcheck.contract import Case, Cotangents, CustomCell, Gradients
from bpttcheck.dtypes import FORMATS
from bpttcheck.measuring.noise import Noise
from bpttcheck.measuring.tolerance import FACTOR, Measured, as_stored
from bpttref import Objective, Strategy, vjp, zero_states
from bpttref.arrays import Array
from bpttref.inputs import is_tokens

REPLICATES = 8
FEW = 1


def same_forward(one: Case, other: Case) -> bool:
    """Whether two cases have one forward pass: the arrays are the same, truncation and objective may differ."""
    names = ("cell", "dtype", "parameters", "x", "initial", "lengths", "resets", "reset_to")
    return all(getattr(one, name) is getattr(other, name) for name in names)


class Forward:
    """The reference's forward pass on a case, exact and in replicates that err at random.

    By it gradients for any cotangents, objective and truncation are measured.
    """

    def __init__(self, case: Case, replicates: int = REPLICATES) -> None:
        self._noise, self._format = Noise(case), case.format
        self._exact, self._noisy = _Replicates([case], np.ndarray), _Replicates([case] * replicates, self._noise.array)

    def measure(self, cotangents: Cotangents, strategy: Strategy) -> Measured:
        """The reference's outputs and gradients in float64, with the scale of legitimate error in the case's dtype."""
        return self._measured(lambda replicates: replicates.pull(strategy, cotangents))

    def measure_objective(self, objective: Objective, strategy: Strategy) -> Measured:
        """The same for the gradients of an objective, with its value as "loss"."""
        return self._measured(lambda replicates: replicates.score(objective, strategy))

    def error_of_product(self, cotangents: Cotangents) -> float:
        """The scale of legitimate error of <cotangents, outputs>: smaller than the sum of the errors of its terms."""
        with np.errstate(all="ignore"):
            return float(np.abs(self._noisy.product(cotangents) - self._exact.product(cotangents)).max())

    def _measured(self, results: Callable[["_Replicates"], Named]) -> Measured:
        self._noise.begin()
        values, spread = {}, {}
        with np.errstate(all="ignore"):
            exact, noisy = results(self._exact), results(self._noisy)
            for name, array in exact.items():
                axis = 1 if has_steps(name) else 0
                values[name] = array.take(0, axis)
                spread[name] = np.abs(noisy[name].view(np.ndarray) - array).max(axis, initial=0)
        return as_stored(Measured(values, spread), self._format)


class _Replicates:
    """The reference on copies of a case, or on several cases at once, in float64 arrays of some kind. Sizes, lengths,
    resets and tokens come from the first case; copies of one case share its weights."""

    def __init__(self, cases: Sequence[Case], kind: type[Array]) -> None:
        case, self._number, self._kind = cases[0], len(cases), kind
        assert not isinstance(case.cell, CustomCell)
        self._case, tokens = case, is_tokens(case.x)
        several = tokens or cases[-1] is not case  # dW_hx of tokens has as many copies as W_hx
        initial = [all_states(one, one.initial) or zero_states(case.cell, one.parameters, one.B) for one in cases]
        with np.errstate(all="ignore"):
            self._outputs, self._pullback = vjp(
                case.cell,
                self._stacked([one.parameters for one in (cases if several else cases[:1])]),
                case.x if tokens else self._stacked([one.x for one in cases], axis=1),
                self._stacked(initial),
                lengths=case.lengths,
                resets=case.resets,
                reset_to=case.reset_to,
            )

    def pull(self, strategy: Strategy, *cotangents: Cotangents) -> Named:
        """Outputs and gradients by name, with the axis of replicates; cotangents for each, or one for all copies."""
        each = cotangents * (self._number // len(cotangents))
        y, final = self._stacked([one.y for one in each], axis=1), self._stacked([one.final for one in each])
        return self._named(self._pullback(Cotangents(y, final), strategy))

    def product(self, cotangents: Cotangents) -> Array:
        """<cotangents, outputs> of each of the replicates."""
        outputs, total = named(self._outputs), np.zeros(self._number)
        for name, cotangent in named(cotangents).items():
            by_replicate = np.moveaxis(outputs[name].view(np.ndarray), 1 if has_steps(name) else 0, 0)
            total += by_replicate.reshape(self._number, -1) @ cotangent.astype(np.float64).ravel()
        return total

    def score(self, objective: Objective, strategy: Strategy) -> Named:
        """The same for an objective, with its value as "loss"."""
        y = self._outputs.y
        assert y is not None
        evaluated = objective.with_readout(self._stacked([objective.readout]))(y)
        gradients = self._named(self._pullback(Cotangents(evaluated.dy), strategy))
        return gradients | {"loss": np.asanyarray(evaluated.loss), **evaluated.readout}

    def _named(self, gradients: Gradients) -> Named:
        if self._case.initial is None:
            gradients = gradients._replace(initial=None)
        return named(self._outputs) | named(gradients)

    def _stacked(self, several: Sequence[Any], axis: int = 0) -> Any:
        """The arrays of several trees in float64, along a new axis."""
        first = several[0]
        if first is None:
            return None
        if isinstance(first, Mapping):
            return {name: self._stacked([one[name] for one in several], axis) for name in first}
        if isinstance(first, tuple | list):
            return tuple(self._stacked(parts, axis) for parts in zip(*several, strict=True))
        return np.stack(several, axis, dtype=np.float64, casting="unsafe").view(self._kind)


def measure_together(cases: Sequence[Case], cotangents: Sequence[Cotangents]) -> list[Measured]:
    """The same for each of several cases, by one perturbed run, in one pass of all. Their sizes, lengths, resets,
    tokens and truncation are the same; objectives are left out."""
    noise, strategy = Noise(cases[0]), cases[0].truncation
    with np.errstate(all="ignore"):
        exact, noisy = (_Replicates(cases, kind).pull(strategy, *cotangents) for kind in (np.ndarray, noise.array))
        spread = {name: np.abs(noisy[name].view(np.ndarray) - array) for name, array in exact.items()}
    of_each = [
        Measured(*({n: a.take(k, int(has_steps(n))) for n, a in arrays.items()} for arrays in (exact, spread)))
        for k in range(len(cases))
    ]
    return [as_stored(measured, cases[0].format) for measured in of_each]


def measure(
    case: Case,
    *cotangents: Cotangents,
    objective: bool = False,
    replicates: int = REPLICATES,
    forward: Forward | None = None,
) -> list[Measured]:
    """The measurements of `Forward` for each of the ``cotangents`` and, if wanted, for the case's objective.

    forward: the pass, if there is one already.
    """
    forward = forward or Forward(case, replicates)
    found = [forward.measure(given, case.truncation) for given in cotangents]
    if objective:
        assert case.objective is not None
        found.append(forward.measure_objective(case.objective, case.truncation))
    return found


def measure_at_kinks(
    case: Case, *cotangents: Cotangents, objective: bool = False, replicates: int = REPLICATES
) -> list[Measured]:
    """`measure` for a case at a kink, where a gradient may belong to either side: a number that depends on the side has
    an infinite scale of error, and the others are compared as usual."""
    found = measure(case, *cotangents, objective=objective, replicates=replicates)
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
