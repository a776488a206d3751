"""Faults of subjects that own their loss."""

from dataclasses import replace
from typing import Any

from bpttcheck.adapters.reference import Reference
from bpttcheck.contract import Case, Cotangents, Gradients, Outputs
from bpttcheck.faults.planting import LossAndGradients
from bpttref import Last, Regular, trees

_correct = Reference().loss_and_gradients


def gradient_of_the_sum() -> LossAndGradients:
    """The loss is a mean over the steps, its gradient that of the sum."""

    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        outputs, gradients = _correct(case)
        return outputs, Gradients(*(None if g is None else trees.scale(g, len(case.x)) for g in gradients))

    return faulty


def loss_of_the_sum() -> LossAndGradients:
    """The gradient is that of a mean over the steps, the loss reported is the sum."""

    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        outputs, gradients = _correct(case)
        assert outputs.loss is not None
        return outputs._replace(loss=outputs.loss * len(case.x)), gradients

    return faulty


def last_chunk_alone_counts() -> LossAndGradients:
    """Gradients are zeroed at the start of each segment."""

    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        outputs, gradients = _correct(case)
        if isinstance(case.truncation, Regular) and case.lengths is None and len(case.parameters[0]) == 1:
            tail = (len(case.x) - 1) % case.truncation.tau + 1
            gradients = _correct(replace(case, truncation=Last(tail)))[1] if tail < len(case.x) else gradients
        return outputs, gradients

    return faulty


def state_leaks() -> LossAndGradients:
    """The state at the end of a sequence starts the next one of the same shape."""
    memory: dict[Any, Any] = {}

    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        first = case.parameters[0]
        key = (case.cell, case.dtype, case.x.shape, len(case.parameters), len(first), first[0]["W_hh"].shape)
        outputs, gradients = _correct(replace(case, initial=memory.get(key, case.initial)))
        if len(case.parameters[0]) == 1:
            memory[key] = trees.copy(outputs.final)
        return outputs, gradients

    return faulty


def readout_bias_absent() -> LossAndGradients:
    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        outputs, gradients = _correct(case)
        readout = {k: a for k, a in (gradients.readout or {}).items() if k != "b_q"}
        return outputs, gradients._replace(readout=readout)

    return faulty


def target_subtracted_twice() -> LossAndGradients:
    """The derivative of the loss is off: probabilities minus twice the target."""

    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        outputs, gradients = _correct(case)
        if case.objective is None or case.objective.kind != "squared-error":
            return outputs, gradients
        moved = replace(case.objective, targets=2 * case.objective.targets)
        return outputs, _correct(replace(case, objective=moved))[1]

    return faulty


def everything_kept() -> LossAndGradients:
    """Truncated gradients from a tape of the whole sequence."""

    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        assert case.objective is not None
        outputs, pullback = Reference().vjp(case)
        assert outputs.y is not None
        evaluated = case.objective(outputs.y)
        gradients = pullback(Cotangents(evaluated.dy))
        return Outputs(None, None, float(evaluated.loss)), gradients._replace(readout=evaluated.readout)

    return faulty
