"""Faults of the pullback and of the outputs that need no other equations: what is dropped, doubled or misplaced."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np

from bpttcheck.cases import behind
from bpttcheck.contract import Case, Cotangents, CustomCell, Gradients, Outputs, Pullback
from bpttcheck.faults.planting import Fault, Vjp, correct, pulled, with_parameters
from bpttref import GRU, LSTM, RNN, Cell, Links, Regular, trees
from bpttref.arrays import Array
from bpttref.inputs import is_tokens


def with_outputs(change: Callable[[Case, Outputs], Outputs]) -> Callable[[], Vjp]:
    """The reference with its outputs changed and its pullback left alone."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        return change(case, outputs), pullback

    return lambda: faulty


def with_case(change: Callable[[Case], Case]) -> Callable[[], Vjp]:
    """The reference on a changed case."""
    return lambda: lambda case: correct(change(case))


def states_are_constants(case: Case) -> Case:
    return replace(case, truncation=Regular(1)) if len(case.parameters[0]) == 1 else case


def last_output_only(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    dy = cotangents.y
    if dy is not None and len(dy):
        dy = np.concatenate([0 * dy[:-1], dy[-1:]])
    return pullback(Cotangents(dy, cotangents.final))


def second_direction_not_added(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """dx lacks what comes through the reverse direction."""
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


def nothing_written(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    return Gradients(*(None if part is None else trees.scale(part, 0) for part in pullback(cotangents)))


def initial_dropped(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(initial=trees.scale(gradients.initial, 0))


def final_dropped(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    return pullback(Cotangents(cotangents.y))


def run_twice(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(parameters=trees.scale(gradients.parameters, 2))


def divided_by_rows(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(parameters=trees.scale(gradients.parameters, 1 / max(1, case.x.shape[1])))


def divided_by_steps(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(parameters=trees.scale(gradients.parameters, 1 / max(1, len(case.x))))


def times_steps(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(parameters=trees.scale(gradients.parameters, len(case.x)))


def gates_taken_as(*taken: int) -> Callable[[], Vjp]:
    """The k-th block of the weights is taken for gate ``taken[k]``, as by another convention, forward and backward."""

    def moved(parameters: Gradients, order: Sequence[int] | Array) -> Gradients:
        def blocks(k: int, d: int, name: str, array: Array) -> Array:
            parts = np.split(array, len(order))
            return np.concatenate([parts[place] for place in order])

        return with_parameters(parameters, blocks)

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        others = moved(Gradients(None, case.parameters, None), np.argsort(taken)).parameters
        assert others is not None
        outputs, pullback = correct(replace(case, parameters=others))
        return outputs, lambda cotangents: moved(pullback(cotangents), taken)

    return lambda: faulty


def first_two_exchanged() -> Vjp:
    """The first two gates are taken for each other."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        assert not isinstance(case.cell, CustomCell)
        return gates_taken_as(1, 0, *range(2, len(case.cell.gates)))()(case)

    return faulty


def gate_orders(cell: Cell) -> Iterator[Fault]:
    """Each order of a cell's gates but its own and that of `first_two_exchanged`, for a diagnosis to try."""
    own = tuple(range(len(cell.gates)))
    for order in sorted(set(permutations(own)) - {own, (1, 0, *own[2:])}):
        name = "gates-taken-as-" + "-".join(cell.gates[gate] for gate in order)
        statement = "The blocks of the weights are taken for the gates in another order."
        yield Fault(name, statement, "", (), (cell,), gates_taken_as(*order))


def aligned_to_the_end(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """The gradients of a short row are written to the last steps instead of the first."""
    gradients = pullback(cotangents)
    if case.lengths is None or gradients.x is None:
        return gradients
    rows = [np.roll(gradients.x[:, b], len(case.x) - n, axis=0) for b, n in enumerate(case.lengths)]
    return gradients._replace(x=np.stack(rows, axis=1))


def fill_value_in_padding(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    if gradients.x is None:
        return gradients
    return gradients._replace(x=np.where(behind(case)[:, :, None], 1, gradients.x).astype(gradients.x.dtype))


def lengths_forgotten(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    return correct(replace(case, lengths=None))[1](cotangents) if case.lengths is not None else pullback(cotangents)


def rows_for_steps(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """dx is read from a buffer (B, T, D) as if it were (T, B, D)."""
    gradients = pullback(cotangents)
    if gradients.x is None:
        return gradients
    return gradients._replace(x=gradients.x.swapaxes(0, 1).reshape(gradients.x.shape))


def upper_biases_zero(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    return with_parameters(pullback(cotangents), lambda k, d, n, a: 0 * a if k and n.startswith("b_") else a)


def second_bias_zero(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    return with_parameters(pullback(cotangents), lambda k, d, n, a: 0 * a if n == "b_hh" else a)


def upper_layer_reads_its_output(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """dW_hx of upper layers pairs the adjoints with the layer's own states."""
    gradients = pullback(cotangents)
    if gradients.parameters is None or len(case.parameters[0]) > 1:
        return gradients
    found = [dict(layer[0]) for layer in gradients.parameters]
    for p in found[1:]:
        p["W_hx"] = p["W_hh"].copy()
    return gradients._replace(parameters=tuple((p,) for p in found))


def recurrent_bias_copied(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """db_hh of the GRU is copied from db_hx, without the reset gate."""
    gradients = pullback(cotangents)
    if gradients.parameters is None:
        return gradients
    copied = tuple(
        tuple({**p, "b_hh": p["b_hx"].copy()} if "b_hh" in p else p for p in layer) for layer in gradients.parameters
    )
    return gradients._replace(parameters=copied)


def read_as_contiguous(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """The cotangent's memory is read in order, whatever its strides say."""
    dy = cotangents.y
    if dy is not None and not dy.flags.c_contiguous:
        dy = dy.ravel(order="K").reshape(dy.shape)
    return pullback(Cotangents(dy, cotangents.final))


def state_at_the_end(case: Case, outputs: Outputs) -> Outputs:
    """Final states are those at T, not those at each row's length."""
    return outputs._replace(final=correct(replace(case, lengths=None))[0].final)


def garbage_in_padding(case: Case, outputs: Outputs) -> Outputs:
    if outputs.y is None:
        return outputs
    return outputs._replace(y=np.where(behind(case)[:, :, None], 7, outputs.y).astype(outputs.y.dtype))


def padding_comes_first(case: Case, outputs: Outputs) -> Outputs:
    """The reverse direction flips the padded array, and so starts with the padding."""
    if case.lengths is None or len(case.parameters[0]) == 1 or len(case.parameters) > 1 or outputs.y is None:
        return outputs
    half, padded = outputs.y.shape[-1] // 2, correct(replace(case, lengths=None))[0].y
    assert padded is not None
    return outputs._replace(y=np.concatenate([outputs.y[..., :half], padded[..., half:]], axis=-1))


def axes_squeezed(case: Case, outputs: Outputs) -> Outputs:
    return outputs._replace(y=None if outputs.y is None else outputs.y.squeeze())


def through_float32(case: Case, outputs: Outputs) -> Outputs:
    y = outputs.y
    return outputs._replace(y=None if y is None else y.astype(np.float32).astype(y.dtype))


def viewed_not_transposed(case: Case) -> Case:
    """A batch-major array is viewed as time-major."""
    return replace(case, x=case.x.swapaxes(0, 1).reshape(case.x.shape))


def forgotten_without_steps(case: Case, outputs: Outputs) -> Outputs:
    """Final states of a sequence without steps are zeros."""
    return outputs if len(case.x) else outputs._replace(final=trees.scale(outputs.final, 0))


def lost_without_steps(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """The loop's variables are those of step 0: without steps the cotangents of final states are lost."""
    gradients = pullback(cotangents)
    return gradients if len(case.x) else gradients._replace(initial=trees.scale(gradients.initial, 0))


def drop_final_c(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    final = cotangents.final and tuple(tuple({"h": leaf["h"]} for leaf in layer) for layer in cotangents.final)
    return pullback(Cotangents(cotangents.y, final))


def absent_is_garbage(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    width = sum(p["W_hh"].shape[-1] for p in case.parameters[-1])
    garbage = np.ones((*case.x.shape[:2], width), case.dtype)
    return pullback(Cotangents(garbage if cotangents.y is None else cotangents.y, cotangents.final))


def unexpanded(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    assert gradients.initial is not None
    initial = tuple(tuple({k: a.sum(axis=0) for k, a in leaf.items()} for leaf in layer) for layer in gradients.initial)
    return gradients._replace(initial=initial)


def final_at_padded_slot(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    if case.lengths is None or cotangents.final is None:
        return pullback(cotangents)
    full = (case.lengths == len(case.x))[:, None]
    final = tuple(tuple({k: np.where(full, a, 0) for k, a in leaf.items()} for leaf in la) for la in cotangents.final)
    return pullback(Cotangents(cotangents.y, final))


def upcast() -> Vjp:
    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        assert outputs.y is not None
        return outputs._replace(y=outputs.y.astype(np.float64)), pullback

    return faulty


def sequence_reversed_batch() -> Vjp:
    """The reverse direction is flipped along the batch instead of along time."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        assert outputs.y is not None
        return outputs._replace(y=outputs.y[:, ::-1].copy()), pullback

    return faulty


def looks_ahead() -> Vjp:
    """Outputs are left in the order of a reverse loop."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        assert outputs.y is not None
        return outputs._replace(y=outputs.y[::-1].copy()), pullback

    return faulty


def negated(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """Gradients of the opposite sign, for ascent where descent was meant."""
    return Gradients(*(trees.scale(part, -1) for part in pullback(cotangents)))


def times_rows(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(parameters=trees.scale(gradients.parameters, case.x.shape[1]))


def masked_by_multiplication(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """What lies behind a row's end is multiplied by zero: that does not remove a NaN."""
    gradients = pullback(cotangents)
    if gradients.x is None or is_tokens(case.x):
        return gradients
    with np.errstate(invalid="ignore"):
        return gradients._replace(x=gradients.x + 0 * np.where(behind(case)[:, :, None], case.x, 0))


def long_sequences_stop(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """The backward loop stops after 16 steps."""
    if len(case.x) <= 16 or len(case.parameters[0]) > 1 or case.lengths is not None:
        return pullback(cotangents)
    links = np.ones(len(case.x))
    links[-16] = 0
    short = correct(replace(case, truncation=Links(tuple(links.tolist()))))[1]
    dy = None if cotangents.y is None else np.concatenate([0 * cotangents.y[:-16], cotangents.y[-16:]])
    return short(Cotangents(dy, cotangents.final))


def wide_states_cut(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """The last few units of a state that does not fill its vectors of 8 get no gradient of their bias."""

    def cut(k: int, d: int, name: str, gradient: Array) -> Array:
        H = case.parameters[k][d]["W_hh"].shape[-1]
        units = np.arange(len(gradient)) % H
        return np.where(units < H - H % 8, gradient, 0) if name == "b_hh" and H > 8 else gradient

    return with_parameters(pullback(cotangents), cut)


_PULLBACK = ("pullback-reference", "own-forward-derivative")

FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "dcT-ignored",
            "The cotangent of the final cell state is not added.",
            "https://github.com/deeplearning4j/deeplearning4j/issues/8838",
            (*_PULLBACK, "split-resume-pullback"),
            (LSTM(),),
            pulled(drop_final_c),
        ),
        (
            "only-hx-used",
            "An absent cotangent of y is read as garbage instead of zero.",
            "https://github.com/chainer/chainer/issues/2505",
            ("linear-in-cotangents",),
            (LSTM(),),
            pulled(absent_is_garbage),
        ),
        (
            "dh0-shape-of-unexpanded",
            "dh0 comes without its batch axis.",
            "https://github.com/JuliaGPU/CuArrays.jl/pull/706",
            ("gradients-complete",),
            (RNN("tanh"),),
            pulled(unexpanded),
        ),
        (
            "final-grad-at-padded-slot",
            "The cotangent of a final state enters at T instead of at its row's last step.",
            "https://github.com/OpenNMT/OpenNMT/issues/306",
            _PULLBACK,
            (LSTM(),),
            pulled(final_at_padded_slot),
        ),
        (
            "f64-upcast",
            "A float32 input comes out as float64.",
            "https://github.com/keras-team/keras/issues/2209",
            ("outputs-complete",),
            (RNN("tanh"),),
            upcast,
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
            "flux-tau1",
            "State is kept where differentiation does not see it: every step treats h_{t-1} as a constant.",
            "https://github.com/FluxML/Flux.jl/issues/1209",
            _PULLBACK,
            (GRU("after"),),
            with_case(states_are_constants),
        ),
        (
            "flux-collect-vs-scalar",
            "Only the last output's cotangent is used.",
            "https://github.com/FluxML/Flux.jl/issues/2185",
            (*_PULLBACK, "split-resume-pullback", "tied-gradient-is-sum"),
            (RNN("tanh"),),
            pulled(last_output_only),
        ),
        (
            "direction-grad-not-added",
            "dx lacks what comes through the reverse direction.",
            "https://github.com/mlpack/mlpack/pull/1742",
            ("pullback-reference", "reverse-is-flipped"),
            (RNN("tanh"),),
            pulled(second_direction_not_added),
        ),
        (
            "reverse-dx-not-flipped-back",
            "The reverse direction's share of dx is left in the order of its loop.",
            "https://github.com/keras-team/keras/issues/3163",
            ("pullback-reference", "reverse-is-flipped"),
            (GRU("after"),),
            pulled(reverse_share_not_flipped),
        ),
        (
            "two-forward-calls",
            "The gradient that should reach the call before is dropped: dh0 = 0.",
            "https://github.com/synsense/sinabs-exodus/issues/3",
            (*_PULLBACK, "split-resume-pullback"),
            (RNN("tanh"),),
            pulled(initial_dropped),
        ),
        (
            "backward-empty",
            "The backward pass returns without writing.",
            "https://github.com/pjreddie/darknet/issues/636",
            _PULLBACK,
            (GRU("before"),),
            pulled(nothing_written),
        ),
        (
            "omitted-cotangent",
            "The cotangents of final states are ignored.",
            "https://github.com/chainer/chainer/pull/7896",
            (*_PULLBACK, "split-resume-pullback"),
            (RNN("tanh"),),
            pulled(final_dropped),
        ),
        (
            "backprop-too-much",
            "The backward pass runs more than once and adds up.",
            "https://github.com/BrainJS/brain.js/issues/701",
            _PULLBACK,
            (LSTM(),),
            pulled(run_twice),
        ),
        (
            "divide-by-wrong-axis",
            "Gradients of parameters are divided by the number of rows.",
            "https://github.com/SeanNaren/deepspeech.pytorch/issues/317",
            (*_PULLBACK, "batch-gradient-is-sum"),
            (RNN("tanh"),),
            pulled(divided_by_rows),
        ),
        (
            "divided-by-steps",
            "Gradients of parameters are divided by the number of steps.",
            "https://github.com/karpathy/char-rnn/issues/70",
            (*_PULLBACK, "tied-gradient-is-sum"),
            (GRU("after"),),
            pulled(divided_by_steps),
        ),
        (
            "until-grad-aligned-to-end",
            "The gradients of a short row are written to the last steps instead of the first.",
            "https://github.com/Theano/Theano/issues/5439",
            ("pullback-reference", "ragged-row-alone"),
            (RNN("tanh"),),
            pulled(aligned_to_the_end),
        ),
        (
            "mask-value-in-backward",
            "Gradients behind a row's end hold the fill value instead of 0.",
            "https://github.com/apache/mxnet/pull/4986",
            ("pullback-reference",),
            (RNN("tanh"),),
            pulled(fill_value_in_padding),
        ),
        (
            "seq-len-backward",
            "The backward pass knows nothing of the lengths.",
            "https://github.com/apache/mxnet/pull/15278",
            ("pullback-reference", "padding-ignored", "ragged-row-alone"),
            (LSTM(),),
            pulled(lengths_forgotten),
        ),
        (
            "last-state-at-T",
            "Final states are those at T, not those at each row's length.",
            "https://github.com/jax-ml/jax/pull/15169",
            ("forward-reference", "padding-ignored", "ragged-row-alone"),
            (LSTM(),),
            with_outputs(state_at_the_end),
        ),
        (
            "uninitialised-padding",
            "Outputs behind a row's end are never written.",
            "https://github.com/microsoft/onnxruntime/pull/1193",
            ("forward-reference",),
            (GRU("after"),),
            with_outputs(garbage_in_padding),
        ),
        (
            "pad-reversed-into-front",
            "The reverse direction flips the padded array and starts with the padding.",
            "https://github.com/keras-team/keras/issues/7244",
            ("forward-reference", "padding-ignored"),
            (RNN("tanh"),),
            with_outputs(padding_comes_first),
        ),
        (
            "zero-length",
            "Without steps the cotangents of final states are lost.",
            "https://github.com/jax-ml/jax/issues/17966",
            ("empty-sequence",),
            (LSTM(),),
            pulled(lost_without_steps),
        ),
        (
            "empty-forgets-initial",
            "Without steps the final states are zeros instead of the initial ones.",
            "https://github.com/onnx/onnx/issues/1674",
            ("empty-sequence",),
            (GRU("after"),),
            with_outputs(forgotten_without_steps),
        ),
        (
            "view-instead-of-transpose",
            "A batch-major array is viewed as time-major instead of transposed.",
            "https://github.com/HHTseng/video-classification/issues/42",
            ("forward-reference", "batch-independence", "causality"),
            (RNN("tanh"),),
            with_case(viewed_not_transposed),
        ),
        (
            "batch-first-transpose-missing",
            "dx is read from a batch-major buffer as if it were time-major.",
            "https://github.com/pytorch/pytorch/pull/95137",
            _PULLBACK,
            (LSTM(),),
            pulled(rows_for_steps),
        ),
        (
            "squeeze-all",
            "squeeze() drops every axis of size 1.",
            "https://github.com/salesforce/pytorch-qrnn/issues/11",
            ("outputs-complete",),
            (RNN("tanh"),),
            with_outputs(axes_squeezed),
        ),
        (
            "bias-offset-upper-layer",
            "Layers above the first have zero gradients for their biases.",
            "https://github.com/apache/mxnet/issues/17818",
            _PULLBACK,
            (LSTM(),),
            pulled(upper_biases_zero),
        ),
        (
            "second-bias-zero",
            "The recurrent bias has no gradient.",
            "https://github.com/onnx/onnx/issues/1127",
            _PULLBACK,
            (RNN("tanh"),),
            pulled(second_bias_zero),
        ),
        (
            "layer-input-is-output-ptr",
            "dW_hx of upper layers pairs the adjoints with the layer's own states.",
            "https://github.com/apache/mxnet/pull/18203",
            _PULLBACK,
            (GRU("before"), LSTM()),
            pulled(upper_layer_reads_its_output),
        ),
        (
            "gru-bias-copied",
            "db_hh is copied from db_hx, without the reset gate.",
            "https://github.com/onnx/onnx/issues/1127",
            _PULLBACK,
            (GRU("after"),),
            pulled(recurrent_bias_copied),
        ),
        (
            "non-contiguous-dy",
            "The cotangent's memory is read in order, whatever its strides say.",
            "https://github.com/pytorch/pytorch/issues/619",
            ("any-layout",),
            (LSTM(),),
            pulled(read_as_contiguous),
        ),
        (
            "f32-buffer-in-f64",
            "An output buffer is float32 in a float64 network.",
            "https://github.com/elixir-nx/axon/pull/646",
            ("forward-reference",),
            (RNN("tanh"),),
            with_outputs(through_float32),
        ),
        (
            "times-steps",
            "Gradients of parameters are multiplied by the number of steps.",
            "https://github.com/karpathy/char-rnn/issues/70",
            (*_PULLBACK, "tied-gradient-is-sum"),
            (RNN("tanh"),),
            pulled(times_steps),
        ),
        (
            "gates-in-another-order",
            "The weights of the first two gates are exchanged.",
            "",
            ("forward-reference", "pullback-reference"),
            (LSTM(), GRU("after"), GRU("before")),
            first_two_exchanged,
        ),
        (
            "negated",
            "All gradients have the opposite sign.",
            "",
            (*_PULLBACK, "taylor-remainder"),
            (RNN("tanh"), GRU("after")),
            pulled(negated),
        ),
        (
            "times-rows",
            "Gradients of parameters are multiplied by the number of rows.",
            "https://github.com/SeanNaren/deepspeech.pytorch/issues/317",
            (*_PULLBACK, "batch-gradient-is-sum"),
            (LSTM(),),
            pulled(times_rows),
        ),
        (
            "masked-by-multiplication",
            "What lies behind a row's end is multiplied by zero instead of being left out: NaN comes through.",
            "https://github.com/pytorch/pytorch/issues/50192",
            ("padding-ignored",),
            (RNN("tanh"), LSTM()),
            pulled(masked_by_multiplication),
        ),
        (
            "stops-after-16-steps",
            "In longer sequences the backward loop stops after 16 steps.",
            "",
            ("pullback-reference",),
            (RNN("tanh"), LSTM()),
            pulled(long_sequences_stop),
        ),
        (
            "tail-of-vector-skipped",
            "In states wider than a vector of 8 units the last H mod 8 get no gradient of a bias.",
            "",
            ("pullback-reference",),
            (GRU("after"),),
            pulled(wide_states_cut),
        ),
    )
)
