"""Faults in a cell's equations, each a mixin that changes one line of one method."""

from dataclasses import replace
from typing import Any

import numpy as np

from bpttcheck.faults.planting import Fault, altered
from bpttref import CELLS, GRU, LSTM, RNN
from bpttref.arrays import Array
from bpttref.cells import State, Tape

# mypy: disable-error-code="misc, no-any-return"


class CellCarryZeroed:
    """dc does not travel from step to step."""

    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        dh, dc = super().pull(local, ds, W, da)
        return dh, 0 * dc


class ForgetGateSkipped:
    """dc_{t-1} = dc_t instead of f * dc_t."""

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        to_gates, dh_to_c, f = super().linearise(tape)
        return to_gates, dh_to_c, np.ones_like(f)


class CellTanhPrimeMissing:
    """dc = dh * o instead of dh * o * (1 - tanh(c)^2)."""

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        to_gates, dh_to_c, f = super().linearise(tape)
        return to_gates, tape.gates[..., 3 * dh_to_c.shape[-1] :].copy(), f


class GatesSwapped:
    """The gradients of the input and the forget gate are exchanged."""

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        to_gates, dh_to_c, f = super().linearise(tape)
        return to_gates[..., [1, 0, 2, 3], :], dh_to_c, f


class CandidatePrimeOfSigmoid:
    """g (1 - g) instead of 1 - g^2."""

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        to_gates, dh_to_c, f = super().linearise(tape)
        H = f.shape[-1]
        i, g = tape.gates[..., :H], tape.gates[..., 2 * H : 3 * H]
        to_gates[..., 2, :] = i * g * (1 - g)
        return to_gates, dh_to_c, f


class ResetGateSkipped:
    """Nothing flows back through the reset gate."""

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        to_gates, r, z = super().linearise(tape)
        to_gates[..., 0, :] = 0
        return to_gates, r, z


class DirectPathSkipped:
    """dh_{t-1} lacks z * dh_t."""

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        to_gates, r, z = super().linearise(tape)
        return to_gates, r, 0 * z


class ResetOutsideTheProduct:
    """The recurrent product's cotangent lacks the reset gate."""

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        to_gates, r, z = super().linearise(tape)
        return to_gates, np.ones_like(r), z


class TanhPrimeWithoutSquare:
    """1 - h instead of 1 - h^2."""

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        return (1 - tape.states[0][1:],)


class TanhPrimeOfTheStateBefore:
    """The derivative is taken at h_{t-1}."""

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        h = tape.states[0][:-1]
        return (1 - h * h,)


class DerivativeSkipped:
    """The activation's derivative is left out."""

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        return (np.ones_like(tape.states[0][1:]),)


class MaskOfStepZero:
    """Local derivatives are read at step 0 for every step: a missing offset."""

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        return tuple(np.repeat(a[:1], len(a), axis=0) for a in super().linearise(tape))


class UpdatedInside:
    """The weights move inside the backward loop: earlier steps see others."""

    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        return super().pull(local, ds, W * self._shrunk(), da)

    def _shrunk(self) -> float:
        steps: int = vars(self).get("calls", 0)
        vars(self)["calls"] = steps + 1
        return 0.99**steps


class TanhByExponentials:
    """(e^a - e^-a) / (e^a + e^-a) overflows."""

    def step(self, a: Array, gates: State, before: State, after: State, *rest: Any) -> None:
        pre = before[0] @ rest[1] + a
        super().step(a, gates, before, after, *rest)
        (h,) = after
        with np.errstate(all="ignore"):
            h[...] = (np.exp(pre) - np.exp(-pre)) / (np.exp(pre) + np.exp(-pre))


class NoCarry:
    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        carried: State = super().pull(local, ds, W, da)
        return tuple(0 * c for c in carried)


class NoTranspose:
    """The recurrent matrix of each gate is used as it is where its transpose is due."""

    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        H = W.shape[-1]
        by_gate = W.reshape(*W.shape[:-2], -1, H, H).swapaxes(-1, -2)
        pulled: State = super().pull(local, ds, by_gate.reshape(W.shape), da)
        return pulled


class ClipInLoop:
    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        clipped = tuple(np.clip(d, -40, 40) for d in ds)
        pulled: State = super().pull(local, clipped, W, da)
        return pulled


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


class BiasTwice:
    def input_bias(self, b_hh: Array) -> Array:
        bias: Array = 2 * super().input_bias(b_hh)
        return bias


class InputGateUsesItself:
    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        local: tuple[Array, ...] = super().linearise(tape)
        H = local[0].shape[-1]
        i = tape.gates[..., :H]
        local[0][..., 0, :] = i * i * (1 - i)
        return local


