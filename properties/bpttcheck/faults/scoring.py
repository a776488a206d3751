"""Faults of the other interfaces: of implementations that compute their own loss, and of pushforwards."""

from dataclasses import replace
from typing import Any

from bpttcheck.adapters.reference import Reference, with_loss
from bpttcheck.contract import Case, Gradients, Outputs
from bpttcheck.faults.planting import Fault, Jvp, LossAndGradients, Remembering
from bpttref import LSTM, RNN, Full, Last, Regular, trees


def gradient_of_the_sum(correct: LossAndGradients) -> LossAndGradients:
    """The loss is a mean over the steps, but its gradient belongs to the sum."""

    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        outputs, gradients = correct(case)
        return outputs, Gradients(*(None if g is None else trees.scale(g, case.T) for g in gradients))

    return faulty


def loss_of_the_sum(correct: LossAndGradients) -> LossAndGradients:
    """The gradient belongs to a mean over the steps, the reported loss is the sum."""

    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        outputs, gradients = correct(case)
        assert outputs.loss is not None
        return outputs._replace(loss=outputs.loss * case.T), gradients

    return faulty


def last_chunk_alone_counts(correct: LossAndGradients) -> LossAndGradients:
    """Gradients are zeroed at the start of each segment."""

    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        outputs, gradients = correct(case)
        if isinstance(case.truncation, Regular) and case.lengths is None and len(case.parameters[0]) == 1:
            tail = (case.T - 1) % case.truncation.tau + 1
            gradients = correct(replace(case, truncation=Last(tail)))[1] if tail < case.T else gradients
        return outputs, gradients

    return faulty


@Remembering
def state_leaks(correct: LossAndGradients) -> LossAndGradients:
    """The state at the end of a sequence starts the next one of the same shape."""
    memory: dict[Any, Any] = {}

    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        first = case.parameters[0]
        key = (case.cell, case.dtype, case.x.shape, len(case.parameters), len(first), first[0]["W_hh"].shape)
        outputs, gradients = correct(replace(case, initial=memory.get(key, case.initial)))
        if len(case.parameters[0]) == 1:
            memory[key] = trees.copy(outputs.final)
        return outputs, gradients

    return faulty


def readout_bias_absent(correct: LossAndGradients) -> LossAndGradients:
    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        outputs, gradients = correct(case)
        readout = {k: a for k, a in (gradients.readout or {}).items() if k != "b_q"}
        return outputs, gradients._replace(readout=readout)

    return faulty


def target_subtracted_twice(correct: LossAndGradients) -> LossAndGradients:
    """The derivative of the loss is off: probabilities minus twice the target."""

    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        outputs, gradients = correct(case)
        if case.objective is None or case.objective.kind != "squared-error":
            return outputs, gradients
        moved = replace(case.objective, targets=2 * case.objective.targets)
        return outputs, correct(replace(case, objective=moved))[1]

    return faulty


def everything_kept(correct: LossAndGradients) -> LossAndGradients:
    """Truncated gradients from a tape of the whole sequence."""
    return with_loss(Reference().vjp)


def constant_added(correct: LossAndGradients) -> LossAndGradients:
    """The reported loss has an extra constant, which no derivative shows."""

    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        outputs, gradients = correct(case)
        assert outputs.loss is not None
        return outputs._replace(loss=outputs.loss + 0.5), gradients

    return faulty


def mean_over_rows(correct: LossAndGradients) -> LossAndGradients:
    """The loss and its gradients are divided by the number of rows without a request: they fit together."""

    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        outputs, gradients = correct(case)
        assert outputs.loss is not None
        divided = Gradients(*(None if g is None else trees.scale(g, 1 / case.B) for g in gradients))
        return outputs._replace(loss=outputs.loss / case.B), divided

    return faulty


def optimiser_steps_inside(correct: LossAndGradients) -> LossAndGradients:
    """The weights that were handed over are updated in place."""

    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        outputs, gradients = correct(case)
        for layer, found in zip(case.parameters, gradients.parameters or (), strict=True):
            for p, dp in zip(layer, found, strict=True):
                p["W_hh"][...] -= 0.1 * dp["W_hh"]
        return outputs, gradients

    return faulty


