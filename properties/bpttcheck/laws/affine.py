"""States in which a cell is declared to be affine: a mixture of two values gives that mixture of outputs and gradients.

The derivative of such an output by the state does not depend on the state. Its derivative by anything else is affine in
the state, too.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bpttcheck.cases.blocks import Named, named
from bpttcheck.cases.changes import domain_of, meant_to_differ, with_arrays, zero_where
from bpttcheck.contract import Case, Cotangents, CustomCell
from bpttcheck.custom_cell import drawn, inside
from bpttcheck.dtypes import FORMATS, rounded
from bpttcheck.laws.law import NO_REFERENCE, Law, affine_cell, gradients, initial_states
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.tolerance import Measured
from bpttcheck.measuring.trial import Trial
from bpttref.arrays import Array


class _Mixture(NamedTuple):
    """Cases that differ from the case of a `Trial` in the initial value of a state: between is ``part`` times the
    first, which the `Trial` has, and 1 - ``part`` times the second. affine: the results that are affine in it, "y" and
    final states by name."""

    state: str
    affine: set[str]
    part: float
    second: Case
    between: Case

    def of(self, first: Named, second: Named) -> Named:
        """The mixture of two results."""
        return {
            name: self.part * array.astype(np.float64) + (1 - self.part) * second[name] for name, array in first.items()
        }

    def measured(self, trial: Trial, cotangents: Cotangents, first: Measured) -> tuple[Measured, Measured]:
        """The scales of error of the results in between, and of the mixture, from the scales of the ``first``."""
        second, between = (trial.measure(case, cotangents)[0] for case in (self.second, self.between))
        return between, Measured({}, self.of(first.spread, second.spread))


def _mixture(trial: Trial) -> _Mixture | None:
    """A mixture for one of the states; None if the value in between is not in its domain, which may be a function."""
    case, cell, part = trial.case, trial.case.cell, trial.one_of((0.25, 0.5, 0.75))
    assert isinstance(cell, CustomCell) and case.initial is not None
    state = trial.one_of(tuple(cell.affine))
    domain, value = domain_of(case, state), case.initial[0][0][state]
    other = rounded(drawn(domain, trial.rng.standard_normal(value.shape), trial.rng), case.dtype)
    between = rounded(part * value.astype(np.float64) + (1 - part) * other, case.dtype)
    if not np.allclose(inside(domain, between), between, rtol=8 * FORMATS[case.dtype].eps, atol=1e-9):
        return None

    def starting(value: Array) -> Case:
        return with_arrays(case, lambda name, array: value if name == f"initial.{state}" else array)

    return _Mixture(state, {*cell.affine[state]}, part, starting(other), starting(between))


def _outputs(trial: Trial) -> Iterator[Comparison]:
    if not (mixture := _mixture(trial)):
        return
    first, second, between = (
        {name: a for name, a in outputs.items() if name.removeprefix("final.") in mixture.affine}
        for outputs in (trial.outputs, *(named(trial.run(case)[0]) for case in (mixture.second, mixture.between)))
    )
    moved = {name: second[name] - array for name, array in first.items()}
    measured = mixture.measured(trial, trial.cotangents, trial.measured)
    for comparison in trial.compare(between, mixture.of(first, second), *measured, alive=moved):
        yield replace(comparison, case=mixture.between)


def _gradients(trial: Trial) -> Iterator[Comparison]:
    """The results that are affine in the state, and no others."""
    case, (y, final) = trial.case, trial.cotangents
    if not (mixture := _mixture(trial)):
        return
    assert isinstance(case.cell, CustomCell)
    others = {*(final[0][0] if final else ())} - (mixture.affine - {*case.cell.surrogate})
    given = Cotangents(y if "y" in mixture.affine else None, zero_where(final, others))
    first, second, between = (
        {n: a for n, a in trial.gradients_of(each, given).items() if not meant_to_differ(case, n)}
        for each in (case, mixture.second, mixture.between)
    )
    measured = mixture.measured(trial, given, trial.measure(case, given)[0])
    own = {name: array for name, array in first.items() if name == f"initial.{mixture.state}"}
    moved = {name: second[name] - array for name, array in first.items() if name not in own}
    yield from trial.compare(second, own, *measured)
    yield from trial.compare(between, mixture.of(first, second), *measured, alive=own | moved)


LAWS = (
    Law(
        "affine-in-a-state",
        "If outputs are affine in a state, a mixture of two initial states gives the same mixture of the outputs.",
        "f(a s + (1 - a) s') = a f(s) + (1 - a) f(s'), 0 < a < 1",
        "definition of an affine map; CustomCell.affine",
        _outputs,
        (initial_states, affine_cell),
        cost=2,
        kept=NO_REFERENCE,
    ),
    Law(
        "affine-state-gradients",
        "If outputs are affine in a state, its gradient does not depend on it, and other gradients are affine in it.",
        "P(s) = P(s') for s; P(a s + (1 - a) s') = a P(s) + (1 - a) P(s') for all other inputs",
        "derivative of f(s; w) = A(w) s + b(w)",
        _gradients,
        (gradients, initial_states, affine_cell),
        of_own_forward=True,
        cost=2,
        kept=NO_REFERENCE,
    ),
)
