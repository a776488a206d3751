"""The results are complete: every declared array, in the right shape and dtype."""

from collections.abc import Iterator

from bpttcheck.cases.blocks import Named
from bpttcheck.contract import OneShot
from bpttcheck.laws.law import Law, gradients
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.trial import Trial


def _outputs(trial: Trial) -> Iterator[Comparison]:
    return _there(trial.outputs)


def _gradients(trial: Trial) -> Iterator[Comparison]:
    return _there(trial.gradients)


def _scored(trial: Trial) -> Iterator[Comparison]:
    return _there(trial.scored)


def _there(arrays: Named) -> Iterator[Comparison]:
    """Each array; a call from which one is missing raises Violation (`bpttcheck.measuring.completeness`)."""
    return (Comparison(name, 0.0, 1.0) for name in sorted(arrays))


LAWS = (
    Law(
        "outputs-complete",
        "All outputs and final states are returned, in the shapes of the case and in its dtype.",
        "y: (T, B, directions*H), final states: (B, H)",
        "bpttcheck.contract",
        _outputs,
        decisive=True,
        every_case=True,
    ),
    Law(
        "gradients-complete",
        "Each differentiated array has a gradient of the same shape and dtype.",
        "shape(dw) = shape(w)",
        "bpttcheck.contract",
        _gradients,
        (gradients,),
        decisive=True,
        every_case=True,
    ),
    Law(
        "objective-complete",
        "The loss and all its gradients, including the readout's, are returned in the correct shapes and dtype.",
        "shape(dw) = shape(w)",
        "bpttcheck.contract",
        _scored,
        door=OneShot,
        decisive=True,
        every_case=True,
    ),
)
