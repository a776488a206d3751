"""The results of an implementation if its gradients were the derivatives of its own forward pass, number by number.

These are the correct numbers of an unknown cell: a diagnosis plants its faults in them, and they are the expected
numbers.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bpttcheck.cases.blocks import Named, case_arrays, digest, named, nested
from bpttcheck.cases.changes import domain_of, in_float64, with_arrays
from bpttcheck.contract import Capabilities, Case, Cotangents, Gradients, Implementation, Outputs, Pullback, TwoPhase
from bpttcheck.custom_cell import room
from bpttcheck.dtypes import FORMATS
from bpttcheck.measuring.calls import Calls, Refused, capabilities_of
from bpttcheck.measuring.completeness import declared, kind
from bpttcheck.measuring.complex_numbers import case_in_pairs, returned
from bpttcheck.measuring.handing import plain
from bpttcheck.measuring.tolerance import Measured
from bpttref.arrays import Array

_MOST = 600  # numbers that are moved, one by one
_KEPT = 128  # problems whose derivatives are kept


@dataclass(frozen=True)
class _Derivatives:
    """Of one case: its outputs in float64, and per array ``(size, outputs)`` the derivatives of all outputs.

    error: bounds of their errors.
    """

    outputs: Named
    by: Named
    error: Named

    def pulled(self, given: Named) -> tuple[Named, Named]:
        """The gradients of each array as a vector, from cotangents, and bounds of their errors."""
        flat = [given[n].ravel() if n in given else np.zeros(a.size) for n, a in self.outputs.items()]
        weights = np.concatenate([*flat, np.zeros(0)]).astype(np.float64)
        return {n: J @ weights for n, J in self.by.items()}, {n: e @ np.abs(weights) for n, e in self.error.items()}


class OwnDerivatives:
    """The forward pass of an implementation, and its derivatives by central differences of each number.

    They are taken in float64 where the implementation has it. A case of more than a few hundred numbers is refused.
    forward: another implementation with the forward pass; the derivatives are for the arrays that it declares.
    """

    def __init__(self, subject: Implementation, forward: Implementation | None = None) -> None:
        forward = forward or subject
        self.name = f"the derivatives of {forward.name}"
        self._own = replace(capabilities_of(forward), gradients=capabilities_of(subject).gradients)
        self._two_phase, self._calls = isinstance(forward, TwoPhase), Calls(forward, capabilities_of(forward))
        self._kept: dict[int, _Derivatives] = {}

    def capabilities(self) -> Capabilities:
        """The capabilities of the implementation, with only full BPTT."""
        return replace(plain(self._own), truncations=(), reusable=True, selects=False)

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        """The outputs, and a pullback by their derivatives. Raises Refused where there are none."""
        case = case_in_pairs(case)
        outputs, _ = self._calls.run(case)
        derivatives = self._derivatives(case)

        def pullback(cotangents: Cotangents) -> Gradients:
            pulled, _ = derivatives.pulled(named(returned(case, cotangents)))
            return _as_gradients(case, pulled)

        return outputs, pullback

    def measure(self, case: Case, cotangents: Cotangents) -> Measured:
        """Outputs and gradients of full BPTT in float64, and bounds of the gradients' errors. Without a ``vjp``, the
        loss and its gradients."""
        derivatives, arrays = self._derivatives(case), case_arrays(case)
        given = named(cotangents) if self._two_phase else {"loss": np.ones(())}
        values, spread = (
            {n: a.reshape(arrays[n].shape) for n, a in side.items()} for side in derivatives.pulled(given)
        )
        return Measured(derivatives.outputs | values, spread)

    def _derivatives(self, case: Case) -> _Derivatives:
        """The derivatives of a case; the last few cases are cached. Raises Refused where there are too many numbers."""
        if case.dtype != "float64" and "float64" in self._own.dtypes:
            case, _ = in_float64(case, Cotangents())
        others = str((case.lengths, case.resets, case.reset_to, case.chunk, case.dtype))
        key = hash((digest(case_arrays(case)), digest(case.x), others))
        if key not in self._kept:
            found = self._differences(case)
            self._kept = dict([*self._kept.items(), (key, found)][-_KEPT:])
        return self._kept[key]

    def _differences(self, case: Case) -> _Derivatives:
        scored = case if not self._two_phase else replace(case, objective=None)
        arrays = declared(case_arrays(scored), self._own)
        if sum(array.size for array in arrays.values()) > _MOST:
            raise Refused("there are too many numbers to be moved one by one")
        outputs = self._outputs(with_arrays(case, lambda _, array: array.copy()))
        flat = _flat(outputs)
        h = float(FORMATS[case.dtype].eps ** (1 / 3))
        by: Named = {}
        error: Named = {}
        for name, array in arrays.items():
            found = [self._by_one(case, name, place, h, flat) for place in np.ndindex(array.shape)]
            by[name], error[name] = (np.reshape([pair[k] for pair in found], (array.size, flat.size)) for k in (0, 1))
        return _Derivatives(outputs, by, error)

    def _by_one(self, case: Case, name: str, place: tuple[int, ...], h: float, outputs: Array) -> tuple[Array, Array]:
        """The derivatives of all outputs by one number, and bounds of their errors.

        The error is rounding plus h^2 f''' / 6, a third of the change at twice the step. At a kink nothing may change,
        but there h f'' is as large as f', and so is (h f'')^2 / f'.
        """
        array = case_arrays(case)[name]
        limit = np.broadcast_to(room(domain_of(case, name), array), array.shape)[place] / 4
        step = min(h * max(1.0, abs(float(array[place]))), float(limit))

        def at(by: float) -> Array:
            def moved(n: str, a: Array) -> Array:
                a = a.copy()
                if n == name:
                    a[place] += by
                return a

            return _flat(self._outputs(with_arrays(case, moved)))

        above, below = at(step), at(-step)
        slope, bend = (above - below) / (2 * step), np.abs(above - 2 * outputs + below) / step
        curved = np.divide(bend**2, np.abs(slope) + bend, out=np.zeros_like(bend), where=bend > 0)
        curved += np.abs((at(2 * step) - at(-2 * step)) / (4 * step) - slope)
        return slope, curved + FORMATS[case.dtype].eps * np.abs(outputs) / step

    def _outputs(self, case: Case) -> Named:
        """The outputs in float64, for a case with arrays of its own."""
        if not self._two_phase:
            return {"loss": np.asarray(self._calls.score(case, copy=False)[0].loss, dtype=np.float64)}
        alone = replace(case, wanted=frozenset()) if self._own.selects else case
        found = declared(named(self._calls.run(alone, copy=False)[0]), self._own)
        return {name: array.astype(np.float64) for name, array in found.items()}


def _flat(outputs: Named) -> Array:
    return np.concatenate([*(array.ravel() for array in outputs.values()), np.zeros(0)])


def _as_gradients(case: Case, pulled: Named) -> Gradients:
    """Gradients of a case from vectors by name, in the dtype of the case; None for those that are not there."""
    like = case_arrays(replace(case, objective=None))
    there = {n: a.reshape(like[n].shape).astype(FORMATS[case.dtype].storage, order="C") for n, a in pulled.items()}

    def of(kinds: str) -> Any:
        return any(kind(name) == kinds for name in there)

    filled = with_arrays(replace(case, objective=None), lambda n, a: there.get(n, a))
    x = {n: a for n, a in there.items() if kind(n) == "x"}
    return Gradients(
        nested(x) if x else None,
        filled.parameters if of("parameters") or not case.parameters[0][0] else None,
        filled.initial if of("initial") else None,
    )
