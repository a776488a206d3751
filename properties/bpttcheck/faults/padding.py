"""Rows of different lengths: mistakes behind the end of a row."""

from dataclasses import replace
from functools import partial

import numpy as np

from bpttcheck.cases.changes import behind
from bpttcheck.contract import Case, Cotangents, Gradients, Outputs, Pullback
from bpttcheck.faults.planting import PULLBACK, Fault, Pulled, Vjp, with_outputs
from bpttref import GRU, LSTM, RNN
from bpttref.inputs import is_tokens


def aligned_to_the_end(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """The gradients of a short row are written to the last steps instead of the first."""
    gradients = pullback(cotangents)
    if case.lengths is None or gradients.x is None:
        return gradients
    rows = [np.roll(gradients.x[:, b], case.T - n, axis=0) for b, n in enumerate(case.lengths)]
    return gradients._replace(x=np.stack(rows, axis=1))


def fill_value_in_padding(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    if gradients.x is None:
        return gradients
    return gradients._replace(x=np.where(behind(case)[:, :, None], 1, gradients.x).astype(gradients.x.dtype))


def lengths_forgotten(correct: Vjp) -> Vjp:
    return lambda case: (correct(case)[0], correct(replace(case, lengths=None))[1])


def state_at_the_end(correct: Vjp) -> Vjp:
    """Final states are taken at T, not at each row's length."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        return outputs._replace(final=correct(replace(case, lengths=None))[0].final), pullback

    return faulty


def garbage_in_padding(case: Case, outputs: Outputs) -> Outputs:
    if outputs.y is None:
        return outputs
    return outputs._replace(y=np.where(behind(case)[:, :, None], 7, outputs.y).astype(outputs.y.dtype))


def padding_comes_first(correct: Vjp) -> Vjp:
    """The reverse direction flips the padded array, and so starts with the padding."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        if case.lengths is None or len(case.parameters[0]) == 1 or len(case.parameters) > 1 or outputs.y is None:
            return outputs, pullback
        half, padded = outputs.y.shape[-1] // 2, correct(replace(case, lengths=None))[0].y
        assert padded is not None
        return outputs._replace(y=np.concatenate([outputs.y[..., :half], padded[..., half:]], axis=-1)), pullback

    return faulty


def final_at_padded_slot(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    if case.lengths is None or cotangents.final is None:
        return pullback(cotangents)
    full = (case.lengths == case.T)[:, None]
    final = tuple(tuple({k: np.where(full, a, 0) for k, a in leaf.items()} for leaf in la) for la in cotangents.final)
    return pullback(Cotangents(cotangents.y, final))


def masked_by_multiplication(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """Padding is multiplied by zero, which does not remove a NaN."""
    gradients = pullback(cotangents)
    if gradients.x is None or is_tokens(case.x):
        return gradients
    with np.errstate(invalid="ignore"):
        return gradients._replace(x=gradients.x + 0 * np.where(behind(case)[:, :, None], case.x, 0))


def longest_row_fills(correct: Vjp) -> Vjp:
    """The longest row is treated as if it were as long as the padded array."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        n = case.lengths
        if n is None or n.size == 0:
            return correct(case)
        return correct(replace(case, lengths=np.where(n == n.max(), case.T, n)))

    return faulty


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "final-grad-at-padded-slot",
            "The cotangent of a final state enters at T instead of at its row's last step.",
            "https://github.com/OpenNMT/OpenNMT/issues/306",
            PULLBACK,
            (LSTM(),),
            Pulled(final_at_padded_slot),
        ),
        (
            "until-grad-aligned-to-end",
            "The gradients of a short row are written to the last steps instead of the first.",
            "https://github.com/Theano/Theano/issues/5439",
            ("pullback-reference", "ragged-row-alone"),
            (RNN("tanh"),),
            Pulled(aligned_to_the_end),
        ),
        (
            "mask-value-in-backward",
            "Gradients after a row's end hold the fill value instead of 0.",
            "https://github.com/apache/mxnet/pull/4986",
            ("pullback-reference",),
            (RNN("tanh"),),
            Pulled(fill_value_in_padding),
        ),
        (
            "seq-len-backward",
            "The backward pass knows nothing of the lengths.",
            "https://github.com/apache/mxnet/pull/15278",
            ("pullback-reference", "padding-ignored", "ragged-row-alone"),
            (LSTM(),),
            lengths_forgotten,
        ),
        (
            "last-state-at-T",
            "Final states are taken at T, not at each row's length.",
            "https://github.com/jax-ml/jax/pull/15169",
            ("forward-reference", "padding-ignored", "ragged-row-alone"),
            (LSTM(),),
            state_at_the_end,
        ),
        (
            "uninitialised-padding",
            "Outputs after a row's end are never written.",
            "https://github.com/microsoft/onnxruntime/pull/1193",
            ("forward-reference",),
            (GRU("after"),),
            partial(with_outputs, garbage_in_padding),
        ),
        (
            "pad-reversed-into-front",
            "The reverse direction flips the padded array and starts with the padding.",
            "https://github.com/keras-team/keras/issues/7244",
            ("forward-reference", "padding-ignored"),
            (RNN("tanh"),),
            padding_comes_first,
        ),
        (
            "masked-by-multiplication",
            "Padding is multiplied by zero instead of being left out, so NaN comes through.",
            "https://github.com/pytorch/pytorch/issues/50192",
            ("padding-ignored",),
            (RNN("tanh"), LSTM()),
            Pulled(masked_by_multiplication),
        ),
        (
            "longest-row-taken-for-T",
            "The longest row is treated as if it were as long as the padded array.",
            "",
            ("forward-reference", "ragged-row-alone"),
            (LSTM(),),
            longest_row_fills,
        ),
    )
)
