"""The results are complete in the plain case, and incomplete if a case has more features."""

from collections.abc import Callable

import numpy as np

from bpttcheck.contract import Case, Cotangents, Gradients, Outputs, Pullback
from bpttcheck.faults.planting import Fault, LossAndGradients, Pulled
from bpttref import GRU, LSTM, RNN, Full, trees


def when_truncated(change: Callable[[Gradients], Gradients]) -> Callable[[Case, Pullback, Cotangents], Gradients]:
    """The gradients, changed where the case is truncated."""

    def faulty(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
        gradients = pullback(cotangents)
        return gradients if case.truncation == Full() else change(gradients)

    return faulty


def nothing_without_steps(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients if case.T else gradients._replace(parameters=None)


def as_float64(gradients: Gradients) -> Gradients:
    return Gradients(*(trees.each(lambda array: array.astype(np.float64), part) for part in gradients))


def layer_twice(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    assert gradients.parameters is not None
    return gradients._replace(parameters=(*gradients.parameters, gradients.parameters[-1]))


def loss_alone_when_truncated(correct: LossAndGradients) -> LossAndGradients:
    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        outputs, gradients = correct(case)
        return outputs, gradients if case.truncation == Full() else Gradients(None, None, None)

    return faulty


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "no-parameters-when-truncated",
            "Under truncation the gradients of the parameters are missing.",
            "",
            ("tau-covers-is-full", "regular-reference"),
            (LSTM(),),
            Pulled(when_truncated(lambda gradients: gradients._replace(parameters=None))),
        ),
        (
            "no-initial-when-truncated",
            "Under truncation the gradients of the initial states are missing.",
            "",
            ("tau-covers-is-full", "regular-reference"),
            (GRU("after"),),
            Pulled(when_truncated(lambda gradients: gradients._replace(initial=None))),
        ),
        (
            "float64-when-truncated",
            "Under truncation the gradients of a float32 network are float64.",
            "",
            ("tau-covers-is-full", "regular-reference"),
            (RNN("tanh"),),
            Pulled(when_truncated(as_float64)),
        ),
        (
            "no-parameters-without-steps",
            "Without steps the gradients of the parameters are missing instead of zero.",
            "",
            ("empty-sequence",),
            (LSTM(),),
            Pulled(nothing_without_steps),
        ),
        (
            "layer-too-many",
            "There is a gradient for a layer that the network does not have.",
            "",
            ("gradients-complete",),
            (RNN("tanh"),),
            Pulled(layer_twice),
        ),
        (
            "loss-alone-when-truncated",
            "Under truncation a training step returns its loss and no gradients.",
            "",
            ("objective-truncated-reference",),
            (LSTM(),),
            loss_alone_when_truncated,
            "loss_and_gradients",
        ),
    )
)
