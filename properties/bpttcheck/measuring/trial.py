"""One case run by one implementation, its correct results, and their scales of error: the data that all laws share."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TypeVar
from zlib import crc32

import numpy as np

from bpttcheck.cases.blocks import Named, digest, has_steps, named
from bpttcheck.cases.changes import all_states, first_steps, in_float64
from bpttcheck.contract import (
    Capabilities,
    Case,
    Cotangents,
    CustomCell,
    Implementation,
    TwoPhase,
)
from bpttcheck.dtypes import FORMATS
from bpttcheck.measuring import scales
from bpttcheck.measuring.answers import Answers
from bpttcheck.measuring.black_box import measure_black_box, measure_right
from bpttcheck.measuring.calls import AdapterError, Refused, capabilities_of
from bpttcheck.measuring.comparisons import Comparison, Violation, compare
from bpttcheck.measuring.handing import as_returned
from bpttcheck.measuring.scales import REPLICATES, Forward, measure, measure_at_kinks, same_forward
from bpttcheck.measuring.tolerance import Measured, in_range
from bpttref import RNN, Cell, Strategy
from bpttref.inputs import is_tokens

_Choice = TypeVar("_Choice")
_LARGE, _CHEAP = 2**22, 2**12
_NO_TANH = (RNN("relu"), RNN("identity"))


def has_own_float64(cell: Cell | CustomCell, dtype: str, capabilities: Capabilities) -> bool:
    """Whether an implementation's results are compared with its own float64, because no other one has the cell."""
    return isinstance(cell, CustomCell) and dtype != "float64" and "float64" in capabilities.dtypes


