"""The loop over time: its order, its end, the state that step 0 reads as the state before it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from bpttcheck.cases.blocks import streams
from bpttcheck.cases.changes import of_steps
from bpttcheck.contract import Case, Cotangents, CustomCell, Gradients, Outputs, Pullback
from bpttcheck.faults.planting import PULLBACK, Altered, Fault, Pulled, Vjp, by_steps
from bpttref import GRU, LSTM, RNN, Full, trees, zero_states
from bpttref.arrays import Array
from bpttref.cells import Tape
from bpttref.network import States

# mypy: disable-error-code="misc, no-any-return"


def step_by_step(order: Callable[[int], Sequence[int]], correct: Vjp) -> Vjp:
    """The backward loop takes the steps in the order ``order(T)``, where it has one direction and no lengths."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        simple = case.truncation == Full() and case.lengths is None and len(case.parameters[0]) == 1
        begins = case.initial
        if begins is None and not isinstance(case.cell, CustomCell):
            begins = zero_states(case.cell, case.parameters, case.B)
        if not simple or begins is None:
            return correct(case)

        def step_of(t: int, state: States) -> Case:
            return replace(of_steps(case, slice(t, t + 1)), initial=state)

        return by_steps(correct, replace(case, initial=begins), step_of, order(case.T))

    return faulty


def first_dx_dropped(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """dx is written from step 1 on."""
    gradients = pullback(cotangents)
    dx = trees.copy(gradients.x)
    for array in streams(dx).values():
        array[:1] = 0
    return gradients._replace(x=dx)


def previous_at_0(taken: slice, last_alone: bool = False) -> type:
    """At step 0 the states before are read from the states after the steps, ``taken`` of all of them.

    last_alone: whether only the last state of the cell is read so, the c of an LSTM.
    """

    def misread(tape: Tape) -> Tape:
        def states(part: Array) -> Array:
            whole = part if part.base is None else part.base  # a part of a tape is a view of it
            if part.ctypes.data != whole.ctypes.data or len(whole) == 1:
                return part
            return np.concatenate([whole[taken], part[1:]])

        first, last = tape.states[:-1], states(tape.states[-1])
        return replace(tape, states=(*(first if last_alone else map(states, first)), last))

    class PreviousAt0:
        def linearise(self, tape: Tape) -> tuple[Array, ...]:
            return super().linearise(misread(tape))

        def recurrent_gradient(self, da: Array, tape: Tape) -> tuple[Array, Array]:
            return super().recurrent_gradient(da, misread(tape))

    return PreviousAt0


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "loop-runs-forward",
            "The backward loop runs from the first step to the last.",
            "",
            PULLBACK,
            (RNN("tanh"), LSTM()),
            partial(step_by_step, range),
        ),
        (
            "first-step-dropped",
            "The backward loop ends before step 0.",
            "",
            PULLBACK,
            (RNN("tanh"), GRU("after")),
            partial(step_by_step, lambda T: range(T - 1, 0, -1)),
        ),
        (
            "first-dx-dropped",
            "The gradient of x at the first step is never written; the parameters' gradients are correct.",
            "",
            PULLBACK,
            (RNN("tanh"), LSTM()),
            Pulled(first_dx_dropped),
        ),
        (
            "previous-wraps-round",
            "At step 0 the previous state is read at index -1, which is the state after the last step.",
            "",
            PULLBACK,
            (RNN("tanh"), LSTM(), GRU("after")),
            Altered(previous_at_0(slice(-1, None))),
        ),
        (
            "c-before-wraps-round",
            "At step 0 the previous cell state is read at index -1, which is the one after the last step.",
            "",
            PULLBACK,
            (LSTM(),),
            Altered(previous_at_0(slice(-1, None), last_alone=True)),
        ),
        (
            "previous-is-own-at-0",
            "At step 0 the state after the step is read instead of the state before it.",
            "",
            PULLBACK,
            (RNN("tanh"), LSTM()),
            Altered(previous_at_0(slice(1, 2))),
        ),
    )
)
