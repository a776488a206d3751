"""Faults of a loss over rows of different lengths: losses behind the end of a row count, here or there."""

from dataclasses import replace
from functools import partial

import numpy as np

from bpttcheck.cases.changes import behind
from bpttcheck.contract import Case, Gradients, Outputs
from bpttcheck.faults.planting import Fault, LossAndGradients
from bpttref import LSTM, RNN


def padding_counts(correct: LossAndGradients) -> LossAndGradients:
    """Steps behind the end of a row count like any other, with outputs of zero."""
    return lambda case: correct(_everything_counted(case))


def padding_counts_in_gradients(correct: LossAndGradients) -> LossAndGradients:
    """The loss is masked, its gradients are not."""
    return lambda case: (correct(case)[0], correct(_everything_counted(case))[1])


def _everything_counted(case: Case) -> Case:
    if case.objective is None or case.objective.weights is None:
        return case
    weights = np.where(case.objective.weights == 0, 1, case.objective.weights)
    return replace(case, objective=replace(case.objective, weights=weights))


def mean_over_padding(axis: int | None, correct: LossAndGradients) -> LossAndGradients:
    """The loss is masked, and divided by the number of all places; with an axis, by the number of its places."""

    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        if case.objective is None or case.lengths is None:
            return correct(case)
        share = 1 - behind(case).mean(axis)
        return correct(replace(case, objective=replace(case.objective, scale=case.objective.scale * share)))

    return faulty


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "padding-counts",
            "Steps after the end of a row count in the loss.",
            "https://github.com/ray-project/ray/issues/15523",
            ("loss-reference", "objective-gradient-reference", "loss-ignores-padding"),
            (LSTM(),),
            padding_counts,
            "loss_and_gradients",
        ),
        (
            "mean-over-padding",
            "The loss leaves out padding and divides by the number of all places, padding included.",
            "https://github.com/Stable-Baselines-Team/stable-baselines3-contrib/pull/78",
            ("loss-reference", "objective-gradient-reference", "loss-ignores-padding"),
            (LSTM(),),
            partial(mean_over_padding, None),
            "loss_and_gradients",
        ),
        (
            "row-mean-over-padding",
            "The loss leaves out padding and divides each row's loss by the number of all steps, padding included.",
            "",
            ("loss-reference", "objective-gradient-reference", "loss-ignores-padding"),
            (RNN("tanh"),),
            partial(mean_over_padding, 0),
            "loss_and_gradients",
        ),
        (
            "gradient-not-masked",
            "The loss leaves out padding, but its gradient does not.",
            "",
            ("objective-gradient-reference", "loss-ignores-padding"),
            (RNN("tanh"),),
            padding_counts_in_gradients,
            "loss_and_gradients",
        ),
    )
)
