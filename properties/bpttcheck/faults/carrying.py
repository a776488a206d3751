"""The gradient is carried wrongly from step to step: dropped, clipped, through another matrix, or not far enough."""

from dataclasses import replace
from functools import partial

import numpy as np

from bpttcheck.contract import Case, Cotangents, Gradients, Outputs, Pullback
from bpttcheck.faults.planting import PULLBACK, Altered, Fault, Vjp, with_case
from bpttref import CELLS, GRU, LSTM, RNN, Full, Links, Regular, Window, trees
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


class DirectPathSkipped:
    """dh_{t-1} lacks z * dh_t."""

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        to_gates, r, z = super().linearise(tape)
        return to_gates, r, 0 * z


class UpdatedInside:
    """The weights move inside the backward loop: earlier steps see others."""

    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        return super().pull(local, ds, W * self._shrunk(), da)

    def _shrunk(self) -> float:
        steps: int = vars(self).get("calls", 0)
        vars(self)["calls"] = steps + 1
        return 0.99**steps


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


class ClipFarOut:
    """Clipping that only an explosion meets."""

    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        return super().pull(local, tuple(np.clip(d, -1e5, 1e5) for d in ds), W, da)


def nothing_carried(correct: Vjp) -> Vjp:
    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        if len(case.parameters[0]) > 1 or case.T == 0:
            return correct(case)
        outputs, pullback = correct(replace(case, truncation=Regular(1)))

        def without_initial(cotangents: Cotangents) -> Gradients:
            gradients = pullback(cotangents)
            return gradients._replace(initial=trees.scale(gradients.initial, 0))

        return outputs, without_initial

    return faulty


def states_are_constants(case: Case) -> Case:
    return replace(case, truncation=Regular(1)) if len(case.parameters[0]) == 1 else case


def long_sequences_stop(correct: Vjp) -> Vjp:
    """The backward loop stops after 16 steps."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        if case.T <= 16 or len(case.parameters[0]) > 1 or case.lengths is not None:
            return correct(case)
        links = np.ones(case.T)
        links[-16] = 0
        outputs, short = correct(replace(case, truncation=Links(tuple(links.tolist()))))

        def pullback(cotangents: Cotangents) -> Gradients:
            dy = None if cotangents.y is None else np.concatenate([0 * cotangents.y[:-16], cotangents.y[-16:]])
            return short(Cotangents(dy, cotangents.final))

        return outputs, pullback

    return faulty


def forgets_far_steps(correct: Vjp) -> Vjp:
    """Steps more than 32 steps back get no gradient."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        plain = case.truncation == Full() and case.lengths is None and len(case.parameters[0]) == 1
        return correct(replace(case, truncation=Window(32)) if plain and case.T > 32 else case)

    return faulty


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "rnn-no-carry",
            "dh_t = dy_t: the gradient of the next step is never added.",
            "https://github.com/qixianbiao/RNN/issues/2",
            PULLBACK,
            (RNN("tanh"),),
            nothing_carried,
        ),
        (
            "Whh-no-transpose",
            "dh_{t-1} = W_hh da instead of W_hh' da.",
            "https://github.com/vzhou842/rnn-from-scratch",
            PULLBACK,
            CELLS,
            Altered(NoTranspose),
        ),
        (
            "clip-in-time-loop",
            "The carried gradient is clipped at every step.",
            "https://github.com/Lasagne/Lasagne/issues/401",
            ("scales-with-cotangents",),
            (LSTM(), GRU("after")),
            Altered(ClipInLoop),
        ),
        (
            "clip-far-out",
            "The carried gradient is clipped at a bound that only explosions meet.",
            "https://github.com/tensorflow/tensorflow/issues/2793",
            ("scales-with-cotangents",),
            (LSTM(), RNN("tanh")),
            Altered(ClipFarOut),
        ),
        (
            "lstm-next-never-assigned",
            "The loop goes on reading the zeros from which dh_next and dc_next started.",
            "https://github.com/CaptainE/RNN-LSTM-in-numpy/issues/1",
            PULLBACK,
            (LSTM(),),
            Altered(NoCarry),
        ),
        (
            "dc-carry-zeroed-op",
            "The cell state's cotangent does not travel from step to step.",
            "https://github.com/PaddlePaddle/Paddle/pull/5115",
            PULLBACK,
            (LSTM(),),
            Altered(CellCarryZeroed),
        ),
        (
            "update-inside-backward",
            "The weights move inside the backward loop, so that earlier steps see others.",
            "https://github.com/mratsim/Arraymancer/pull/237",
            ("pullback-reference",),
            (GRU("after"),),
            Altered(UpdatedInside),
        ),
        (
            "forget-gate-skipped",
            "dc_{t-1} = dc_t instead of f * dc_t.",
            "",
            PULLBACK,
            (LSTM(),),
            Altered(ForgetGateSkipped),
        ),
        (
            "direct-path-skipped",
            "dh_{t-1} lacks z * dh_t.",
            "",
            PULLBACK,
            (GRU("after"),),
            Altered(DirectPathSkipped),
        ),
        (
            "flux-tau1",
            "State is kept where differentiation does not see it: every step treats h_{t-1} as a constant.",
            "https://github.com/FluxML/Flux.jl/issues/1209",
            PULLBACK,
            (GRU("after"),),
            partial(with_case, states_are_constants),
        ),
        (
            "stops-after-16-steps",
            "In longer sequences the backward loop stops after 16 steps.",
            "",
            ("pullback-reference",),
            (RNN("tanh"), LSTM()),
            long_sequences_stop,
        ),
        (
            "forgets-after-32-steps",
            "The gradient reaches no further back than 32 steps.",
            "",
            ("pullback-reference",),
            (LSTM(), RNN("tanh")),
            forgets_far_steps,
        ),
    )
)
