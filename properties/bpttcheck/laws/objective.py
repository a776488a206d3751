"""The second door: subjects that own their loss, such as training loops."""

from collections.abc import Iterator

import numpy as np

from bpttcheck.blocks import case_arrays
from bpttcheck.cases import with_arrays
from bpttcheck.contract import OneShot
from bpttcheck.laws.law import Law, gradients, known_cell
from bpttcheck.trial import Comparison, Trial, Violation


def _loss(trial: Trial) -> Iterator[Comparison]:
    return trial.compare({"loss": trial.scored["loss"]}, trial.scored_measured.values, trial.scored_measured)


def _gradients(trial: Trial) -> Iterator[Comparison]:
    got = {name: array for name, array in trial.scored.items() if name != "loss"}
    return trial.compare(got, trial.scored_measured.values, trial.scored_measured)


def _again(trial: Trial) -> Iterator[Comparison]:
    assert isinstance(trial.subject, OneShot)
    case = with_arrays(trial.case, lambda _, array: array.copy())
    trial.subject.loss_and_gradients(case)
    for name, before in case_arrays(trial.case).items():
        if not np.array_equal(before, case_arrays(case)[name]):
            raise Violation(f"{name} was overwritten")
    yield from trial.compare(trial.loss_and_gradients(trial.case), trial.scored, trial.scored_measured)


LAWS = (
    Law(
        "loss-reference",
        "The loss is that of the objective: its kind, its scale, its readout.",
        "L = scale * sum over t of w_t l(o_t, target_t)",
        "Dive into Deep Learning, 9.7.1; bpttref.losses",
        _loss,
        (known_cell,),
        door=OneShot,
    ),
    Law(
        "objective-gradient-reference",
        "Every gradient of the objective is that of the reference, the readout's included.",
        "dL/dW_qh = sum over t of do_t h_t'",
        "Dive into Deep Learning, 9.7.2",
        _gradients,
        (known_cell, gradients),
        door=OneShot,
    ),
    Law(
        "same-loss-again",
        "The same call again gives the same loss and gradients, and overwrites nothing.",
        "f is a function",
        "bpttcheck.contract",
        _again,
        door=OneShot,
    ),
)
