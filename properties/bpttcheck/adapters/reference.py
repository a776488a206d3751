"""The built-in NumPy reference as an implementation: needs no library, and is an example of an adapter."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bpttcheck.cases.blocks import named
from bpttcheck.cases.changes import all_states, with_arrays
from bpttcheck.contract import Capabilities, Case, CustomCell, Gradients, Outputs, Pullback
from bpttref import (
    CELLS,
    Blocks,
    Cotangents,
    Last,
    Links,
    Random,
    Regular,
    Window,
    streamed_gradients,
    trees,
    vjp,
    zero_states,
)
from bpttref.arrays import Array
from bpttref.inputs import is_tokens

_STEP = 2.0**-100


def with_loss(vjp: Callable[[Case], tuple[Outputs, Pullback]]) -> Callable[[Case], tuple[Outputs, Gradients]]:
    """Loss and gradients from the outputs and the pullback of the whole sequence."""

    def loss_and_gradients(case: Case) -> tuple[Outputs, Gradients]:
        assert case.objective is not None
        outputs, pullback = vjp(case)
        assert outputs.y is not None
        evaluated = case.objective(outputs.y)
        gradients = pullback(Cotangents(evaluated.dy))
        return outputs._replace(loss=float(evaluated.loss)), gradients._replace(readout=evaluated.readout)

    return loss_and_gradients


class Reference:
    """`bpttref` in the dtype of the case; the reference of a law runs in float64."""

    name = "reference"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            cells=CELLS,
            layers=3,
            bidirectional=True,
            inputs=("dense", "tokens", "initial", "lengths", "resets"),
            truncations=(Regular, Random, Links, Window, Blocks, Last),
            objectives=("cross-entropy", "squared-error", "linear"),
            loss_weights=True,
            padding="anything",
            empty=True,
            streams=True,
            selects=True,
        )

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        assert not isinstance(case.cell, CustomCell)
        return vjp(
            case.cell,
            case.parameters,
            case.x,
            all_states(case, case.initial),
            lengths=case.lengths,
            strategy=case.truncation,
            pull_inputs=case.wanted is None or "x" in case.wanted,
            resets=case.resets,
            reset_to=case.reset_to,
        )

    def jvp(self, case: Case, tangents: Gradients) -> Outputs:
        """The pushforward by the complex step: one forward pass from arrays moved by a tiny imaginary amount."""
        moves = named(tangents)
        moved = with_arrays(replace(case, objective=None), lambda name, a: a.astype(complex) + 1j * _STEP * moves[name])
        assert not isinstance(case.cell, CustomCell)
        outputs, _ = vjp(
            case.cell,
            moved.parameters,
            moved.x,
            all_states(moved, moved.initial),
            lengths=case.lengths,
            resets=case.resets,
            reset_to=case.reset_to,
        )

        def imaginary(array: Array) -> Array:
            part: Array = (array.imag / _STEP).astype(case.dtype)
            return part

        return Outputs(trees.each(imaginary, outputs.y), trees.each(imaginary, outputs.final))

    def loss_and_gradients(self, case: Case) -> tuple[Outputs, Gradients]:
        """By streaming, where time runs one way and truncation cuts links; else through ``vjp``."""
        assert not isinstance(case.cell, CustomCell) and case.objective is not None
        one_way = len(case.parameters[0]) == 1 and case.lengths is None
        if not one_way or isinstance(case.truncation, Window | Blocks | Last):
            return with_loss(self.vjp)(case)
        dx = None if is_tokens(case.x) else np.empty_like(case.x)

        def receive(start: int, piece: Array) -> None:
            assert dx is not None
            dx[start : start + len(piece)] = piece

        initial = all_states(case, case.initial) or zero_states(case.cell, case.parameters, case.x.shape[1])
        loss, gradients, final = streamed_gradients(
            case.cell,
            case.parameters,
            [case.x],
            case.objective,
            initial,
            case.truncation,
            receive,
            resets=case.resets,
            reset_to=case.reset_to,
        )
        return Outputs(None, final, loss), gradients._replace(x=dx)