def parameters_not_truncated(correct: LossAndGradients) -> LossAndGradients:
    """dx is truncated; the gradients of the parameters belong to full BPTT."""

    def faulty(case: Case) -> tuple[Outputs, Gradients]:
        outputs, gradients = correct(case)
        full = correct(replace(case, truncation=Full()))[1]
        return outputs, gradients._replace(parameters=full.parameters)

    return faulty


def initial_tangent_ignored(correct: Jvp) -> Jvp:
    """The tangent of the initial state does not enter."""

    def faulty(case: Case, tangents: Gradients) -> Outputs:
        return correct(case, tangents._replace(initial=trees.scale(tangents.initial, 0)))

    return faulty


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "loss-not-over-T",
            "The loss is a mean over the steps, but its gradient belongs to the sum.",
            "https://github.com/karpathy/char-rnn/issues/70",
            ("own-loss-derivative", "objective-gradient-reference"),
            (RNN("tanh"),),
            gradient_of_the_sum,
            "loss_and_gradients",
        ),
        (
            "norm-by-full-length",
            "The loss is not normalised as requested.",
            "https://github.com/OpenNMT/OpenNMT-py/issues/648",
            ("loss-reference", "own-loss-derivative"),
            (LSTM(),),
            loss_of_the_sum,
            "loss_and_gradients",
        ),
        (
            "zero-grad-inside",
            "Gradients are zeroed at the start of each segment: only the last one counts.",
            "https://github.com/OpenNMT/OpenNMT-py/issues/891",
            ("objective-truncated-reference", "xray-losses"),
            (RNN("tanh"),),
            last_chunk_alone_counts,
            "loss_and_gradients",
        ),
        (
            "tbptt-state-leak",
            "The state at the end of one sequence starts the next.",
            "https://github.com/deeplearning4j/deeplearning4j/pull/4624",
            ("same-loss-again",),
            (LSTM(),),
            state_leaks,
            "loss_and_gradients",
        ),
        (
            "bias-never-learns",
            "The bias of the readout has no gradient.",
            "https://github.com/tracel-ai/burn/pull/5235",
            ("objective-complete",),
            (LSTM(),),
            readout_bias_absent,
            "loss_and_gradients",
        ),
        (
            "target-subtracted-twice",
            "The derivative of the loss takes the target twice.",
            "",
            ("own-loss-derivative", "objective-gradient-reference"),
            (RNN("tanh"),),
            target_subtracted_twice,
            "loss_and_gradients",
        ),
        (
            "chunks-kept-alive",
            "Every segment's buffers are kept until the end.",
            "https://github.com/Lightning-AI/pytorch-lightning/pull/532",
            ("memory-follows-segments",),
            (RNN("tanh"),),
            everything_kept,
            "loss_and_gradients",
        ),
        (
            "loss-off-by-a-constant",
            "The loss has a constant that was not requested.",
            "",
            ("loss-reference",),
            (RNN("tanh"),),
            constant_added,
            "loss_and_gradients",
        ),
        (
            "loss-over-B",
            "The loss and its gradients are means over the rows where they should be sums.",
            "",
            ("loss-adds-up-over-rows", "loss-reference", "objective-gradient-reference"),
            (RNN("tanh"),),
            mean_over_rows,
            "loss_and_gradients",
        ),
        (
            "optimiser-steps-inside",
            "The training step updates in place the weights that it was given.",
            "https://github.com/mratsim/Arraymancer/pull/237",
            ("same-loss-again",),
            (LSTM(),),
            optimiser_steps_inside,
            "loss_and_gradients",
        ),
        (
            "loop-parameters-not-truncated",
            "In a truncated training step dx is truncated and the parameters' gradients are not.",
            "https://github.com/Theano/Theano/issues/4652",
            ("objective-truncated-reference",),
            (RNN("tanh"),),
            parameters_not_truncated,
            "loss_and_gradients",
        ),
        (
            "pushforward-without-h0",
            "The pushforward ignores the tangent of the initial state.",
            "",
            ("forward-mode-duality",),
            (RNN("tanh"), LSTM()),
            initial_tangent_ignored,
            "jvp",
        ),
    )
)