class Trial(Answers):
    """An implementation, a case and cotangents; laws read its cached properties and call its `compare`."""

    def __init__(
        self,
        subject: Implementation,
        capabilities: Capabilities,
        case: Case,
        cotangents: Cotangents,
        against: Implementation | None = None,
        *,
        kinks: bool = False,
        replicates: int = REPLICATES,
    ) -> None:
        """against: the implementation whose numbers are correct, in place of the reference; of an unknown cell it is
        the implementation's own float64 in other dtypes, where there is one. kinks: whether the case lies at one.
        replicates: perturbed runs by which scales of error are measured."""
        super().__init__(subject, capabilities, case, cotangents)
        self.replicates = replicates
        self._kinks = kinks
        self.against = subject if against is None and has_own_float64(case.cell, case.dtype, capabilities) else against
        self.rng = np.random.default_rng()  # `drawing_for` seeds it

    def drawing_for(self, law_id: str) -> None:
        """Let the law draw from a generator of its own: the same for the same case, independent of earlier laws."""
        self.rng = np.random.default_rng([crc32(law_id.encode()), digest(self.case.x)])

    @cached_property
    def determined(self) -> bool:
        """Whether the dtype holds the outputs, and rounding changes them by less than a thousandth.

        Otherwise, in chaos, gradients cannot be compared: errors no longer grow in proportion to rounding. In a format
        that itself rounds to a thousandth the limit is a few roundings. Nor is it chaos where outputs that are small
        next to 1 move by the roundoff of tanh, which is relative to 1.
        """
        if isinstance(self.case.cell, CustomCell) and not isinstance(self.subject, TwoPhase):
            return True
        values, spread = self.measured.values or self.outputs, self.measured.spread
        sizes = [
            (float(np.abs(array).max(initial=0)), float(spread[name].max(initial=0)))
            for name, array in values.items()
            if (name == "y" or "final." in name) and name in spread
        ]
        few = 8 * FORMATS[self.case.dtype].eps
        least = 0.0 if isinstance(self.case.cell, CustomCell) or self.case.cell in _NO_TANH else few
        bound = max(1e-3, few)
        return all(
            in_range(size, scale, self.case.format) and scale <= max(bound * size, least) for size, scale in sizes
        )

    @property
    def large(self) -> bool:
        """Whether a pass takes so long that a law runs only a few: by the multiply-adds of a forward pass, or by its
        steps if these are cheap."""
        sizes = (math.prod(a.shape) for layer in self.case.parameters for leaf in layer for a in leaf.values())
        return self.case.T * self.case.B * max(_CHEAP, sum(sizes)) > _LARGE

    @property
    def one_way(self) -> bool:
        """Whether time runs one way: there truncation is defined."""
        return len(self.case.parameters[0]) == 1

    @property
    def even(self) -> bool:
        """Whether time runs one way, over rows that all have T steps."""
        return self.one_way and self.case.lengths is None

    @property
    def measured(self) -> Measured:
        """True values (of a known cell) and scales of error of the outputs and gradients."""
        return self._measured[0]

    @cached_property
    def scored_measured(self) -> Measured:
        """True values and scales of error of `scored`."""
        custom = isinstance(self.case.cell, CustomCell)  # it may have no vjp, which `_measured` would call
        return self.measure_objective(self.case) if custom else self._measured[-1]

    @cached_property
    def _measured(self) -> list[Measured]:
        """For ``vjp``, if the implementation has it, and, where a known cell has an objective, for
        ``loss_and_gradients``, in one pass."""
        if isinstance(self.case.cell, CustomCell):
            return self.measure(self.case, self.cotangents)
        scored = self.case.objective is not None
        given = () if scored and not isinstance(self.subject, TwoPhase) else (self.cotangents,)
        found = self._measure(self.case, *given, objective=scored)
        found = [as_returned(self.capabilities, self.case, measured) for measured in found]
        return found if self.against is None else [*self.measure(self.case, self.cotangents), *found[len(given) :]]

    @cached_property
    def _reference_pass(self) -> Forward:
        return Forward(self.case, self.replicates)

    def _measure(self, case: Case, *cotangents: Cotangents, objective: bool = False) -> list[Measured]:
        """The measurements of the reference."""
        if self._kinks:
            return measure_at_kinks(case, *cotangents, objective=objective, replicates=self.replicates)
        forward = self._reference_pass if same_forward(case, self.case) else Forward(case, self.replicates)
        return measure(case, *cotangents, objective=objective, forward=forward)

    def measure(self, case: Case, *cotangents: Cotangents) -> list[Measured]:
        """True values and scales of error for another case, for each of the ``cotangents``."""
        return [as_returned(self.capabilities, case, measured) for measured in self._measure_all(case, *cotangents)]

    def _measure_all(self, case: Case, *cotangents: Cotangents) -> list[Measured]:
        custom = isinstance(case.cell, CustomCell)
        own = self.against is self.subject
        if own and self.calls.declines(in_float64(case, Cotangents())[0]):  # then it is its own measure, as in float64
            return [Measured({}, measure_black_box(self.results, case, c).spread) for c in cotangents]
        if own:
            return [measure_black_box(self._right, case, c, self.results) for c in cotangents]
        if self.against is not None and capabilities_of(self.against).undeclared(case) is None:
            if custom:
                return [self._beside_another(case, c) for c in cotangents]
            others = [measure_right(self._right, case, c) for c in cotangents]
            scales = self._measure(case, *cotangents)
            return [Measured(o.values, s.spread) for o, s in zip(others, scales, strict=True)]
        if not custom:
            return [m if self.against is None else Measured({}, m.spread) for m in self._measure(case, *cotangents)]
        return [Measured({}, measure_black_box(self.results, case, c).spread) for c in cotangents]

    def _beside_another(self, case: Case, cotangents: Cotangents) -> Measured:
        """The results of the other implementation of an unknown cell; where it returns no gradients, their scales of
        error come from the tested implementation."""
        assert self.against is not None
        if {*self.capabilities.gradients} <= {*capabilities_of(self.against).gradients}:
            return measure_right(self._right, case, cotangents, self.results)
        right, own = measure_right(self._right, case, cotangents), measure_black_box(self.results, case, cotangents)
        return Measured(right.values, {name: s + right.spread.get(name, 0) for name, s in own.spread.items()})

    def _right(self, case: Case, cotangents: Cotangents) -> Named:
        """The numbers of the implementation named by ``against`` for a case, in float64."""
        assert self.against is not None
        exact, given = in_float64(case, cotangents)
        if self.against is not self.subject:
            exact = replace(exact, initial=all_states(exact, exact.initial))
            given = Cotangents(given.y, all_states(exact, given.final))
        capabilities = self.capabilities if self.against is self.subject else capabilities_of(self.against)
        try:
            return Answers(self.against, capabilities, exact, given).results(exact, given)
        except Refused as error:
            if self.against is self.subject:
                raise
            raise AdapterError(f"{self.against.name}, which others are compared with: {error}") from error
        except (AdapterError, Violation) as error:
            who = (
                "its own float64"
                if self.against is self.subject
                else f"{self.against.name}, which others are compared with"
            )
            raise AdapterError(f"{who}: {error}") from error

    def error_of_product(self) -> float:
        """The scale of legitimate error of <cotangents, outputs>; of an unknown cell the errors of all terms add up."""
        if not isinstance(self.case.cell, CustomCell):
            return self._reference_pass.error_of_product(self.cotangents)
        spread, given = self.measured.spread, named(self.cotangents)
        return sum(float((np.abs(c) * spread[name]).sum()) for name, c in given.items() if name in spread)

    def measure_objective(self, case: Case) -> Measured:
        """True values and scales of error of loss and gradients for the objective of a case."""
        if isinstance(case.cell, CustomCell):
            return measure_black_box(lambda moved, _: self.score(moved), case, Cotangents())
        return self._measure(case, objective=True)[0]

    def beside(self, case: Case, cotangents: Cotangents | None = None) -> "Trial":
        """The same implementation, in the same calls, with another case and with the same cotangents by default."""
        problem = self.subject, self.capabilities, case, cotangents or self.cotangents, self.against
        other = Trial(*problem, replicates=self.replicates)
        other.calls, other.rng = self.calls, self.rng
        if same_forward(case, self.case):
            vars(other).update({n: v for n, v in vars(self).items() if n == "_reference_pass"})
        return other

    @cached_property
    def measured_well(self) -> "Trial":
        """The same `Trial` with the scales of error that decide."""
        return self._measured_otherwise(self.case, REPLICATES)

    @cached_property
    def of_several_calls(self) -> "Trial":
        """The same `Trial` for laws that hand on the results of a call, or add up the results of several. Each is
        rounded to the dtype, however precise operations are inside."""
        coarse = self.case.inside and self.case.format.inside < self.case.format.eps
        return self._measured_otherwise(replace(self.case, inside=""), self.replicates) if coarse else self

    def _measured_otherwise(self, case: Case, replicates: int) -> "Trial":
        """The same `Trial`, and the implementation's answers, with other scales of error."""
        problem = self.subject, self.capabilities, case, self.cotangents, self.against
        other = Trial(*problem, kinks=self._kinks, replicates=replicates)
        other.calls, other.rng = self.calls, self.rng
        answered = ("forward", "outputs", "gradients", "scored")
        vars(other).update({name: value for name, value in vars(self).items() if name in answered})
        return other

    def truncated(self, strategy: Strategy) -> Case:
        """The case with a truncation."""
        return replace(self.case, truncation=strategy)

    def of_first_steps(self, steps: int) -> "Trial":
        """A `Trial` of the first steps of a sequence, which shares the random generator."""
        return self.beside(*first_steps(self.case, self.cotangents, steps))

    @property
    def unit(self) -> int:
        """The shortest part of a sequence that a law may run: 1 step, or the least declared number."""
        return 1 if 1 in self.capabilities.sizes.get("T", (1,)) else min(self.capabilities.sizes["T"])

    def one_of(self, choices: Sequence[_Choice]) -> _Choice:
        """One of several, drawn anew for each case."""
        return choices[int(self.rng.integers(len(choices)))]

    def by_step(self, arrays: Named) -> Named:
        """The gradients (or their scales) of single steps: gradients of x or its streams; for tokens, if all are
        distinct, the columns of dW_hx."""
        if isinstance(self.case.x, Mapping) or not is_tokens(self.case.x):
            return {name: array for name, array in arrays.items() if name != "y" and has_steps(name)}
        if "W_hx" not in arrays or len(np.unique(self.case.x)) < self.case.x.size:
            return {}
        return {"x": arrays["W_hx"].T[self.case.x]}

    def compare(
        self, got: Named, expected: Named, *measures: Measured, alive: Named | None = None
    ) -> Iterator[Comparison]:
        """`bpttcheck.measuring.comparisons.compare` in blocks of this case."""
        return compare(self.case, got, expected, *measures, alive=alive)


def measure_together(trials: Sequence[Trial]) -> None:
    """Measure the ``trials`` of a known cell in one pass of the reference: their cases have the same sizes, lengths,
    resets and tokens, and no objective."""
    found = scales.measure_together([trial.case for trial in trials], [trial.cotangents for trial in trials])
    for trial, measured in zip(trials, found, strict=True):
        vars(trial)["_measured"] = [as_returned(trial.capabilities, trial.case, measured)]