class ForgetPrimeMissing:
    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        local: tuple[Array, ...] = super().linearise(tape)
        local[0][..., 1, :] = tape.states[1][:-1] * local[2]
        return local


class UpdateGateSign:
    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        local: tuple[Array, ...] = super().linearise(tape)
        local[0][..., 1, :] *= -1
        return local


class ClipFarOut:
    """Clipping that only an explosion meets."""

    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        return super().pull(local, tuple(np.clip(d, -1e5, 1e5) for d in ds), W, da)


class ResetGateMoved:
    """Backwards the reset gate is applied on the other side of the recurrent product."""

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        to_gates, r, z = super().linearise(tape)
        n = tape.gates[..., 2 * r.shape[-1] :]
        through_n = (1 - n * n) * (1 - z)
        to_gates[..., 0, :] = through_n * tape.h_before * r * (1 - r)
        return to_gates, r, z


class OutputGateSeesTheCellBefore:
    """do uses tanh(c_{t-1})."""

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        to_gates, dh_to_c, f = super().linearise(tape)
        o = tape.gates[..., 3 * f.shape[-1] :]
        to_gates[..., 3, :] = np.tanh(tape.states[1][:-1]) * o * (1 - o)
        return to_gates, dh_to_c, f


class FirstStepForgotten:
    """dW_hh lacks the product with the initial state."""

    def recurrent_gradient(self, da: Array, tape: Tape) -> tuple[Array, Array]:
        _, db = super().recurrent_gradient(da, tape)
        dW, _ = super().recurrent_gradient(da[1:], tape.steps(1, len(da)))
        return dW, db


_PULLBACK = ("pullback-reference", "own-forward-derivative")

FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "rnn-no-carry",
            "dh_t = dy_t alone: the gradient of the next step is never added.",
            "https://github.com/qixianbiao/RNN/issues/2",
            _PULLBACK,
            (RNN("tanh"),),
            altered(NoCarry),
        ),
        (
            "Whh-no-transpose",
            "dh_{t-1} = W_hh da instead of W_hh' da.",
            "https://github.com/vzhou842/rnn-from-scratch",
            _PULLBACK,
            CELLS,
            altered(NoTranspose),
        ),
        (
            "clip-in-time-loop",
            "The carried gradient is clipped at every step.",
            "https://github.com/Lasagne/Lasagne/issues/401",
            ("scales-with-cotangents",),
            (LSTM(), GRU("after")),
            altered(ClipInLoop),
        ),
        (
            "dWh-uses-h_t",
            "dW_hh pairs da_t with h_t instead of h_{t-1}.",
            "https://github.com/wvabrinskas/Neuron/pull/181",
            _PULLBACK,
            (RNN("tanh"), LSTM()),
            altered(LaterState),
        ),
        (
            "dW-overwrite",
            "dW_hh = dW_t instead of dW_hh += dW_t in the loop over time.",
            "https://github.com/tensorflow/swift-apis/issues/518",
            (*_PULLBACK, "split-resume-pullback", "taylor-remainder"),
            tuple(cell for cell in CELLS if cell != RNN("relu")),
            altered(LastStepOnly),
        ),
        (
            "two-bias-double-step",
            "The second bias receives twice its gradient.",
            "https://github.com/onnx/onnx/issues/1127",
            _PULLBACK,
            (LSTM(),),
            altered(BiasDoubled),
        ),
        (
            "bias-twice-fwd",
            "A bias is added in the input projection and again in the step.",
            "https://github.com/lisa-lab/DeepLearningTutorials/issues/81",
            ("forward-reference",),
            (LSTM(), RNN("tanh")),
            altered(BiasTwice),
        ),
        (
            "di-uses-i",
            "di = dc * i instead of dc * g.",
            "https://github.com/wvabrinskas/Neuron/pull/181",
            _PULLBACK,
            (LSTM(),),
            altered(InputGateUsesItself),
        ),
        (
            "sigmoid-prime-missing",
            "The forget gate's derivative f (1 - f) is taken as f.",
            "https://github.com/CaptainE/RNN-LSTM-in-numpy/issues/1",
            _PULLBACK,
            (LSTM(),),
            altered(ForgetPrimeMissing),
        ),
        (
            "z-vs-1-minus-z",
            "Forward and backward disagree on which way the update gate points.",
            "https://github.com/keras-team/keras/issues/14649",
            _PULLBACK,
            (GRU("after"), GRU("before")),
            altered(UpdateGateSign),
        ),
        (
            "lstm-next-never-assigned",
            "The loop goes on reading the zeros from which dh_next and dc_next started.",
            "https://github.com/CaptainE/RNN-LSTM-in-numpy/issues/1",
            _PULLBACK,
            (LSTM(),),
            altered(NoCarry),
        ),
        (
            "dc-carry-zeroed-op",
            "The cell state's cotangent does not travel from step to step.",
            "https://github.com/PaddlePaddle/Paddle/pull/5115",
            _PULLBACK,
            (LSTM(),),
            altered(CellCarryZeroed),
        ),
        (
            "update-inside-backward",
            "The weights move inside the backward loop, so that earlier steps see others.",
            "https://github.com/mratsim/Arraymancer/pull/237",
            ("pullback-reference",),
            (GRU("after"),),
            altered(UpdatedInside),
        ),
        (
            "sigmoid-overflow",
            "tanh is computed by exponentials that overflow.",
            "",
            ("saturated-is-finite",),
            (RNN("tanh"),),
            altered(TanhByExponentials),
        ),
        (
            "mask-of-step-0",
            "Local derivatives are read at step 0 for every step.",
            "https://github.com/lmnt-com/haste/issues/43",
            ("pullback-reference",),
            (GRU("after"), RNN("tanh")),
            altered(MaskOfStepZero),
        ),
        (
            "forget-gate-skipped",
            "dc_{t-1} = dc_t instead of f * dc_t.",
            "",
            _PULLBACK,
            (LSTM(),),
            altered(ForgetGateSkipped),
        ),
        (
            "tanh-c-prime-missing",
            "dc lacks the derivative of tanh(c).",
            "",
            _PULLBACK,
            (LSTM(),),
            altered(CellTanhPrimeMissing),
        ),
        (
            "gates-swapped",
            "The gradients of the input and the forget gate are exchanged.",
            "",
            _PULLBACK,
            (LSTM(),),
            altered(GatesSwapped),
        ),
        (
            "candidate-prime-of-sigmoid",
            "The candidate's derivative is taken as g (1 - g).",
            "",
            _PULLBACK,
            (LSTM(),),
            altered(CandidatePrimeOfSigmoid),
        ),
        (
            "reset-gate-skipped",
            "Nothing flows back through the reset gate.",
            "",
            _PULLBACK,
            (GRU("after"), GRU("before")),
            altered(ResetGateSkipped),
        ),
        (
            "direct-path-skipped",
            "dh_{t-1} lacks z * dh_t.",
            "",
            _PULLBACK,
            (GRU("after"),),
            altered(DirectPathSkipped),
        ),
        (
            "reset-outside-product",
            "The cotangent of the recurrent product lacks the reset gate.",
            "https://github.com/keras-team/keras/issues/14649",
            _PULLBACK,
            (GRU("after"),),
            altered(ResetOutsideTheProduct),
        ),
        (
            "tanh-prime-without-square",
            "1 - h is taken for the derivative of tanh.",
            "",
            _PULLBACK,
            (RNN("tanh"),),
            altered(TanhPrimeWithoutSquare),
        ),
        (
            "tanh-prime-of-state-before",
            "The derivative of tanh is taken at h_{t-1}.",
            "",
            _PULLBACK,
            (RNN("tanh"),),
            altered(TanhPrimeOfTheStateBefore),
        ),
        (
            "activation-prime-missing",
            "The activation's derivative is left out.",
            "",
            _PULLBACK,
            (RNN("tanh"), RNN("relu")),
            altered(DerivativeSkipped),
        ),
        (
            "clip-far-out",
            "The carried gradient is clipped at a bound that only explosions meet.",
            "https://github.com/tensorflow/tensorflow/issues/2793",
            ("scales-with-cotangents",),
            (LSTM(), RNN("tanh")),
            altered(ClipFarOut),
        ),
        (
            "reset-before-vs-after",
            "Forward the reset gate acts after the recurrent product, backward before it.",
            "https://github.com/pytorch/pytorch/issues/8153",
            _PULLBACK,
            (GRU("after"),),
            altered(ResetGateMoved),
        ),
        (
            "wrong-delta-output-gate",
            "The output gate's gradient is taken with the cell state before the step.",
            "https://github.com/lhnguyen102/cuTAGI/issues/77",
            _PULLBACK,
            (LSTM(),),
            altered(OutputGateSeesTheCellBefore),
        ),
        (
            "dW-without-h0",
            "dW_hh lacks the first step's product with the initial state.",
            "",
            _PULLBACK,
            CELLS,
            altered(FirstStepForgotten),
        ),
    )
)
