"""Planted faults: the smallest changes to the reference that repeat bugs which were really shipped.

Each is an implementation of its own, so that ``bpttcheck verify fault:dW-overwrite`` shows what a verdict looks like
when that bug is there. The tests hold every fault to the laws that must catch it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, Gradients, Outputs, Pullback
from bpttref import CELLS, GRU, LSTM, RNN, Cell, Full, Regular, trees, vjp
from bpttref.arrays import Array
from bpttref.cells import State, Tape

Vjp: TypeAlias = Callable[[Case], tuple[Outputs, Pullback]]


@dataclass(frozen=True)
class Fault:
    """id, what is wrong, where it was reported, the laws that must catch it, the cells it is planted in, and how.

    ``make`` returns a fresh faulty ``vjp``; a fault that remembers something starts without memories.
    """

    id: str
    statement: str
    source: str
    caught_by: tuple[str, ...]
    cells: tuple[Cell, ...]
    make: Callable[[], Vjp]


class Faulty:
    """A fault as a subject."""

    def __init__(self, fault: Fault) -> None:
        self.name = f"fault:{fault.id}"
        self._fault = fault
        self._vjp = fault.make()

    def capabilities(self) -> Capabilities:
        return Capabilities(cells=self._fault.cells, layers=2, bidirectional=True, lengths=True, truncations=(Regular,))

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        return self._vjp(case)


def correct(case: Case) -> tuple[Outputs, Pullback]:
    """The reference, which every fault changes in one place."""
    assert not isinstance(case.cell, CustomCell)
    return vjp(case.cell, case.parameters, case.x, case.initial, lengths=case.lengths, strategy=case.truncation)


def _altered(mixin: type) -> Callable[[], Vjp]:
    """The reference with the cell's equations changed by ``mixin``."""

    def make() -> Vjp:
        def faulty(case: Case) -> tuple[Outputs, Pullback]:
            base = type(case.cell)
            cell: Any = type(mixin.__name__, (mixin, base), {})(**vars(case.cell))
            return correct(replace(case, cell=cell))

        return faulty

    return make


def _pulled(change: Callable[[Case, Pullback, Cotangents], Gradients]) -> Callable[[], Vjp]:
    """The reference with its pullback replaced."""

    def make() -> Vjp:
        def faulty(case: Case) -> tuple[Outputs, Pullback]:
            outputs, pullback = correct(case)
            return outputs, lambda cotangents: change(case, pullback, cotangents)

        return faulty

    return make


class _NoCarry:
    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        carried: State = super().pull(local, ds, W, da)  # type: ignore[misc]
        return tuple(0 * c for c in carried)


class _NoTranspose:
    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        pulled: State = super().pull(local, ds, W.swapaxes(-1, -2), da)  # type: ignore[misc]
        return pulled


class _ClipInLoop:
    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        clipped = tuple(np.clip(d, -40, 40) for d in ds)
        pulled: State = super().pull(local, clipped, W, da)  # type: ignore[misc]
        return pulled


class _LaterState:
    def recurrent_gradient(self, da: Array, tape: Tape) -> tuple[Array, Array]:
        later = tuple(np.concatenate([s[1:], s[-1:]]) for s in tape.states)
        found: tuple[Array, Array] = super().recurrent_gradient(da, replace(tape, states=later))  # type: ignore[misc]
        return found


class _LastStepOnly:
    def recurrent_gradient(self, da: Array, tape: Tape) -> tuple[Array, Array]:
        found: tuple[Array, Array] = super().recurrent_gradient(da[:1], tape.steps(0, 1))  # type: ignore[misc]
        return found


class _BiasDoubled:
    def recurrent_gradient(self, da: Array, tape: Tape) -> tuple[Array, Array]:
        dW, db = super().recurrent_gradient(da, tape)  # type: ignore[misc]
        return dW, 2 * db


class _BiasTwice:
    def input_bias(self, b_hh: Array) -> Array:
        bias: Array = 2 * super().input_bias(b_hh)  # type: ignore[misc]
        return bias


class _InputGateUsesItself:
    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        local: tuple[Array, ...] = super().linearise(tape)  # type: ignore[misc]
        H = local[0].shape[-1]
        i = tape.gates[..., :H]
        local[0][..., 0, :] = i * i * (1 - i)
        return local


