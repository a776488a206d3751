"""Resets inside a sequence: read at another step or row, left out, or cut in the backward pass where they are not."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from bpttcheck.cases.changes import of_steps
from bpttcheck.contract import Case, Outputs, Pullback
from bpttcheck.faults.planting import Fault, Vjp, by_steps, with_case
from bpttref import LSTM, RNN, Full, trees
from bpttref.arrays import Array
from bpttref.network import States


def a_step_later(flags: Array) -> Array:
    return np.concatenate([np.zeros_like(flags[:1]), flags[:-1]])


def a_step_earlier(flags: Array) -> Array:
    return np.concatenate([flags[1:], np.zeros_like(flags[:1])])


def of_row_0(flags: Array) -> Array:
    return np.repeat(flags[:, :1], flags.shape[1], axis=1)


def none(flags: Array) -> Array:
    return np.zeros_like(flags)


def with_flags(change: Callable[[Array], Array]) -> Callable[[Case], Case]:
    """The case with other flags."""
    return lambda case: case if case.resets is None else replace(case, resets=change(case.resets))


def backward_with_flags(change: Callable[[Array], Array], correct: Vjp) -> Vjp:
    """The forward pass is correct; the backward pass takes other flags, where rows are reset to zeros."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        flags = case.resets
        simple = case.truncation == Full() and case.lengths is None and case.reset_to == "zeros"
        if flags is None or case.initial is None or not simple:
            return correct(case)
        cut = change(flags)

        def without(rows: Array) -> Callable[[Array], Array]:
            return lambda array: np.where(rows.reshape(-1, *[1] * (array.ndim - 1)), 0, array).astype(array.dtype)

        def step_of(t: int, state: States) -> Case:
            start = trees.each(without(flags[t]), state)
            return replace(of_steps(case, slice(t, t + 1)), initial=start, resets=None)

        def crossing(t: int, states: States) -> States:
            found: States = trees.each(without(cut[t]), states)
            return found

        return by_steps(correct, case, step_of, range(case.T)[::-1], crossing)

    return faulty


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "reset-a-step-late",
            "A row is reset one step after its flag.",
            "",
            ("forward-reference", "reset-is-a-new-row"),
            (RNN("tanh"), LSTM()),
            partial(with_case, with_flags(a_step_later)),
        ),
        (
            "reset-a-step-early",
            "A row is reset one step before its flag.",
            "",
            ("forward-reference", "reset-is-a-new-row"),
            (RNN("tanh"),),
            partial(with_case, with_flags(a_step_earlier)),
        ),
        (
            "resets-of-row-0",
            "The flags of row 0 reset all rows.",
            "",
            ("forward-reference",),
            (LSTM(),),
            partial(with_case, with_flags(of_row_0)),
        ),
        (
            "resets-ignored",
            "No row is reset.",
            "",
            ("forward-reference", "reset-at-each-step", "nothing-crosses-a-reset"),
            (RNN("tanh"),),
            partial(with_case, with_flags(none)),
        ),
        (
            "gradient-crosses-resets",
            "The state is reset, and the gradient goes on across the reset.",
            "",
            ("pullback-reference", "own-forward-derivative", "nothing-crosses-a-reset"),
            (RNN("tanh"), LSTM()),
            partial(backward_with_flags, none),
        ),
        (
            "gradient-reset-a-step-early",
            "The state is reset at its flag, the gradient one step before.",
            "",
            ("pullback-reference", "own-forward-derivative"),
            (RNN("tanh"), LSTM()),
            partial(backward_with_flags, a_step_earlier),
        ),
    )
)
