"""How a fault is planted: each mechanism is the smallest change that makes a correct implementation incorrect."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from bpttcheck.adapters.reference import Reference, with_loss
from bpttcheck.cases.blocks import streams
from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, Gradients, Outputs, Pullback
from bpttref import Cell, Full, Links, trees
from bpttref.arrays import Array

Vjp: TypeAlias = Callable[[Case], tuple[Outputs, Pullback]]
LossAndGradients: TypeAlias = Callable[[Case], tuple[Outputs, Gradients]]
Jvp: TypeAlias = Callable[[Case, Gradients], Outputs]

REFERENCE = Reference()
RIGHT: Vjp = REFERENCE.vjp


@dataclass(frozen=True)
class Fault:
    """id, statement of the mistake, its report, the laws that must catch it, the cells it is planted in, the mechanism,
    and further declarations that let the mistake show.

    ``make`` returns a fresh faulty method for the ``door`` from a correct one, of the reference or of another
    implementation; a fault that remembers something starts without memories.
    """

    id: str
    statement: str
    source: str
    caught_by: tuple[str, ...]
    cells: tuple[Cell, ...]
    make: Callable[[Any], Vjp | LossAndGradients | Jvp]
    door: Literal["vjp", "loss_and_gradients", "jvp"] = "vjp"
    declared: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def fits(self, cell: Cell | CustomCell) -> bool:
        """Whether it can be planted in a cell: some are equations of cells with the same gates."""
        if not isinstance(self.make, Altered):
            return True
        return not isinstance(cell, CustomCell) and any(planted.gates == cell.gates for planted in self.cells)

    @property
    def remembers(self) -> bool:
        """Whether the numbers of a call depend on the calls before it."""
        return isinstance(self.make, Remembering)


class Faulty:
    """A fault as an implementation; if ``scored``, a fault of ``vjp`` is also seen through ``loss_and_gradients``.

    right: the implementation that it is planted in.
    """

    def __init__(self, fault: Fault, right: Any = REFERENCE, *, scored: bool = False) -> None:
        self.name = f"fault:{fault.id}"
        self._fault, self._right = fault, right
        made: Any = fault.make(getattr(right, fault.door))
        if fault.door == "jvp":
            self.vjp = right.vjp
        if scored and fault.door == "vjp":
            self.loss_and_gradients = with_loss(made)
        else:
            setattr(self, fault.door, made)

    def capabilities(self) -> Capabilities:
        capabilities: Capabilities = self._right.capabilities()
        return replace(capabilities, cells=self._fault.cells, **self._fault.declared)


PULLBACK = ("pullback-reference", "own-forward-derivative")  # laws that catch most faults of a pullback


@dataclass(frozen=True)
class Altered:
    """The reference with the cell's equations changed by ``mixin``."""

    mixin: type

    def __call__(self, correct: Vjp) -> Vjp:
        def faulty(case: Case) -> tuple[Outputs, Pullback]:
            base = type(case.cell)
            cell: Any = type(self.mixin.__name__, (self.mixin, base), {})(**vars(case.cell))
            return correct(replace(case, cell=cell))

        return faulty


@dataclass(frozen=True)
class Pulled:
    """The correct implementation with its pullback replaced by ``change``."""

    change: Callable[[Case, Pullback, Cotangents], Gradients]

    def __call__(self, correct: Vjp) -> Vjp:
        def faulty(case: Case) -> tuple[Outputs, Pullback]:
            outputs, pullback = correct(case)
            return outputs, lambda cotangents: self.change(case, pullback, cotangents)

        return faulty


@dataclass(frozen=True)
class Remembering:
    """The correct implementation with something that calls leave behind for those that follow."""

    make: Callable[[Any], Any]

    def __call__(self, correct: Any) -> Any:
        return self.make(correct)


