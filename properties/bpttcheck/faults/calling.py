"""Faults of paths that only some callers take: no initial state, one for all rows, only some gradients wanted."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from bpttcheck.case import one_stream
from bpttcheck.contract import Case, Cotangents, Gradients, Outputs, Pullback
from bpttcheck.faults.planting import Fault, Pulled, Remembering, Vjp, with_case, with_parameters
from bpttref import GRU, LSTM, RNN, Full, Regular, trees, zero_states
from bpttref.arrays import Array


def begins_with_ones(case: Case) -> Case:
    if case.initial is not None:
        return case
    zeros = zero_states(case.cell, case.parameters, case.B)  # type: ignore[arg-type]
    return replace(case, initial=trees.each(lambda array: np.ones(array.shape, case.x.dtype), zeros))


def state_kept_in_place(correct: Vjp) -> Vjp:
    """The state after the first layer's last step is stored in the array of the initial one, unless this looks like a
    copy."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        given = trees.copy(case.initial)
        outputs, pullback = correct(replace(case, initial=given))
        for where, state in zip(_leaves(case.initial), _leaves(outputs.final), strict=True):
            if _is_shared(where):
                where[...] = state
        return outputs, pullback

    return faulty


def summed_over_rows(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """The gradient of the one row that is there, in every row."""
    gradients = pullback(cotangents)
    if case.initial is None or not all(map(_is_shared, _leaves(case.initial))):
        return gradients

    def summed(array: Array) -> Array:
        return np.broadcast_to(array.sum(axis=0, keepdims=True), array.shape).astype(array.dtype)

    return gradients._replace(initial=trees.each(summed, gradients.initial))


def zero_bias_skipped(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    def skipped(layer: int, direction: int, name: str, gradient: Array) -> Array:
        there = name.startswith("W") or case.parameters[layer][direction][name].any()
        return gradient if there else np.zeros_like(gradient)

    return with_parameters(pullback(cotangents), skipped)


def freed_too_early(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(initial=trees.scale(gradients.initial, 0)) if case.once else gradients


@Remembering
def left_behind(correct: Vjp) -> Vjp:
    """Without gradients the loop keeps its state for the next call of these shapes."""
    memory: dict[Any, Any] = {}

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        shapes = [array.shape for array in _leaves(case.initial)]
        key = str((case.cell.name, case.dtype, one_stream(case.x).shape, shapes))
        outputs, pullback = correct(replace(case, initial=memory.pop(key, case.initial)))
        if case.wanted == frozenset():
            memory[key] = trees.copy(outputs.final)
        return outputs, pullback

    return faulty


def without(kind: str, change: Callable[[Case], Case], correct: Vjp) -> Vjp:
    """The pullback of a changed case where gradients of this kind are not wanted."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        if case.wanted is None or kind in case.wanted:
            return outputs, pullback
        return outputs, correct(change(case))[1]

    return faulty


def from_zeros(case: Case) -> Case:
    return replace(case, initial=trees.scale(case.initial, 0))


def not_carried(case: Case) -> Case:
    """Whether truncation is defined, and none is requested."""
    plain = case.truncation == Full() and case.lengths is None and len(case.parameters[0]) == 1
    return replace(case, truncation=Regular(1)) if plain else case


def _leaves(states: Any) -> list[Array]:
    return [array for layer in states or () for leaf in layer for array in leaf.values()]


def _is_shared(states: Array) -> bool:
    """Whether its rows are one row, viewed as many."""
    return len(states) > 1 and states.strides[0] == 0


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "initial-left-out-means-ones",
            "If no initial state is given, the run starts from ones.",
            "https://github.com/uxlfoundation/oneDNN/issues/1436",
            ("initial-left-out",),
            (LSTM(), GRU("after")),
            partial(with_case, begins_with_ones),
        ),
        (
            "shared-state-overwritten",
            "One initial state that is broadcast to all rows is overwritten by the state after the last step.",
            "",
            ("one-state-for-all-rows",),
            (RNN("tanh"),),
            state_kept_in_place,
        ),
        (
            "shared-state-gradient-summed",
            "If one initial state is broadcast to all rows, each row gets the gradient of all.",
            "",
            ("one-state-for-all-rows",),
            (LSTM(),),
            Pulled(summed_over_rows),
        ),
        (
            "bias-zero-skips-gradient",
            "The gradient of a bias stays zero where the bias is zero.",
            "",
            ("pullback-reference",),
            (RNN("tanh"), LSTM()),
            Pulled(zero_bias_skipped),
        ),
        (
            "tape-freed-too-early",
            "A pullback that is called once frees its tape before the gradient of the initial states is made.",
            "",
            ("pulled-once",),
            (GRU("after"),),
            Pulled(freed_too_early),
        ),
        (
            "outputs-alone-left-behind",
            "A call that wants only the outputs leaves a state behind, from which the next call starts.",
            "",
            ("outputs-alone-before",),
            (RNN("tanh"),),
            left_behind,
        ),
        (
            "zero-state-unless-wanted",
            "The pullback treats the initial states as zeros unless their gradients are wanted.",
            "https://github.com/fla-org/flash-linear-attention/pull/568",
            ("some-wanted",),
            (LSTM(),),
            partial(without, "initial", from_zeros),
        ),
        (
            "not-carried-unless-dx-wanted",
            "If the gradient of x is not wanted, nothing is carried from step to step.",
            "",
            ("some-wanted",),
            (RNN("tanh"),),
            partial(without, "x", not_carried),
        ),
    )
)
