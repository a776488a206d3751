"""Gradients of parameters are added up wrongly over steps, rows, biases and layers, or all are scaled."""

from dataclasses import replace

import numpy as np

from bpttcheck.contract import Case, Cotangents, Gradients, Pullback
from bpttcheck.faults.planting import PULLBACK, Altered, Fault, Pulled, with_parameters
from bpttref import CELLS, GRU, LSTM, RNN, trees
from bpttref.arrays import Array
from bpttref.cells import Tape

# mypy: disable-error-code="misc, no-any-return"


class LaterState:
    def recurrent_gradient(self, da: Array, tape: Tape) -> tuple[Array, Array]:
        later = tuple(np.concatenate([s[1:], s[-1:]]) for s in tape.states)
        found: tuple[Array, Array] = super().recurrent_gradient(da, replace(tape, states=later))
        return found


class LastStepOnly:
    def recurrent_gradient(self, da: Array, tape: Tape) -> tuple[Array, Array]:
        found: tuple[Array, Array] = super().recurrent_gradient(da[:1], tape.steps(0, 1))
        return found


class BiasDoubled:
    def recurrent_gradient(self, da: Array, tape: Tape) -> tuple[Array, Array]:
        dW, db = super().recurrent_gradient(da, tape)
        return dW, 2 * db


class FirstStepForgotten:
    """dW_hh lacks the product with the initial state."""

    def recurrent_gradient(self, da: Array, tape: Tape) -> tuple[Array, Array]:
        _, db = super().recurrent_gradient(da, tape)
        dW, _ = super().recurrent_gradient(da[1:], tape.steps(1, len(da)))
        return dW, db


