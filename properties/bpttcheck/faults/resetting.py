"""Resets inside a sequence: read at another step or row, left out, or cut in the backward pass where they are not."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from bpttcheck.cases.blocks import streams
from bpttcheck.cases.changes import of_steps
from bpttcheck.contract import Case, Cotangents, Gradients, Outputs, Pullback
from bpttcheck.faults.planting import Fault, Vjp, with_case
from bpttref import LSTM, RNN, Full, trees
from bpttref.arrays import Array


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
    """The forward pass is right; the backward pass takes other flags, where rows are reset to zeros."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        flags, state = case.resets, case.initial
        simple = case.truncation == Full() and case.lengths is None and case.reset_to == "zeros"
        if flags is None or state is None or not simple:
            return outputs, pullback

        def without(rows: Array) -> Callable[[Array], Array]:
            return lambda array: np.where(rows.reshape(-1, *[1] * (array.ndim - 1)), 0, array).astype(array.dtype)

        pulls = []
        for t in range(case.T):
            start = trees.each(without(flags[t]), state)
            step, pull = correct(replace(of_steps(case, slice(t, t + 1)), initial=start, resets=None))
            pulls.append(pull)
            state = step.final
        cut = change(flags)

        def backward(cotangents: Cotangents) -> Gradients:
            dy, carried = cotangents
            full = pullback(cotangents)
            dx, parameters = trees.copy(full.x), trees.scale(full.parameters, 0)
            for t in reversed(range(case.T)):
                found = pulls[t](Cotangents(None if dy is None else dy[t : t + 1], carried))
                parameters, carried = (
                    trees.add(parameters, found.parameters),
                    trees.each(without(cut[t]), found.initial),
                )
                for name, array in streams(dx).items():
                    array[t : t + 1] = streams(found.x)[name]
            return Gradients(dx, parameters, carried if case.T else full.initial)

        return outputs, backward

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
