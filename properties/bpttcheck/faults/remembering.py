"""Faults of memory: numbers that one call leaves behind for the next, or overwrites."""

from dataclasses import replace
from typing import Any

import numpy as np

from bpttcheck.case import one_stream
from bpttcheck.contract import Case, Cotangents, Gradients, Outputs, Pullback
from bpttcheck.faults.planting import Fault, Pulled, Remembering, Vjp, with_parameters
from bpttref import GRU, LSTM, RNN, trees
from bpttref.arrays import Array


def overwrites_cotangent(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    if cotangents.y is not None:
        cotangents.y[...] = 0
    return gradients


@Remembering
def reset_ineffective(correct: Vjp) -> Vjp:
    """Once a call has been made, calls of the same shapes start from where it ended."""
    memory: dict[str, Any] = {}

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        shapes = [{k: a.shape for k, a in leaf.items()} for layer in outputs.final or () for leaf in layer]
        key = str((case.cell.name, case.dtype, one_stream(case.x).shape, shapes))
        if key in memory:
            outputs, pullback = correct(replace(case, initial=memory[key]))
        memory[key] = trees.copy(outputs.final)
        return outputs, pullback

    return faulty


@Remembering
def stale_weights(correct: Vjp) -> Vjp:
    """Weights are packed at the first call of a shape and never refreshed."""
    packed: dict[Any, Any] = {}

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        shapes = [{k: a.shape for k, a in p.items()} for layer in case.parameters for p in layer]
        key = str((case.dtype, len(case.parameters), shapes))
        return correct(replace(case, parameters=packed.setdefault(key, trees.copy(case.parameters))))

    return faulty


def weight_written_back(correct: Vjp) -> Vjp:
    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        case.parameters[0][0]["W_hh"][:, :1] = 0
        return correct(case)

    return faulty


def consumed_by_first_pullback(correct: Vjp) -> Vjp:
    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        calls: list[None] = []

        def consuming(cotangents: Cotangents) -> Gradients:
            calls.append(None)
            gradients = pullback(cotangents)
            return gradients if len(calls) == 1 else gradients._replace(parameters=trees.scale(gradients.parameters, 2))

        return outputs, consuming

    return faulty


@Remembering
def shared_cache(correct: Vjp) -> Vjp:
    """All pullbacks read the tape of the last forward pass."""
    last: list[Pullback] = []

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        last[:] = [pullback]
        return outputs, lambda cotangents: last[0](cotangents)

    return faulty


@Remembering
def biases_accumulate(correct: Vjp) -> Vjp:
    """The buffer of the biases' gradients is added to and never cleared."""
    before: dict[Any, Array] = {}

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)

        def accumulating(cotangents: Cotangents) -> Gradients:
            def add(k: int, d: int, name: str, gradient: Array) -> Array:
                key = (k, d, name, gradient.shape, case.dtype)
                if name.startswith("b_"):
                    gradient = before[key] = before.get(key, 0 * gradient) + gradient
                return gradient

            return with_parameters(pullback(cotangents), add)

        return outputs, accumulating

    return faulty


@Remembering
def buffer_reused(correct: Vjp) -> Vjp:
    """Outputs are views of a buffer that the next call of the same shape writes again."""
    buffers: dict[Any, Array] = {}

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        assert outputs.y is not None
        buffer = buffers.setdefault((outputs.y.shape, case.dtype), np.empty_like(outputs.y))
        buffer[...] = outputs.y
        return outputs._replace(y=buffer), pullback

    return faulty


@Remembering
def tape_freed_for_all(correct: Vjp) -> Vjp:
    """The first pullback that is called frees the tapes of all that are alive."""
    alive: list[list[bool]] = []

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        freed = [False]
        alive.append(freed)

        def freeing(cotangents: Cotangents) -> Gradients:
            gradients = pullback(cotangents)
            if freed[0]:
                return Gradients(*(None if part is None else trees.scale(part, 0) for part in gradients))
            for other in alive:
                other[0] = other is not freed
            alive[:] = [freed]
            return gradients

        return outputs, freeing

    return faulty


@Remembering
def arguments_kept(correct: Vjp) -> Vjp:
    """The arrays of the first call of a shape are the buffers into which later calls copy their arguments."""
    kept: dict[Any, Array] = {}

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        buffer = kept.setdefault((case.x.shape, case.dtype), case.x)
        if buffer is not case.x and case.x.dtype == buffer.dtype:
            buffer[...] = case.x
        return correct(case)

    return faulty


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "dy-overwritten-by-dx",
            "The cotangent's buffer is used for the gradient.",
            "https://github.com/apache/mxnet/pull/18203",
            ("nothing-overwritten",),
            (LSTM(),),
            Pulled(overwrites_cotangent),
        ),
        (
            "reset-ineffective",
            "The state is carried over although a fresh start was requested.",
            "https://github.com/soumith/cudnn.torch/issues/348",
            ("same-call-same-result",),
            (RNN("tanh"),),
            reset_ineffective,
        ),
        (
            "stale-packed-weights",
            "Weights are packed at the first call and never refreshed.",
            "https://github.com/apache/mxnet/issues/16037",
            ("forward-reference",),
            (RNN("tanh"),),
            stale_weights,
        ),
        (
            "dropped-weight-written-back",
            "The forward pass overwrites a parameter.",
            "https://github.com/keitakurita/Better_LSTM_PyTorch/issues/7",
            ("nothing-overwritten",),
            (LSTM(),),
            weight_written_back,
        ),
        (
            "two-gradients-differ",
            "A second pullback reads what the first has consumed.",
            "https://github.com/tensorflow/tensorflow/issues/26331",
            ("pullback-twice",),
            (LSTM(),),
            consumed_by_first_pullback,
        ),
        (
            "cache-key-incomplete",
            "A pullback reads the tape of a later call.",
            "https://github.com/pytorch/pytorch/pull/95563",
            ("two-pullbacks-alive",),
            (GRU("after"),),
            shared_cache,
        ),
        (
            "bias-grad-accumulates",
            "The buffer of the biases' gradients is never cleared.",
            "https://github.com/apache/mxnet/issues/17086",
            ("same-call-same-result", "pullback-twice"),
            (LSTM(),),
            biases_accumulate,
        ),
        (
            "output-buffer-reused",
            "Outputs lie in a buffer that the next call of the same shape overwrites.",
            "https://github.com/apache/mxnet/issues/17898",
            ("results-stay",),
            (RNN("tanh"), LSTM()),
            buffer_reused,
        ),
        (
            "tape-freed-for-all",
            "The first pullback that is called frees the tapes of all calls.",
            "",
            ("two-pullbacks-alive",),
            (LSTM(),),
            tape_freed_for_all,
        ),
        (
            "arguments-kept-as-buffers",
            "The arrays that were given to an earlier call are overwritten by a later one.",
            "",
            ("results-stay",),
            (RNN("tanh"),),
            arguments_kept,
        ),
    )
)
