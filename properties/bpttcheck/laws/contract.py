"""The subject returns what it declares: every array, in the right shape and dtype."""

from collections.abc import Iterator

from bpttcheck.blocks import Named, case_arrays
from bpttcheck.laws.law import Law, gradients
from bpttcheck.trial import Comparison, Trial, Violation


def _outputs(trial: Trial) -> Iterator[Comparison]:
    case, cotangents = trial.case, trial.cotangents
    shapes = {"y": cotangents.y.shape} if cotangents.y is not None else {}
    if case.initial is not None and trial.capabilities.final:
        shapes |= {n.replace("initial.", "final."): a.shape for n, a in case_arrays(case).items() if "initial." in n}
    return _present(trial, "output", trial.outputs, shapes)


def _gradients(trial: Trial) -> Iterator[Comparison]:
    arrays = case_arrays(trial.case)
    return _present(trial, "gradient of", trial.gradients, {n: arrays[n].shape for n in trial.expected_names()})


def _present(trial: Trial, what: str, got: Named, shapes: dict[str, tuple[int, ...]]) -> Iterator[Comparison]:
    for name, shape in sorted(shapes.items()):
        if name not in got:
            raise Violation(f"the {what} {name} is missing; expected an array of shape {shape}")
        if got[name].shape != shape:
            raise Violation(f"the {what} {name} has shape {got[name].shape}; expected {shape}")
        if got[name].dtype != trial.case.dtype:
            raise Violation(f"the {what} {name} has dtype {got[name].dtype}; expected {trial.case.dtype}")
        yield Comparison(name, 0.0, 1.0)


LAWS = (
    Law(
        "outputs-complete",
        "Outputs and final states are there, in the shapes of the case and in its dtype.",
        "y: (T, B, directions*H), final states: (B, H)",
        "bpttcheck.contract",
        _outputs,
        decisive=True,
    ),
    Law(
        "gradients-complete",
        "Each array that is differentiated by has a gradient, of its own shape and dtype.",
        "shape(dw) = shape(w)",
        "bpttcheck.contract",
        _gradients,
        (gradients,),
        decisive=True,
    ),
)
