"""The subject returns what it declares: every array, in the right shape and dtype."""

from collections.abc import Iterator

from bpttcheck.cases.blocks import Named, named
from bpttcheck.contract import OneShot
from bpttcheck.dtypes import FORMATS
from bpttcheck.laws.law import Law, gradients
from bpttcheck.measuring.comparisons import Comparison, Violation
from bpttcheck.measuring.trial import Trial


def _outputs(trial: Trial) -> Iterator[Comparison]:
    shapes = {n: a.shape for n, a in named(trial.cotangents).items()}  # cotangents are shaped like outputs
    return _present(trial, "output", trial.outputs, shapes)


def _gradients(trial: Trial) -> Iterator[Comparison]:
    return _present(trial, "gradient of", trial.gradients, {n: a.shape for n, a in trial.expected().items()})


def _scored(trial: Trial) -> Iterator[Comparison]:
    assert trial.case.objective is not None
    arrays = trial.expected()
    if "parameters" in trial.capabilities.gradients:
        arrays |= trial.case.objective.readout
    return _present(trial, "gradient of", trial.scored, {n: a.shape for n, a in arrays.items()})


def _present(trial: Trial, what: str, got: Named, shapes: dict[str, tuple[int, ...]]) -> Iterator[Comparison]:
    storage = FORMATS[trial.case.dtype].storage
    for name, shape in sorted(shapes.items()):
        if name not in got:
            raise Violation(f"the {what} {name} is missing; expected an array of shape {shape}")
        if got[name].shape != shape:
            raise Violation(f"the {what} {name} has shape {got[name].shape}; expected {shape}")
        if got[name].dtype != storage:
            raise Violation(f"the {what} {name} has dtype {got[name].dtype}; expected {storage}")
        yield Comparison(name, 0.0, 1.0)


LAWS = (
    Law(
        "outputs-complete",
        "Outputs and final states are there, in the shapes of the case and in its dtype.",
        "y: (T, B, directions*H), final states: (B, H)",
        "bpttcheck.contract",
        _outputs,
        decisive=True,
        every_case=True,
    ),
    Law(
        "gradients-complete",
        "Each array that is differentiated by has a gradient, of its own shape and dtype.",
        "shape(dw) = shape(w)",
        "bpttcheck.contract",
        _gradients,
        (gradients,),
        decisive=True,
        every_case=True,
    ),
    Law(
        "objective-complete",
        "The gradients of an objective are there, the readout's included, in shape and dtype; and so is the loss.",
        "shape(dw) = shape(w)",
        "bpttcheck.contract",
        _scored,
        door=OneShot,
        decisive=True,
        every_case=True,
    ),
)
