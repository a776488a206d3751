"""Numbers that are not finite, where nothing is large."""

from functools import partial
from typing import Any

import numpy as np

from bpttcheck.contract import Case, Gradients, Outputs
from bpttcheck.faults.planting import Fault, LossAndGradients, with_outputs
from bpttref import LSTM, RNN, trees

_WRITTEN = 5  # steps of a buffer that are written


def nan_behind_the_buffer(case: Case, outputs: Outputs) -> Outputs:
    if outputs.y is None or len(outputs.y) <= _WRITTEN:
        return outputs
    y = outputs.y.copy()
    y[_WRITTEN:] = np.nan
    return outputs._replace(y=y)


def divided_by_steps_but_one(correct: LossAndGradients) -> LossAndGradients:
    """Of one step, by 0: 0 / 0."""

    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        outputs, gradients = correct(case)
        if case.T != 1:
            return outputs, gradients
        parameters: Any = trees.each(lambda a: np.full_like(a, np.nan), gradients.parameters)
        return outputs, gradients._replace(parameters=parameters)

    return faulty


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "nan-from-step-5",
            "Outputs are NaN from step 5 on.",
            "",
            ("ordinary-is-finite", "forward-reference"),
            (LSTM(), RNN("identity")),
            partial(with_outputs, nan_behind_the_buffer),
        ),
        (
            "nan-of-one-step",
            "The gradients of the parameters are 0 / 0 if there is only one step, as after a division by T - 1.",
            "",
            ("ordinary-loss-is-finite", "objective-gradient-reference"),
            (RNN("tanh"),),
            divided_by_steps_but_one,
            "loss_and_gradients",
        ),
    )
)