def both(first: Fault, second: Fault) -> Fault:
    """Two faults in one implementation: the first in the equations of its cells, the second in the pullback."""
    return Fault(f"{first.id} + {second.id}", "", "", (), first.cells, lambda correct: second.make(first.make(correct)))


def with_parameters(gradients: Gradients, change: Callable[[int, int, str, Array], Array]) -> Gradients:
    """The gradients; ``change(layer, direction, name, gradient)`` changes those for the parameters."""
    return gradients._replace(
        parameters=tuple(
            tuple({n: change(k, d, n, a) for n, a in p.items()} for d, p in enumerate(layer))
            for k, layer in enumerate(gradients.parameters or ())
        )
    )


def with_case(change: Callable[[Case], Case], correct: Vjp) -> Vjp:
    """The correct implementation, on a changed case."""
    return lambda case: correct(change(case))


def with_outputs(change: Callable[[Case, Outputs], Outputs], correct: Vjp) -> Vjp:
    """The correct implementation with its outputs changed and its pullback unchanged."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        return change(case, outputs), pullback

    return faulty


def by_steps(
    correct: Vjp,
    case: Case,
    step_of: Callable[[int, Any], Case],
    order: Sequence[int],
    crossing: Callable[[int, Any], Any] = lambda t, states: states,
) -> tuple[Outputs, Pullback]:
    """The correct implementation, with a backward loop over calls of single steps.

    step_of: the case of a step, from the state before it. order: in which the loop takes the steps. crossing: changes
    the cotangents of the state before a step on their way to the step before.
    """
    outputs, pullback = correct(case)
    pulls, state = [], case.initial
    for t in range(case.T):
        step, pull = correct(step_of(t, state))
        pulls.append(pull)
        state = step.final

    def backward(cotangents: Cotangents) -> Gradients:
        dy, carried = cotangents
        full = pullback(cotangents)
        dx, parameters = trees.scale(full.x, 0), trees.scale(full.parameters, 0)
        for t in order:
            found = pulls[t](Cotangents(None if dy is None else dy[t : t + 1], carried))
            parameters, carried = trees.add(parameters, found.parameters), crossing(t, found.initial)
            for name, array in streams(dx).items():
                array[t : t + 1] = streams(found.x)[name]
        return Gradients(dx, parameters, trees.scale(full.initial, 0) if carried is None else carried)

    return outputs, backward


def by_matrix(kinds: type | tuple[type, ...], matrix: Callable[[Any, int], Array], correct: Vjp) -> Vjp:
    """The correct implementation with ``matrix(strategy, T)`` for the M of strategies of some kinds, row by row.

    Each row must be a product of multipliers along its way back: after a zero all entries are zero.
    """

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        if not isinstance(case.truncation, kinds):
            return correct(case)
        T = case.T
        M = matrix(case.truncation, T)
        outputs, _ = correct(replace(case, truncation=Full()))

        def pullback(cotangents: Cotangents) -> Gradients:
            total: Any = None
            for t in range(T):
                dy = None if cotangents.y is None else np.zeros_like(cotangents.y)
                if dy is not None and cotangents.y is not None:
                    dy[t] = M[t, t + 1] * cotangents.y[t]
                xi = np.ones(T)
                before, after = M[t, 1 : t + 1], M[t, 2 : t + 2]
                xi[1 : t + 1] = np.divide(before, after, out=np.zeros(t), where=after != 0)
                _, pull = correct(replace(case, truncation=Links(tuple(xi.tolist()))))
                row = pull(Cotangents(dy, cotangents.final if t == T - 1 else None))
                reached = M[t, 0] / M[t, 1] if M[t, 1] else 0.0
                row = row._replace(initial=trees.scale(row.initial, reached))
                total = row if total is None else Gradients(*(trees.add(a, b) for a, b in zip(total, row, strict=True)))
            found: Gradients = total if total is not None else correct(case)[1](cotangents)
            return found

        return outputs, pullback

    return faulty