def nothing_written(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    return Gradients(*(None if part is None else trees.scale(part, 0) for part in pullback(cotangents)))


def run_twice(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(parameters=trees.scale(gradients.parameters, 2))


def divided_by_rows(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(parameters=trees.scale(gradients.parameters, 1 / max(1, case.B)))


def divided_by_steps(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(parameters=trees.scale(gradients.parameters, 1 / max(1, case.T)))


def divided_by_steps_and_rows(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(parameters=trees.scale(gradients.parameters, 1 / max(1, case.T * case.B)))


def times_steps(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(parameters=trees.scale(gradients.parameters, case.T))


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


def negated(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """Gradients of the opposite sign, for ascent where descent was meant."""
    return Gradients(*(trees.scale(part, -1) for part in pullback(cotangents)))


def times_rows(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(parameters=trees.scale(gradients.parameters, case.B))


def wide_states_cut(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """The last few units of a state that does not fill its vectors of 8 get no gradient of their bias."""

    def cut(k: int, d: int, name: str, gradient: Array) -> Array:
        H = case.parameters[k][d]["W_hh"].shape[-1]
        units = np.arange(len(gradient)) % H
        return np.where(units < H - H % 8, gradient, 0) if name == "b_hh" and H > 8 else gradient

    return with_parameters(pullback(cotangents), cut)


def later_columns_zero(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """dW_hx of the first layer is zero from column 8 on."""

    def cut(k: int, d: int, name: str, gradient: Array) -> Array:
        return np.where(np.arange(gradient.shape[-1]) < 8, gradient, 0) if name == "W_hx" and not k else gradient

    return with_parameters(pullback(cotangents), cut)


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "dWh-uses-h_t",
            "dW_hh pairs da_t with h_t instead of h_{t-1}.",
            "https://github.com/wvabrinskas/Neuron/pull/181",
            PULLBACK,
            (RNN("tanh"), LSTM()),
            Altered(LaterState),
        ),
        (
            "dW-overwrite",
            "dW_hh = dW_t instead of dW_hh += dW_t in the loop over time.",
            "https://github.com/tensorflow/swift-apis/issues/518",
            (*PULLBACK, "split-resume-pullback", "taylor-remainder"),
            tuple(cell for cell in CELLS if cell != RNN("relu")),
            Altered(LastStepOnly),
        ),
        (
            "two-bias-double-step",
            "The second bias receives twice its gradient.",
            "https://github.com/onnx/onnx/issues/1127",
            PULLBACK,
            (LSTM(),),
            Altered(BiasDoubled),
        ),
        (
            "dW-without-h0",
            "dW_hh lacks the first step's product with the initial state.",
            "",
            PULLBACK,
            CELLS,
            Altered(FirstStepForgotten),
        ),
        (
            "backward-empty",
            "The backward pass returns without writing.",
            "https://github.com/pjreddie/darknet/issues/636",
            PULLBACK,
            (GRU("before"),),
            Pulled(nothing_written),
        ),
        (
            "backprop-too-much",
            "The backward pass runs more than once and adds up.",
            "https://github.com/BrainJS/brain.js/issues/701",
            PULLBACK,
            (LSTM(),),
            Pulled(run_twice),
        ),
        (
            "divide-by-wrong-axis",
            "Gradients of parameters are divided by the number of rows.",
            "https://github.com/SeanNaren/deepspeech.pytorch/issues/317",
            (*PULLBACK, "batch-gradient-is-sum"),
            (RNN("tanh"),),
            Pulled(divided_by_rows),
        ),
        (
            "divided-by-steps",
            "Gradients of parameters are divided by the number of steps.",
            "https://github.com/karpathy/char-rnn/issues/70",
            (*PULLBACK, "tied-gradient-is-sum"),
            (GRU("after"),),
            Pulled(divided_by_steps),
        ),
        (
            "divided-by-steps-and-rows",
            "The gradients of the parameters are divided by T B, although only the loss should take a mean.",
            "",
            PULLBACK,
            (RNN("tanh"), LSTM()),
            Pulled(divided_by_steps_and_rows),
        ),
        (
            "times-steps",
            "Gradients of parameters are multiplied by the number of steps.",
            "https://github.com/karpathy/char-rnn/issues/70",
            (*PULLBACK, "tied-gradient-is-sum"),
            (RNN("tanh"),),
            Pulled(times_steps),
        ),
        (
            "times-rows",
            "Gradients of parameters are multiplied by the number of rows.",
            "https://github.com/SeanNaren/deepspeech.pytorch/issues/317",
            (*PULLBACK, "batch-gradient-is-sum"),
            (LSTM(),),
            Pulled(times_rows),
        ),
        (
            "negated",
            "All gradients have the opposite sign.",
            "",
            (*PULLBACK, "taylor-remainder"),
            (RNN("tanh"), GRU("after")),
            Pulled(negated),
        ),
        (
            "bias-offset-upper-layer",
            "Layers above the first have zero gradients for their biases.",
            "https://github.com/apache/mxnet/issues/17818",
            PULLBACK,
            (LSTM(),),
            Pulled(upper_biases_zero),
        ),
        (
            "second-bias-zero",
            "The recurrent bias has no gradient.",
            "https://github.com/onnx/onnx/issues/1127",
            PULLBACK,
            (RNN("tanh"),),
            Pulled(second_bias_zero),
        ),
        (
            "layer-input-is-output-ptr",
            "dW_hx of upper layers pairs the adjoints with the layer's own states.",
            "https://github.com/apache/mxnet/pull/18203",
            PULLBACK,
            (GRU("before"), LSTM()),
            Pulled(upper_layer_reads_its_output),
        ),
        (
            "gru-bias-copied",
            "db_hh is copied from db_hx, without the reset gate.",
            "https://github.com/onnx/onnx/issues/1127",
            PULLBACK,
            (GRU("after"),),
            Pulled(recurrent_bias_copied),
        ),
        (
            "tail-of-vector-skipped",
            "In states wider than a vector of 8 units the last H mod 8 get no gradient of a bias.",
            "",
            ("pullback-reference",),
            (GRU("after"),),
            Pulled(wide_states_cut),
        ),
        (
            "columns-after-8-zero",
            "dW_hx is zero from column 8 on.",
            "",
            ("pullback-reference",),
            (GRU("after"),),
            Pulled(later_columns_zero),
        ),
    )
)
