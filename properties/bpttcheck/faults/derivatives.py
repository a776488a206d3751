"""A derivative of the cell is incorrect: of a gate, a candidate, an activation."""

import numpy as np

from bpttcheck.contract import Case, Cotangents, Gradients, Pullback
from bpttcheck.faults.planting import PULLBACK, Altered, Fault, Pulled, with_parameters
from bpttref import GRU, LSTM, RNN
from bpttref.arrays import Array
from bpttref.cells import Tape

# mypy: disable-error-code="misc, no-any-return"


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


def _without_W_hh_in_float32(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    if case.dtype != "float32":
        return gradients
    return with_parameters(gradients, lambda k, d, name, a: 0 * a if name == "W_hh" else a)


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "di-uses-i",
            "di = dc * i instead of dc * g.",
            "https://github.com/wvabrinskas/Neuron/pull/181",
            PULLBACK,
            (LSTM(),),
            Altered(InputGateUsesItself),
        ),
        (
            "sigmoid-prime-missing",
            "The forget gate's derivative f (1 - f) is taken as f.",
            "https://github.com/CaptainE/RNN-LSTM-in-numpy/issues/1",
            PULLBACK,
            (LSTM(),),
            Altered(ForgetPrimeMissing),
        ),
        (
            "z-vs-1-minus-z",
            "Forward and backward disagree on which way the update gate points.",
            "https://github.com/keras-team/keras/issues/14649",
            PULLBACK,
            (GRU("after"), GRU("before")),
            Altered(UpdateGateSign),
        ),
        (
            "mask-of-step-0",
            "Local derivatives are read at step 0 for every step.",
            "https://github.com/lmnt-com/haste/issues/43",
            ("pullback-reference",),
            (GRU("after"), RNN("tanh")),
            Altered(MaskOfStepZero),
        ),
        (
            "tanh-c-prime-missing",
            "dc lacks the derivative of tanh(c).",
            "",
            PULLBACK,
            (LSTM(),),
            Altered(CellTanhPrimeMissing),
        ),
        (
            "gates-swapped",
            "The gradients of the input and the forget gate are exchanged.",
            "",
            PULLBACK,
            (LSTM(),),
            Altered(GatesSwapped),
        ),
        (
            "candidate-prime-of-sigmoid",
            "The candidate's derivative is taken as g (1 - g).",
            "",
            PULLBACK,
            (LSTM(),),
            Altered(CandidatePrimeOfSigmoid),
        ),
        (
            "reset-gate-skipped",
            "Nothing flows back through the reset gate.",
            "",
            PULLBACK,
            (GRU("after"), GRU("before")),
            Altered(ResetGateSkipped),
        ),
        (
            "reset-outside-product",
            "The cotangent of the recurrent product lacks the reset gate.",
            "https://github.com/keras-team/keras/issues/14649",
            PULLBACK,
            (GRU("after"),),
            Altered(ResetOutsideTheProduct),
        ),
        (
            "tanh-prime-without-square",
            "1 - h is used as the derivative of tanh.",
            "",
            PULLBACK,
            (RNN("tanh"),),
            Altered(TanhPrimeWithoutSquare),
        ),
        (
            "tanh-prime-of-state-before",
            "The derivative of tanh is taken at h_{t-1}.",
            "",
            PULLBACK,
            (RNN("tanh"),),
            Altered(TanhPrimeOfTheStateBefore),
        ),
        (
            "activation-prime-missing",
            "The activation's derivative is left out.",
            "",
            PULLBACK,
            (RNN("tanh"), RNN("relu")),
            Altered(DerivativeSkipped),
        ),
        (
            "reset-before-vs-after",
            "Forward the reset gate acts after the recurrent product, backward before it.",
            "https://github.com/pytorch/pytorch/issues/8153",
            PULLBACK,
            (GRU("after"),),
            Altered(ResetGateMoved),
        ),
        (
            "wrong-delta-output-gate",
            "The output gate's gradient is taken with the cell state before the step.",
            "https://github.com/lhnguyen102/cuTAGI/issues/77",
            PULLBACK,
            (LSTM(),),
            Altered(OutputGateSeesTheCellBefore),
        ),
        (
            "left-out-in-single-precision",
            "The path for float32 leaves the gradient of W_hh at zero.",
            "",
            PULLBACK,
            (LSTM(), GRU("after")),
            Pulled(_without_W_hh_in_float32),
        ),
    )
)
