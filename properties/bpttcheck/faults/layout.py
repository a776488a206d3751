"""Axes, directions, strides and dtypes of arrays."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from bpttcheck.contract import Case, Cotangents, Gradients, Outputs, Pullback
from bpttcheck.faults.planting import PULLBACK, Fault, Pulled, Vjp, with_case, with_outputs
from bpttref import GRU, LSTM, RNN, trees
from bpttref.arrays import Array


def second_direction_not_added(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """dx lacks the contribution of the reverse direction."""
    gradients = pullback(cotangents)
    if len(case.parameters[0]) == 1 or len(case.parameters) > 1 or cotangents.y is None:
        return gradients
    return gradients._replace(x=pullback(_halves(cotangents)[0]).x)


def reverse_share_not_flipped(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """The reverse direction's share of dx is left in the order of its loop."""
    gradients = pullback(cotangents)
    if len(case.parameters[0]) == 1 or len(case.parameters) > 1 or cotangents.y is None:
        return gradients
    forward, reverse = (pullback(half).x for half in _halves(cotangents))
    return gradients._replace(x=None if forward is None or reverse is None else forward + reverse[::-1])


def in_the_order_of_the_loop(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """dx is collected in a loop from the last step to the first, and left so."""
    gradients = pullback(cotangents)
    return gradients._replace(x=trees.each(lambda array: array[::-1].copy(), gradients.x))


def first_row_for_all(case: Case) -> Case:
    """All rows start from the initial states of the first row."""
    return replace(case, initial=trees.each(lambda a: np.repeat(a[:1], len(a), axis=0), case.initial))


def _halves(cotangents: Cotangents) -> tuple[Cotangents, Cotangents]:
    """The cotangents of the forward and of the reverse direction of one layer."""
    assert cotangents.y is not None
    first = np.arange(cotangents.y.shape[-1]) < cotangents.y.shape[-1] // 2
    final: Any = cotangents.final

    def keep(direction: int) -> Any:
        return final and tuple(
            tuple({k: a if d == direction else 0 * a for k, a in leaf.items()} for d, leaf in enumerate(layer))
            for layer in final
        )

    return Cotangents(cotangents.y * first, keep(0)), Cotangents(cotangents.y * ~first, keep(1))


def rows_for_steps(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """dx is read from a buffer (B, T, D) as if it were (T, B, D)."""
    gradients = pullback(cotangents)
    return gradients._replace(x=trees.each(_time_for_rows, gradients.x))


def read_as_contiguous(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """The cotangent's memory is read in order, whatever its strides say."""
    dy = cotangents.y
    if dy is not None and not dy.flags.c_contiguous:
        dy = dy.ravel(order="K").reshape(dy.shape)
    return pullback(Cotangents(dy, cotangents.final))


def axes_squeezed(case: Case, outputs: Outputs) -> Outputs:
    return outputs._replace(y=None if outputs.y is None else outputs.y.squeeze())


def _time_for_rows(array: Array) -> Array:
    return array.swapaxes(0, 1).reshape(array.shape)


def viewed_not_transposed(case: Case) -> Case:
    """A batch-major array is viewed as time-major."""
    return replace(case, x=trees.each(_time_for_rows, case.x))


def upcast(correct: Vjp) -> Vjp:
    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        assert outputs.y is not None
        return outputs._replace(y=outputs.y.astype(np.float64)), pullback

    return faulty


def sequence_reversed_batch(correct: Vjp) -> Vjp:
    """The reverse direction is flipped along the batch instead of along time."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        assert outputs.y is not None
        return outputs._replace(y=outputs.y[:, ::-1].copy()), pullback

    return faulty


def looks_ahead(correct: Vjp) -> Vjp:
    """Outputs are left in the order of a reverse loop."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        assert outputs.y is not None
        return outputs._replace(y=outputs.y[::-1].copy()), pullback

    return faulty


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "f64-upcast",
            "A float32 input comes out as float64.",
            "https://github.com/keras-team/keras/issues/2209",
            ("outputs-complete",),
            (RNN("tanh"),),
            upcast,
        ),
        (
            "dx-in-backward-order",
            "dx is left in the order of the backward loop, the last step first.",
            "",
            PULLBACK,
            (RNN("tanh"), LSTM()),
            Pulled(in_the_order_of_the_loop),
        ),
        (
            "rows-take-row-0",
            "All rows start from the initial states of row 0: the offset of the row is missing.",
            "",
            ("forward-reference", "batch-independence"),
            (LSTM(), GRU("after")),
            partial(with_case, first_row_for_all),
        ),
        (
            "flip-batch-axis",
            "Outputs are flipped along the batch.",
            "https://github.com/tensorflow/tensorflow/issues/39635",
            ("batch-independence", "batch-permutation", "forward-reference"),
            (RNN("tanh"),),
            sequence_reversed_batch,
        ),
        (
            "reverse-not-flipped-back",
            "Outputs are left in the order of a reverse loop.",
            "https://github.com/keras-team/keras/issues/1431",
            ("causality", "split-resume-states"),
            (RNN("tanh"),),
            looks_ahead,
        ),
        (
            "direction-grad-not-added",
            "dx lacks what comes through the reverse direction.",
            "https://github.com/mlpack/mlpack/pull/1742",
            ("pullback-reference", "reverse-is-flipped"),
            (RNN("tanh"),),
            Pulled(second_direction_not_added),
        ),
        (
            "reverse-dx-not-flipped-back",
            "The reverse direction's share of dx is left in the order of its loop.",
            "https://github.com/keras-team/keras/issues/3163",
            ("pullback-reference", "reverse-is-flipped"),
            (GRU("after"),),
            Pulled(reverse_share_not_flipped),
        ),
        (
            "view-instead-of-transpose",
            "A batch-major array is viewed as time-major instead of transposed.",
            "https://github.com/HHTseng/video-classification/issues/42",
            ("forward-reference", "batch-independence", "causality"),
            (RNN("tanh"),),
            partial(with_case, viewed_not_transposed),
        ),
        (
            "batch-first-transpose-missing",
            "dx is read from a batch-major buffer as if it were time-major.",
            "https://github.com/pytorch/pytorch/pull/95137",
            PULLBACK,
            (LSTM(),),
            Pulled(rows_for_steps),
        ),
        (
            "squeeze-all",
            "squeeze() drops every axis of size 1.",
            "https://github.com/salesforce/pytorch-qrnn/issues/11",
            ("outputs-complete",),
            (RNN("tanh"),),
            partial(with_outputs, axes_squeezed),
        ),
        (
            "non-contiguous-dy",
            "The cotangent's memory is read in order, whatever its strides say.",
            "https://github.com/pytorch/pytorch/issues/619",
            ("any-layout",),
            (LSTM(),),
            Pulled(read_as_contiguous),
        ),
    )
)