class _ForgetPrimeMissing:
    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        local: tuple[Array, ...] = super().linearise(tape)  # type: ignore[misc]
        local[0][..., 1, :] = tape.states[1][:-1] * local[3]
        return local


class _UpdateGateSign:
    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        local: tuple[Array, ...] = super().linearise(tape)  # type: ignore[misc]
        local[0][..., 1, :] *= -1
        return local


def _drop_final_c(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    final = cotangents.final and tuple(tuple({"h": leaf["h"]} for leaf in layer) for layer in cotangents.final)
    return pullback(Cotangents(cotangents.y, final))


def _absent_is_garbage(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    width = sum(p["W_hh"].shape[-1] for p in case.parameters[-1])
    garbage = np.ones((*case.x.shape[:2], width), case.dtype)
    return pullback(Cotangents(garbage if cotangents.y is None else cotangents.y, cotangents.final))


def _unexpanded(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    assert gradients.initial is not None
    initial = tuple(tuple({k: a.sum(axis=0) for k, a in leaf.items()} for leaf in layer) for layer in gradients.initial)
    return gradients._replace(initial=initial)


def _tail_dropped(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    if isinstance(case.truncation, Regular) and cotangents.y is not None:
        whole = len(case.x) // case.truncation.tau * case.truncation.tau
        dy = cotangents.y.copy()
        dy[whole:] = 0
        cotangents = cotangents._replace(y=dy)
    return pullback(cotangents)


def _silent_if_short(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    short = isinstance(case.truncation, Regular) and case.truncation.tau > len(case.x)
    return Gradients(*(trees.scale(g, 0) if g is not None else None for g in gradients)) if short else gradients


def _final_at_padded_slot(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    if case.lengths is None or cotangents.final is None:
        return pullback(cotangents)
    full = (case.lengths == len(case.x))[:, None]
    final = tuple(tuple({k: np.where(full, a, 0) for k, a in leaf.items()} for leaf in la) for la in cotangents.final)
    return pullback(Cotangents(cotangents.y, final))


def _overwrites_cotangent(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    if cotangents.y is not None:
        cotangents.y[...] = 0
    return gradients


def _setting_ignored() -> Vjp:
    return lambda case: correct(replace(case, truncation=Full()))


def _state_not_carried() -> Vjp:
    """Every segment of a truncated run starts from the initial state."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        if not isinstance(case.truncation, Regular):
            return correct(case)
        tau = case.truncation.tau
        starts = range(0, len(case.x), tau)
        runs = [correct(replace(case, x=case.x[s : s + tau], truncation=Full())) for s in starts]
        y = np.concatenate([outputs.y for outputs, _ in runs if outputs.y is not None])

        def pullback(cotangents: Cotangents) -> Gradients:
            total: Gradients | None = None
            pieces = []
            for s, (_, pull) in zip(starts, runs, strict=True):
                dy = None if cotangents.y is None else cotangents.y[s : s + tau]
                gradients = pull(Cotangents(dy))
                pieces.append(gradients.x)
                total = gradients if total is None else Gradients(*trees.add(tuple(total)[1:3], gradients[1:3]))
            assert total is not None
            return Gradients(np.concatenate([p for p in pieces if p is not None]), *tuple(total)[1:3])

        return Outputs(y, runs[-1][0].final), pullback

    return faulty


def _reset_ineffective() -> Vjp:
    """Once a call has been made, calls of the same shapes start from where it ended."""
    memory: dict[tuple[Any, ...], Any] = {}

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        key = (case.cell, case.dtype, case.x.shape, len(case.parameters), len(case.parameters[0]))
        width = case.parameters[0][0]["W_hh"].shape[-1]
        outputs, pullback = correct(replace(case, initial=memory.get((key, width), case.initial)))
        memory[key, width] = trees.copy(outputs.final)
        return outputs, pullback

    return faulty


def _stale_weights() -> Vjp:
    """Weights are packed at the first call of a shape and never refreshed."""
    packed: dict[Any, Any] = {}

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        shapes = [{k: a.shape for k, a in p.items()} for layer in case.parameters for p in layer]
        key = str((case.dtype, len(case.parameters), shapes))
        return correct(replace(case, parameters=packed.setdefault(key, trees.copy(case.parameters))))

    return faulty


def _weight_written_back() -> Vjp:
    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        case.parameters[0][0]["W_hh"][:, :1] = 0
        return correct(case)

    return faulty


def _consumed_by_first_pullback() -> Vjp:
    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        calls: list[None] = []

        def consuming(cotangents: Cotangents) -> Gradients:
            calls.append(None)
            gradients = pullback(cotangents)
            return gradients if len(calls) == 1 else gradients._replace(parameters=trees.scale(gradients.parameters, 2))

        return outputs, consuming

    return faulty


def _shared_cache() -> Vjp:
    """All pullbacks read what the last forward pass left behind."""
    last: list[Pullback] = []

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        last[:] = [pullback]
        return outputs, lambda cotangents: last[0](cotangents)

    return faulty


def _upcast() -> Vjp:
    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        assert outputs.y is not None
        return outputs._replace(y=outputs.y.astype(np.float64)), pullback

    return faulty


def _sequence_reversed_batch() -> Vjp:
    """The reverse direction is flipped along the batch instead of along time."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        assert outputs.y is not None
        return outputs._replace(y=outputs.y[:, ::-1].copy()), pullback

    return faulty


def _looks_ahead() -> Vjp:
    """Outputs are left in the order of a reverse loop."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        assert outputs.y is not None
        return outputs._replace(y=outputs.y[::-1].copy()), pullback

    return faulty


_PULLBACK = ("pullback-reference", "own-forward-derivative")
_ALL = CELLS
_GITHUB = "https://github.com/"

FAULTS = tuple(
    Fault(*row)
    for row in (
        ("rnn-no-carry", "dh_t = dy_t alone: the gradient of the next step is never added.",
         _GITHUB + "qixianbiao/RNN/issues/2", _PULLBACK, (RNN("tanh"),), _altered(_NoCarry)),
        ("Whh-no-transpose", "dh_{t-1} = W_hh da instead of W_hh' da.",
         _GITHUB + "vzhou842/rnn-from-scratch", _PULLBACK, (RNN("tanh"),), _altered(_NoTranspose)),
        ("clip-in-time-loop", "The carried gradient is clipped at every step.",
         _GITHUB + "Lasagne/Lasagne/issues/401", ("scales-with-cotangents",), (LSTM(), GRU("after")), _altered(_ClipInLoop)),
        ("dWh-uses-h_t", "dW_hh pairs da_t with h_t instead of h_{t-1}.",
         _GITHUB + "wvabrinskas/Neuron/pull/181", _PULLBACK, (RNN("tanh"), LSTM()), _altered(_LaterState)),
        ("dW-overwrite", "dW_hh = dW_t instead of dW_hh += dW_t in the loop over time.",
         _GITHUB + "tensorflow/swift-apis/issues/518", (*_PULLBACK, "split-resume-pullback"), _ALL, _altered(_LastStepOnly)),
        ("two-bias-double-step", "The second bias receives twice its gradient.",
         _GITHUB + "onnx/onnx/issues/1127", _PULLBACK, (LSTM(),), _altered(_BiasDoubled)),
        ("bias-twice-fwd", "A bias is added in the input projection and again in the step.",
         _GITHUB + "lisa-lab/DeepLearningTutorials/issues/81", ("forward-reference",), (LSTM(), RNN("tanh")), _altered(_BiasTwice)),
        ("di-uses-i", "di = dc * i instead of dc * g.",
         _GITHUB + "wvabrinskas/Neuron/pull/181", _PULLBACK, (LSTM(),), _altered(_InputGateUsesItself)),
        ("sigmoid-prime-missing", "The forget gate's derivative f (1 - f) is taken as f.",
         _GITHUB + "CaptainE/RNN-LSTM-in-numpy/issues/1", _PULLBACK, (LSTM(),), _altered(_ForgetPrimeMissing)),
        ("z-vs-1-minus-z", "Forward and backward disagree on which way the update gate points.",
         _GITHUB + "keras-team/keras/issues/14649", _PULLBACK, (GRU("after"), GRU("before")), _altered(_UpdateGateSign)),
        ("dcT-ignored", "The cotangent of the final cell state is not added.",
         _GITHUB + "deeplearning4j/deeplearning4j/issues/8838", (*_PULLBACK, "split-resume-pullback"), (LSTM(),), _pulled(_drop_final_c)),
        ("only-hx-used", "An absent cotangent of y is read as garbage instead of zero.",
         _GITHUB + "chainer/chainer/issues/2505", ("linear-in-cotangents",), (LSTM(),), _pulled(_absent_is_garbage)),
        ("dh0-shape-of-unexpanded", "dh0 comes without its batch axis.",
         _GITHUB + "JuliaGPU/CuArrays.jl/pull/706", ("gradients-complete",), (RNN("tanh"),), _pulled(_unexpanded)),
        ("final-grad-at-padded-slot", "The cotangent of a final state enters at T instead of at its row's last step.",
         _GITHUB + "OpenNMT/OpenNMT/issues/306", _PULLBACK, (LSTM(),), _pulled(_final_at_padded_slot)),
        ("dy-overwritten-by-dx", "The cotangent's buffer is used for the gradient.",
         _GITHUB + "apache/mxnet/pull/18203", ("nothing-overwritten",), (LSTM(),), _pulled(_overwrites_cotangent)),
        ("tail-chunk-dropped", "The last T mod tau steps get no gradient.",
         "", ("regular-reference", "xray-regular"), (RNN("tanh"), LSTM()), _pulled(_tail_dropped)),
        ("noop-if-T-lt-k", "With tau > T there is no gradient at all.",
         _GITHUB + "deeplearning4j/deeplearning4j/issues/2278", ("tau-covers-is-full",), (LSTM(),), _pulled(_silent_if_short)),
        ("setting-ignored", "The truncation asked for is ignored: full BPTT is run.",
         _GITHUB + "Lightning-AI/pytorch-lightning/issues/8802",
         ("tau-one-has-no-temporal-term", "xray-regular", "regular-reference"), (RNN("tanh"), LSTM()), _setting_ignored),
        ("state-not-carried", "Every segment of a truncated run starts from the initial state.",
         _GITHUB + "OpenNMT/OpenNMT-py/pull/1171", ("truncation-leaves-states",), (RNN("tanh"),), _state_not_carried),
        ("reset-ineffective", "The state is carried over although a fresh start was asked for.",
         _GITHUB + "soumith/cudnn.torch/issues/348", ("same-call-same-result",), (RNN("tanh"),), _reset_ineffective),
        ("stale-packed-weights", "Weights are packed at the first call and never refreshed.",
         _GITHUB + "apache/mxnet/issues/16037", ("forward-reference",), (RNN("tanh"),), _stale_weights),
        ("dropped-weight-written-back", "The forward pass overwrites a parameter.",
         _GITHUB + "keitakurita/Better_LSTM_PyTorch/issues/7", ("nothing-overwritten",), (LSTM(),), _weight_written_back),
        ("two-gradients-differ", "A second pullback reads what the first has consumed.",
         _GITHUB + "tensorflow/tensorflow/issues/26331", ("pullback-twice",), (LSTM(),), _consumed_by_first_pullback),
        ("cache-key-incomplete", "A pullback reads the tape of a later call.",
         _GITHUB + "pytorch/pytorch/pull/95563", ("two-pullbacks-alive",), (GRU("after"),), _shared_cache),
        ("f64-upcast", "A float32 input comes out as float64.",
         _GITHUB + "keras-team/keras/issues/2209", ("outputs-complete",), (RNN("tanh"),), _upcast),
        ("flip-batch-axis", "Outputs are flipped along the batch.",
         _GITHUB + "tensorflow/tensorflow/issues/39635", ("batch-independence", "forward-reference"), (RNN("tanh"),), _sequence_reversed_batch),
        ("reverse-not-flipped-back", "Outputs are left in the order of a reverse loop.",
         _GITHUB + "keras-team/keras/issues/1431", ("causality", "split-resume-states"), (RNN("tanh"),), _looks_ahead),
    )
)  # fmt: skip
