"""One case put to one subject, with everything that the laws share computed at most once."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar
from zlib import crc32

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
    Outputs,
    Pullback,
    TwoPhase,
)
from bpttcheck.dtypes import FORMATS
from bpttcheck.tolerance import Measured, allowed, in_range, measure, measure_black_box, measure_right
from bpttref import Strategy, trees
from bpttref.arrays import Array
from bpttref.inputs import is_tokens

_Choice = TypeVar("_Choice")


class Violation(Exception):
    """A law is broken in a way that has no size, such as a missing gradient; the message is a full sentence."""


class AdapterError(Exception):
    """The subject itself raised, or its adapter says what is wrong with it."""


class Refused(Exception):
    """The subject declares that it does not take a case; the message says why."""


@dataclass(frozen=True)
class Comparison:
    """The largest error found in one block, and what is allowed there; with the numbers, where they are arrays."""

    block: str
    error: float
    tolerance: float
    alive: bool = True  # whether what is looked at is above the tolerance; if not, a wrong number would not show
    got: Array | None = field(default=None, repr=False)
    expected: Array | None = field(default=None, repr=False)
    case: Case | None = field(default=None, repr=False)  # where it is not the trial's

    @property
    def exact(self) -> bool:
        """Whether next to nothing is allowed: the smallest normal number for each operation."""
        return self.tolerance < 1e-30

    @property
    def margin(self) -> float:
        """Error over tolerance: above 1 the law is broken. A result that is not a number breaks it, too."""
        return self.error / self.tolerance if np.isfinite(self.error) else float("inf")


class Trial:
    """A subject, a case and cotangents; laws read its cached properties and ask it for comparisons."""

    def __init__(
        self,
        subject: Implementation,
        capabilities: Capabilities,
        case: Case,
        cotangents: Cotangents,
        against: Implementation | None = None,
    ) -> None:
        """against: whose numbers are right, in the place of the reference's."""
        self.subject: Any = subject  # of the doors that the law asks for
        self.capabilities = capabilities
        self.case = case
        self.cotangents = cotangents
        self.against = against
        self.rng = np.random.default_rng()  # `drawing_for` seeds it
        self.warnings: set[str] = set()

    def drawing_for(self, law_id: str) -> None:
        """Let the law draw from a generator of its own: the same for the same case, whatever was asked before."""
        self.rng = np.random.default_rng([crc32(law_id.encode()), crc32(self.case.x.tobytes())])

    def vjp(self, case: Case) -> tuple[Outputs, Pullback | None]:
        """Run the subject on arrays of its own; what it raises becomes an `AdapterError`."""
        returned = self._called("vjp", self.subject.vjp, case)
        if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[0], Outputs)):
            raise AdapterError(f"vjp returned {_kind(returned)}; expected a tuple of Outputs and a pullback")
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
        returned = self._called("loss_and_gradients", self.subject.loss_and_gradients, case)
        if not (isinstance(returned, tuple) and [type(part) for part in returned] == [Outputs, Gradients]):
            what = _kind(returned)
            raise AdapterError(f"loss_and_gradients returned {what}; expected a tuple of Outputs and Gradients")
        outputs, gradients = returned
        if outputs.loss is None:
            raise AdapterError("loss_and_gradients returned Outputs without the loss")
        return self.declared(_named_arrays(gradients)) | {"loss": np.asarray(outputs.loss)}

    def _called(self, name: str, method: Callable[[Case], Any], case: Case) -> Any:
        if reason := self.capabilities.refusal(case):
            raise Refused(reason)
        with self.watched(name):
            return method(with_arrays(case, lambda _, array: array.copy()))

    @contextmanager
    def watched(self, name: str) -> Iterator[None]:
        """Around each call of the subject: what it raises becomes an `AdapterError`, its warnings are noted."""
        with warnings.catch_warnings(record=True) as caught, np.errstate(over="warn", divide="warn", invalid="warn"):
            warnings.simplefilter("always")
            try:
                yield
            except (AdapterError, Refused):  # says it already
                raise
            except (Exception, SystemExit) as error:
                raise AdapterError(f"{name} raised {type(error).__name__}: {error}") from error
        self.warnings |= {f"{w.category.__name__}: {w.message}" for w in caught}

    def push(self, tangents: Gradients) -> Outputs:
        """The tangents of the outputs, by the subject's pushforward."""
        pushed = self._called("jvp", lambda case: self.subject.jvp(case, tangents), self.case)
        if not isinstance(pushed, Outputs):
            raise AdapterError(f"jvp returned {type(pushed).__name__}; expected Outputs")
        return pushed

    def pull(self, pullback: Pullback | None, cotangents: Cotangents, *, copy: bool = True) -> Named:
        """The gradients of a pullback by name; those that are not declared are left out."""
        return self.declared(_named_arrays(self.pulled(pullback, cotangents, copy=copy)))

    def pulled(self, pullback: Pullback | None, cotangents: Cotangents, *, copy: bool = True) -> Gradients:
        """The gradients of a pullback, which is called with arrays of its own unless ``copy`` is False."""
        if pullback is None:
            raise AdapterError("vjp returned no pullback, but the capabilities do not say gradients=()")
        with self.watched("the pullback"):
            gradients = pullback(copied(cotangents) if copy else cotangents)
        if not isinstance(gradients, Gradients):
            raise AdapterError(f"the pullback returned {type(gradients).__name__}; expected Gradients")
        return gradients

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

    @cached_property
    def determined(self) -> bool:
        """Whether the dtype holds the outputs, and rounding leaves them as they are but for a thousandth.

        Where it does not, in chaos, nothing can be said of gradients: errors no longer grow in proportion to rounding.
        In a format that itself rounds to a thousandth it is but for a few roundings.
        """
        if isinstance(self.case.cell, CustomCell) and not isinstance(self.subject, TwoPhase):
            return True
        values, spread = self.measured.values or self.outputs, self.measured.spread
        sizes = [
            (float(np.abs(array).max(initial=0)), float(spread[name].max(initial=0)))
            for name, array in values.items()
            if (name == "y" or "final." in name) and name in spread
        ]
        bound = max(1e-3, 8 * FORMATS[self.case.dtype].eps)
        return all(in_range(size, scale, self.case.dtype) and scale <= bound * size for size, scale in sizes)

    @property
    def one_way(self) -> bool:
        """Whether time runs one way, over rows that all have T steps: there it can be split, and truncated."""
        return self.case.lengths is None and len(self.case.parameters[0]) == 1

    @property
    def measured(self) -> Measured:
        """True values (of a known cell) and scales of error of this trial's outputs and gradients."""
        return self._measured[0]

    @cached_property
    def scored_measured(self) -> Measured:
        """True values and scales of error of `scored`."""
        return self._measured[-1] if len(self._measured) > 1 else self.measure_objective(self.case)

    @cached_property
    def _measured(self) -> list[Measured]:
        """For the first door and, where a known cell has an objective, for the second, in one go."""
        if isinstance(self.case.cell, CustomCell):
            return self.measure(self.case, self.cotangents)
        found = measure(self.case, self.cotangents, objective=self.case.objective is not None)
        return found if self.against is None else [*self.measure(self.case, self.cotangents), *found[1:]]

    def measure(self, case: Case, *cotangents: Cotangents) -> list[Measured]:
        """True values and scales of error for another case, for each of the ``cotangents``."""
        custom = isinstance(case.cell, CustomCell)
        if self.against is not None and self.against.capabilities().undeclared(case) is None:
            others = [measure_right(self._right, case, c) for c in cotangents]
            scales = others if custom else measure(case, *cotangents)
            return [Measured(o.values, s.spread) for o, s in zip(others, scales, strict=True)]
        if not custom:
            return [m if self.against is None else Measured({}, m.spread) for m in measure(case, *cotangents)]
        return [Measured({}, measure_black_box(self.results, case, c).spread) for c in cotangents]

    def _right(self, case: Case, cotangents: Cotangents) -> Named:
        """What the implementation that the subject is judged against gives for a case, in float64."""
        assert self.against is not None
        exact = replace(with_arrays(case, lambda _, array: array.astype(np.float64)), dtype="float64")
        given = Cotangents(*(trees.each(lambda array: array.astype(np.float64), part) for part in cotangents))
        try:
            return Trial(self.against, self.against.capabilities(), exact, given).results(exact, given)
        except (AdapterError, Refused, Violation) as error:
            raise AdapterError(f"{self.against.name}, which is to be right: {error}") from error

    @cached_property
    def scored(self) -> Named:
        """The subject's loss and gradients for the case's objective."""
        return self.loss_and_gradients(self.case)

    def measure_objective(self, case: Case) -> Measured:
        """True values and scales of error of loss and gradients for the objective of a case."""
        if isinstance(case.cell, CustomCell):
            return measure_black_box(lambda moved, _: self.loss_and_gradients(moved), case, Cotangents())
        return measure(case, objective=True)[0]

    def results(self, case: Case, cotangents: Cotangents) -> Named:
        """The subject's outputs and gradients for another case."""
        outputs, pullback = self.vjp(case)
        results = named(outputs)
        return results | self.pull(pullback, cotangents) if self.capabilities.gradients else results

    def gradients_of(self, case: Case, cotangents: Cotangents) -> Named:
        """The subject's gradients for another case."""
        return self.pull(self.vjp(case)[1], cotangents)

    def truncated(self, strategy: Strategy) -> Case:
        """The case with a truncation."""
        return replace(self.case, truncation=strategy)

    def one_of(self, choices: Sequence[_Choice]) -> _Choice:
        """One of several, drawn anew for each case."""
        return choices[int(self.rng.integers(len(choices)))]

    def by_step(self, arrays: Named) -> Array | None:
        """The gradients (or their scales) of single steps: dx, or for tokens that are all distinct columns of dW_hx."""
        if not is_tokens(self.case.x):
            return arrays.get("x")
        if "W_hx" not in arrays or len(np.unique(self.case.x)) < self.case.x.size:
            return None
        columns: Array = arrays["W_hx"].T[self.case.x]
        return columns

    def expected(self) -> Named:
        """The arrays that the subject must return gradients for, the readout aside."""
        return self.declared(case_arrays(replace(self.case, objective=None)))

    def declared(self, arrays: Named) -> Named:
        """Those outputs and gradients that the capabilities have."""
        kinds = {*self.capabilities.outputs, *self.capabilities.gradients}

        def kind(name: str) -> str:
            return (
                name if name in ("x", "y") else next((k for k in ("final", "initial") if f"{k}." in name), "parameters")
            )

        return {name: array for name, array in arrays.items() if kind(name) in kinds}

    def compare(
        self, got: Named, expected: Named, *measures: Measured, alive: Named | None = None
    ) -> Iterator[Comparison]:
        """Compare block by block the arrays that both sides have; scales of several measures add up.

        Blocks that the dtype cannot hold prove nothing and yield nothing. ``alive``: where zeros are expected, what
        would be there if they were not.
        """
        for name in [name for name in expected if name in got]:
            spread = np.zeros(expected[name].shape)
            for m in measures:
                spread = spread + m.spread.get(name, 0)
            like = expected[name] if alive is None else alive.get(name, expected[name])
            yield from self._compare_array(name, got[name], expected[name], spread, like)

    def _compare_array(
        self, name: str, got: Array, expected: Array, spread: Array, like: Array
    ) -> Iterator[Comparison]:
        if got.shape != expected.shape:
            raise Violation(f"{name} has shape {got.shape} where {expected.shape} was expected")
        parts = zip(*(blocks(self.case, name, a) for a in (got, expected, spread, like)), strict=True)
        operations = max(1, len(self.case.x) * sum(self.case.x.shape))
        for (label, g), (_, e), (_, s), (_, a) in parts:
            if g.size == 0:
                continue
            size, scale = float(np.abs(e).max()), float(s.max())
            if in_range(size, scale, self.case.dtype):
                error = float(np.abs(np.subtract(g, e, dtype=np.float64)).max())
                tolerance = allowed(scale, size, self.case.dtype, operations)
                yield Comparison(label, error, tolerance, float(np.abs(a).max()) > tolerance, g, e)


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


def _kind(returned: Any) -> str:
    """What was returned instead, by type."""
    if type(returned) is tuple:
        return f"a tuple of {' and '.join(type(part).__name__ for part in returned) or 'nothing'}"
    return type(returned).__name__


def copied(cotangents: Cotangents) -> Cotangents:
    """The cotangents in arrays of their own."""
    return Cotangents(trees.copy(cotangents.y), trees.copy(cotangents.final))


def rows(named_arrays: Named, select: Array) -> Named:
    """The chosen rows of the arrays that have a batch axis; parameters' gradients are left out."""
    return {
        name: array[..., select, :] if array.ndim > 1 else array[select]
        for name, array in named_arrays.items()
        if name in ("x", "y") or "initial." in name or "final." in name
    }
