"""One case put to one subject, with everything that the laws share computed at most once."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bpttcheck.blocks import Named, blocks, case_arrays, named
from bpttcheck.cases import with_arrays
from bpttcheck.contract import (
    Capabilities,
    Case,
    Cotangents,
    CustomCell,
    Gradients,
    Implementation,
    OneShot,
    Outputs,
    Pullback,
    TwoPhase,
)
from bpttcheck.tolerance import Measured, allowed, in_range, measure, measure_black_box
from bpttref import trees
from bpttref.arrays import Array


class Violation(Exception):
    """A law is broken in a way that has no size, such as a missing gradient; the message is a full sentence."""


class AdapterError(Exception):
    """The subject itself raised."""


class Refused(Exception):
    """The subject declares that it does not take a case; the message says why."""


@dataclass(frozen=True)
class Comparison:
    """The largest error found in one block, and what is allowed there."""

    block: str
    error: float
    tolerance: float

    @property
    def margin(self) -> float:
        """Error over tolerance: above 1 the law is broken. A result that is not a number breaks it, too."""
        return self.error / self.tolerance if np.isfinite(self.error) else float("inf")


class Trial:
    """A subject, a case and cotangents; laws read its cached properties and ask it for comparisons."""

    def __init__(self, subject: Implementation, capabilities: Capabilities, case: Case, cotangents: Cotangents) -> None:
        self.subject = subject
        self.capabilities = capabilities
        self.case = case
        self.cotangents = cotangents
        self.rng = np.random.default_rng([len(case.x), *case.x.tobytes()[:16]])

    def vjp(self, case: Case) -> tuple[Outputs, Pullback | None]:
        """Run the subject on arrays of its own; what it raises becomes an `AdapterError`."""
        assert isinstance(self.subject, TwoPhase)
        returned = self._called("vjp", self.subject.vjp, case)
        if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[0], Outputs)):
            raise AdapterError(f"vjp returned {type(returned).__name__}; expected a tuple of Outputs and a pullback")
        self._check_shapes(case, _named_arrays(returned[0]))
        return returned

    def _check_shapes(self, case: Case, outputs: Named) -> None:
        """Laws put other cases than the trial's: shorter ones, single rows. Raises Violation."""
        for name, array in outputs.items():
            rows = case.x.shape[:2] if name == "y" else case.x.shape[1:2]
            like = named(self.cotangents).get(name)
            if array.shape[: len(rows)] != rows or (like is not None and array.ndim != like.ndim):
                steps, batch = case.x.shape[:2]
                raise Violation(f"with {steps} steps and {batch} rows the output {name} has shape {array.shape}")

    def loss_and_gradients(self, case: Case) -> Named:
        """The subject's gradients for the case's objective by name, and its value as "loss"."""
        assert isinstance(self.subject, OneShot)
        returned = self._called("loss_and_gradients", self.subject.loss_and_gradients, case)
        if not (isinstance(returned, tuple) and [type(part) for part in returned] == [Outputs, Gradients]):
            what = type(returned).__name__
            raise AdapterError(f"loss_and_gradients returned {what}; expected a tuple of Outputs and Gradients")
        outputs, gradients = returned
        if outputs.loss is None:
            raise AdapterError("loss_and_gradients returned Outputs without the loss")
        return _named_arrays(gradients) | {"loss": np.asarray(outputs.loss)}

    def _called(self, name: str, method: Callable[[Case], Any], case: Case) -> Any:
        if reason := self.capabilities.refusal(case):
            raise Refused(reason)
        try:
            return method(with_arrays(case, lambda _, array: array.copy()))
        except Exception as error:
            raise AdapterError(f"{name} raised {type(error).__name__}: {error}") from error

    def pull(self, pullback: Pullback | None, cotangents: Cotangents) -> Named:
        """The gradients of a pullback by name."""
        if pullback is None:
            raise AdapterError("vjp returned no pullback, but the capabilities do not say gradients=False")
        try:
            gradients = pullback(copied(cotangents))
        except Exception as error:
            raise AdapterError(f"the pullback raised {type(error).__name__}: {error}") from error
        if not isinstance(gradients, Gradients):
            raise AdapterError(f"the pullback returned {type(gradients).__name__}; expected Gradients")
        return _named_arrays(gradients)

    @cached_property
    def forward(self) -> tuple[Outputs, Pullback | None]:
        return self.vjp(self.case)

    @cached_property
    def outputs(self) -> Named:
        return {name: np.array(array) for name, array in named(self.forward[0]).items()}

    @cached_property
    def gradients(self) -> Named:
        return {name: np.array(a) for name, a in self.pull(self.forward[1], self.cotangents).items()}

    @property
    def returned(self) -> Named:
        """All that the subject returned: outputs and, unless it is forward-only, gradients."""
        return self.outputs | self.gradients if self.capabilities.gradients else self.outputs

    @property
    def one_way(self) -> bool:
        """Whether time runs one way, over rows that all have T steps: there it can be split, and truncated."""
        return self.case.lengths is None and len(self.case.parameters[0]) == 1

    @cached_property
    def measured(self) -> Measured:
        """True values (of a known cell) and scales of error of this trial's outputs and gradients."""
        return self.measure(self.cotangents)

    def measure(self, cotangents: Cotangents, case: Case | None = None) -> Measured:
        """True values and scales of error for other cotangents, or another case."""
        case = case or self.case
        if isinstance(case.cell, CustomCell):
            return measure_black_box(lambda moved: self.results(moved, cotangents), case, seed=1)
        return measure(case, cotangents, seed=1)

    @cached_property
    def scored(self) -> Named:
        """The subject's loss and gradients for the case's objective."""
        return self.loss_and_gradients(self.case)

    @cached_property
    def scored_measured(self) -> Measured:
        """True values and scales of error of `scored`."""
        return self.measure_objective(self.case)

    def measure_objective(self, case: Case) -> Measured:
        """True values and scales of error of loss and gradients for the objective of a case."""
        if isinstance(case.cell, CustomCell):
            return measure_black_box(self.loss_and_gradients, case, seed=1)
        return measure(case, None, seed=1)

    def results(self, case: Case, cotangents: Cotangents) -> Named:
        """The subject's outputs and gradients for another case."""
        outputs, pullback = self.vjp(case)
        results = named(outputs)
        return results | self.pull(pullback, cotangents) if self.capabilities.gradients else results

    def gradients_of(self, case: Case, cotangents: Cotangents) -> Named:
        """The subject's gradients for another case."""
        return self.pull(self.vjp(case)[1], cotangents)

    def with_case(self, **changes: object) -> Case:
        return replace(self.case, **changes)  # type: ignore[arg-type]

    def expected(self) -> Named:
        """The arrays that the subject must return gradients for, the readout aside."""
        kinds = self.capabilities.gradients
        return {
            name: array
            for name, array in case_arrays(replace(self.case, objective=None)).items()
            if ("x" if name == "x" else "initial" if "initial." in name else "parameters") in kinds
        }

    def compare(self, got: Named, expected: Named, *measures: Measured) -> Iterator[Comparison]:
        """Compare block by block the arrays that both sides have; scales of several measures add up.

        Blocks that the dtype cannot hold prove nothing and yield nothing.
        """
        for name in sorted(got.keys() & expected.keys()):
            spread = np.zeros_like(expected[name], dtype=float)
            for m in measures:
                spread = spread + m.spread.get(name, 0)
            yield from self._compare_array(name, got[name], expected[name], spread)

    def _compare_array(self, name: str, got: Array, expected: Array, spread: Array) -> Iterator[Comparison]:
        if got.shape != expected.shape:
            raise Violation(f"{name} has shape {got.shape} where {expected.shape} was expected")
        parts = zip(*(blocks(self.case, name, a) for a in (got, expected, spread)), strict=True)
        operations = max(1, len(self.case.x) * sum(self.case.x.shape))
        for (label, g), (_, e), (_, s) in parts:
            if g.size == 0:
                continue
            size, scale = float(np.abs(e).max()), float(s.max())
            if in_range(size, scale, self.case.dtype):
                error = float(np.abs(np.subtract(g, e, dtype=np.float64)).max())
                yield Comparison(label, error, allowed(scale, size, self.case.dtype, operations))


def _named_arrays(result: Outputs | Gradients) -> Named:
    """The arrays of a result by name. Raises AdapterError unless they are NumPy arrays, nested as the contract says."""
    try:
        found = named(result)
    except Exception as error:
        raise AdapterError(
            f"{type(result).__name__} are not nested as layers, directions, names: {type(error).__name__}: {error}"
        ) from error
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise AdapterError(f"{name} in {type(result).__name__} is a {type(array).__name__}; expected a NumPy array")
    return found


def copied(cotangents: Cotangents) -> Cotangents:
    """The cotangents in arrays of their own."""
    return Cotangents(*(None if part is None else trees.copy(part) for part in cotangents))


def rows(named_arrays: Named, select: Array) -> Named:
    """The chosen rows of the arrays that have a batch axis; parameters' gradients are left out."""
    return {
        name: array[..., select, :] if array.ndim > 1 else array[select]
        for name, array in named_arrays.items()
        if name in ("x", "y") or "initial." in name or "final." in name
    }


def largest(comparisons: Iterable[Comparison]) -> Comparison | None:
    """The comparison with the largest margin, None if there were none."""
    return max(comparisons, key=lambda c: c.margin, default=None)
