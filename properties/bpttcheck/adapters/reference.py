"""The built-in NumPy reference as a subject: needs no library, and shows what an adapter looks like."""

import numpy as np

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
    vjp,
    zero_states,
)
from bpttref.arrays import Array
from bpttref.inputs import is_tokens


class Reference:
    """`bpttref` in the dtype of the case. What it is compared with ran in float64."""

    name = "reference"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            cells=CELLS,
            layers=2,
            bidirectional=True,
            inputs=("dense", "tokens", "initial", "lengths"),
            truncations=(Regular, Random, Links, Window, Blocks, Last),
            objectives=("cross-entropy", "squared-error", "linear"),
            loss_weights=True,
            padding="anything",
            empty=True,
            streams=True,
        )

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        assert not isinstance(case.cell, CustomCell)
        return vjp(case.cell, case.parameters, case.x, case.initial, lengths=case.lengths, strategy=case.truncation)

    def loss_and_gradients(self, case: Case) -> tuple[Outputs, Gradients]:
        """By streaming, where time runs one way and truncation cuts links; else through the first door."""
        assert not isinstance(case.cell, CustomCell) and case.objective is not None
        one_way = len(case.parameters[0]) == 1 and case.lengths is None
        if not one_way or isinstance(case.truncation, Window | Blocks | Last):
            outputs, pullback = self.vjp(case)
            assert outputs.y is not None
            evaluated = case.objective(outputs.y)
            gradients = pullback(Cotangents(evaluated.dy))
            return outputs._replace(loss=float(evaluated.loss)), gradients._replace(readout=evaluated.readout)
        dx = None if is_tokens(case.x) else np.empty_like(case.x)

        def receive(start: int, piece: Array) -> None:
            assert dx is not None
            dx[start : start + len(piece)] = piece

        initial = case.initial or zero_states(case.cell, case.parameters, case.x.shape[1])
        loss, gradients, final = streamed_gradients(
            case.cell, case.parameters, [case.x], case.objective, initial, case.truncation, receive
        )
        return Outputs(None, final, loss), gradients._replace(x=dx)
