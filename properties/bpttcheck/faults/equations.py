"""The forward pass belongs to another cell."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np

from bpttcheck.contract import Case, CustomCell, Gradients, Outputs, Pullback
from bpttcheck.faults.planting import (
    Altered,
    Fault,
    Vjp,
    with_outputs,
    with_parameters,
)
from bpttref import GRU, LSTM, RNN, Cell
from bpttref.arrays import Array
from bpttref.cells import State

# mypy: disable-error-code="misc, no-any-return"


class TanhByExponentials:
    """(e^a - e^-a) / (e^a + e^-a) overflows."""

    def step(self, a: Array, gates: State, before: State, after: State, *rest: Any) -> None:
        pre = before[0] @ rest[1] + a
        super().step(a, gates, before, after, *rest)
        (h,) = after
        with np.errstate(all="ignore"):
            h[...] = (np.exp(pre) - np.exp(-pre)) / (np.exp(pre) + np.exp(-pre))


class TanhByOneExponential:
    """(e^2a - 1) / (e^2a + 1) overflows where a is large."""

    def step(self, a: Array, gates: State, before: State, after: State, *rest: Any) -> None:
        pre = before[0] @ rest[1] + a
        super().step(a, gates, before, after, *rest)
        with np.errstate(all="ignore"):
            after[0][...] = (np.exp(2 * pre) - 1) / (np.exp(2 * pre) + 1)


class BiasTwice:
    def input_bias(self, b_hh: Array) -> Array:
        bias: Array = 2 * super().input_bias(b_hh)
        return bias


def gates_taken_as(taken: Sequence[int], of: str, correct: Vjp) -> Vjp:
    """The k-th block is read as gate ``taken[k]``, as by another convention, forward and backward. of: "W" for only the
    blocks of weights, "b" for only the biases."""

    def moved(parameters: Gradients, order: Sequence[int] | Array) -> Gradients:
        def blocks(k: int, d: int, name: str, array: Array) -> Array:
            parts = np.split(array, len(order))
            return np.concatenate([parts[place] for place in order]) if name[0] in of else array

        return with_parameters(parameters, blocks)

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        others = moved(Gradients(None, case.parameters, None), np.argsort(taken)).parameters
        assert others is not None
        outputs, pullback = correct(replace(case, parameters=others))
        return outputs, lambda cotangents: moved(pullback(cotangents), taken)

    return faulty


def first_two_exchanged(correct: Vjp) -> Vjp:
    """The first two gates are exchanged."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        assert not isinstance(case.cell, CustomCell)
        return gates_taken_as((1, 0, *range(2, len(case.cell.gates))), "Wb", correct)(case)

    return faulty


def gate_orders(cell: Cell) -> Iterator[Fault]:
    """Each other order of a cell's gates, for a diagnosis to try: in all blocks, in blocks of weights, in blocks of
    biases.

    The order of `first_two_exchanged` in all blocks is left out, because it is a fault of its own.
    """
    own = tuple(range(len(cell.gates)))
    for of, where, statement in (
        ("Wb", "", "The blocks of weights and biases are taken for the gates in another order."),
        (
            "W",
            "-in-weights",
            "The blocks of weights, not of biases, are taken for the gates in another order.",
        ),
        ("b", "-in-biases", "The blocks of biases, not of weights, are taken for the gates in another order."),
    ):
        for order in sorted(set(permutations(own)) - {own, *([(1, 0, *own[2:])] if of == "Wb" else [])}):
            name = "gates-taken-as-" + "-".join(cell.gates[gate] for gate in order) + where
            yield Fault(name, statement, "", (), (cell,), partial(gates_taken_as, order, of))


def through_float32(case: Case, outputs: Outputs) -> Outputs:
    y = outputs.y
    return outputs._replace(y=None if y is None else y.astype(np.float32).astype(y.dtype))


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "bias-twice-fwd",
            "A bias is added in the input projection and again in the step.",
            "https://github.com/lisa-lab/DeepLearningTutorials/issues/81",
            ("forward-reference",),
            (LSTM(), RNN("tanh")),
            Altered(BiasTwice),
        ),
        (
            "sigmoid-overflow",
            "tanh is computed with exponentials that overflow.",
            "",
            ("saturated-is-finite",),
            (RNN("tanh"),),
            Altered(TanhByExponentials),
        ),
        (
            "tanh-of-one-exponential",
            "tanh is computed as (e^2a - 1) / (e^2a + 1), which overflows where a is large.",
            "",
            ("saturated-is-finite",),
            (RNN("tanh"),),
            Altered(TanhByOneExponential),
        ),
        (
            "gates-in-another-order",
            "The weights of the first two gates are exchanged.",
            "",
            ("forward-reference", "pullback-reference"),
            (LSTM(), GRU("after"), GRU("before")),
            first_two_exchanged,
        ),
        (
            "f32-buffer-in-f64",
            "An output buffer is float32 in a float64 network.",
            "https://github.com/elixir-nx/axon/pull/646",
            ("forward-reference",),
            (RNN("tanh"),),
            partial(with_outputs, through_float32),
        ),
    )
)
