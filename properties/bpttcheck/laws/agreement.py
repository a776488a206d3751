"""The subject agrees with the reference."""

from collections.abc import Iterator

from bpttcheck.laws.law import Law, gradients, right_numbers
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.trial import Trial


def _forward(trial: Trial) -> Iterator[Comparison]:
    return trial.compare(trial.outputs, trial.measured.values, trial.measured)


def _pullback(trial: Trial) -> Iterator[Comparison]:
    return trial.compare(trial.gradients, trial.measured.values, trial.measured)


LAWS = (
    Law(
        "forward-reference",
        "Outputs and final states are those of the cell's equations.",
        "s_t = f(x_t, s_{t-1}; w)",
        "the equations at the top of bpttref/cells/*.py",
        _forward,
        (right_numbers(),),
        every_case=True,
        direct=True,
    ),
    Law(
        "pullback-reference",
        "Every gradient is that of the reference, for independent cotangents of all outputs.",
        "sbar_{t-1} = J_t' sbar_t + ybar_{t-1}",
        "Dive into Deep Learning, 9.7.2",
        _pullback,
        (right_numbers(), gradients),
        every_case=True,
        direct=True,
        kept="it is the most sensitive law, and where it fails the right numbers are known",
    ),
)
