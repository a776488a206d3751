"""How a fault is planted: each mechanism is the smallest change to the reference that makes it wrong."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from bpttcheck.adapters.reference import Reference
from bpttcheck.contract import Capabilities, Case, Cotangents, Gradients, Outputs, Pullback
from bpttref import Cell, Full, Regular, trees
from bpttref.arrays import Array
from bpttref.cells import State, Tape

Vjp: TypeAlias = Callable[[Case], tuple[Outputs, Pullback]]
LossAndGradients: TypeAlias = Callable[[Case], tuple[Outputs, Gradients]]


@dataclass(frozen=True)
class Fault:
    """id, what is wrong, where it was reported, the laws that must catch it, the cells it is planted in, and how.

    ``make`` returns a fresh faulty method for the ``door``; a fault that remembers something starts without memories.
    """

    id: str
    statement: str
    source: str
    caught_by: tuple[str, ...]
    cells: tuple[Cell, ...]
    make: Callable[[], Vjp | LossAndGradients]
    door: Literal["vjp", "loss_and_gradients"] = "vjp"


class Faulty:
    """A fault as a subject."""

    def __init__(self, fault: Fault) -> None:
        self.name = f"fault:{fault.id}"
        self._fault = fault
        setattr(self, fault.door, fault.make())

    def capabilities(self) -> Capabilities:
        return replace(Reference().capabilities(), cells=self._fault.cells)


correct = Reference().vjp  # the reference, which every fault changes in one place


def altered(mixin: type) -> Callable[[], Vjp]:
    """The reference with the cell's equations changed by ``mixin``."""

    def make() -> Vjp:
        def faulty(case: Case) -> tuple[Outputs, Pullback]:
            base = type(case.cell)
            cell: Any = type(mixin.__name__, (mixin, base), {})(**vars(case.cell))
            return correct(replace(case, cell=cell))

        return faulty

    return make


def pulled(change: Callable[[Case, Pullback, Cotangents], Gradients]) -> Callable[[], Vjp]:
    """The reference with its pullback replaced."""

    def make() -> Vjp:
        def faulty(case: Case) -> tuple[Outputs, Pullback]:
            outputs, pullback = correct(case)
            return outputs, lambda cotangents: change(case, pullback, cotangents)

        return faulty

    return make


class NoCarry:
    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        carried: State = super().pull(local, ds, W, da)  # type: ignore[misc]
        return tuple(0 * c for c in carried)


class NoTranspose:
    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        pulled: State = super().pull(local, ds, W.swapaxes(-1, -2), da)  # type: ignore[misc]
        return pulled


class ClipInLoop:
    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        clipped = tuple(np.clip(d, -40, 40) for d in ds)
        pulled: State = super().pull(local, clipped, W, da)  # type: ignore[misc]
        return pulled


class LaterState:
    def recurrent_gradient(self, da: Array, tape: Tape) -> tuple[Array, Array]:
        later = tuple(np.concatenate([s[1:], s[-1:]]) for s in tape.states)
        found: tuple[Array, Array] = super().recurrent_gradient(da, replace(tape, states=later))  # type: ignore[misc]
        return found


class LastStepOnly:
    def recurrent_gradient(self, da: Array, tape: Tape) -> tuple[Array, Array]:
        found: tuple[Array, Array] = super().recurrent_gradient(da[:1], tape.steps(0, 1))  # type: ignore[misc]
        return found


class BiasDoubled:
    def recurrent_gradient(self, da: Array, tape: Tape) -> tuple[Array, Array]:
        dW, db = super().recurrent_gradient(da, tape)  # type: ignore[misc]
        return dW, 2 * db


class BiasTwice:
    def input_bias(self, b_hh: Array) -> Array:
        bias: Array = 2 * super().input_bias(b_hh)  # type: ignore[misc]
        return bias


class InputGateUsesItself:
    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        local: tuple[Array, ...] = super().linearise(tape)  # type: ignore[misc]
        H = local[0].shape[-1]
        i = tape.gates[..., :H]
        local[0][..., 0, :] = i * i * (1 - i)
        return local


class ForgetPrimeMissing:
    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        local: tuple[Array, ...] = super().linearise(tape)  # type: ignore[misc]
        local[0][..., 1, :] = tape.states[1][:-1] * local[2]
        return local


class UpdateGateSign:
    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        local: tuple[Array, ...] = super().linearise(tape)  # type: ignore[misc]
        local[0][..., 1, :] *= -1
        return local


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


def tail_dropped(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    if isinstance(case.truncation, Regular) and cotangents.y is not None:
        whole = len(case.x) // case.truncation.tau * case.truncation.tau
        dy = cotangents.y.copy()
        dy[whole:] = 0
        cotangents = cotangents._replace(y=dy)
    return pullback(cotangents)


def silent_if_short(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    short = isinstance(case.truncation, Regular) and case.truncation.tau > len(case.x)
    return Gradients(*(trees.scale(g, 0) if g is not None else None for g in gradients)) if short else gradients


def final_at_padded_slot(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    if case.lengths is None or cotangents.final is None:
        return pullback(cotangents)
    full = (case.lengths == len(case.x))[:, None]
    final = tuple(tuple({k: np.where(full, a, 0) for k, a in leaf.items()} for leaf in la) for la in cotangents.final)
    return pullback(Cotangents(cotangents.y, final))


def overwrites_cotangent(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    if cotangents.y is not None:
        cotangents.y[...] = 0
    return gradients


def setting_ignored() -> Vjp:
    return lambda case: correct(replace(case, truncation=Full()))


def state_not_carried() -> Vjp:
    """Every segment of a truncated run starts from the initial state."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        if not isinstance(case.truncation, Regular) or len(case.x) == 0:
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
                total = (
                    gradients
                    if total is None
                    else total._replace(
                        parameters=trees.add(total.parameters, gradients.parameters),
                        initial=trees.add(total.initial, gradients.initial),
                    )
                )
            assert total is not None
            return total._replace(x=np.concatenate([p for p in pieces if p is not None]))

        return Outputs(y, runs[-1][0].final), pullback

    return faulty


def reset_ineffective() -> Vjp:
    """Once a call has been made, calls of the same shapes start from where it ended."""
    memory: dict[tuple[Any, ...], Any] = {}

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        key = (case.cell, case.dtype, case.x.shape, len(case.parameters), len(case.parameters[0]))
        width = case.parameters[0][0]["W_hh"].shape[-1]
        outputs, pullback = correct(replace(case, initial=memory.get((key, width), case.initial)))
        memory[key, width] = trees.copy(outputs.final)
        return outputs, pullback

    return faulty


def stale_weights() -> Vjp:
    """Weights are packed at the first call of a shape and never refreshed."""
    packed: dict[Any, Any] = {}

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        shapes = [{k: a.shape for k, a in p.items()} for layer in case.parameters for p in layer]
        key = str((case.dtype, len(case.parameters), shapes))
        return correct(replace(case, parameters=packed.setdefault(key, trees.copy(case.parameters))))

    return faulty


def weight_written_back() -> Vjp:
    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        case.parameters[0][0]["W_hh"][:, :1] = 0
        return correct(case)

    return faulty


def consumed_by_first_pullback() -> Vjp:
    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        calls: list[None] = []

        def consuming(cotangents: Cotangents) -> Gradients:
            calls.append(None)
            gradients = pullback(cotangents)
            return gradients if len(calls) == 1 else gradients._replace(parameters=trees.scale(gradients.parameters, 2))

        return outputs, consuming

    return faulty


def shared_cache() -> Vjp:
    """All pullbacks read what the last forward pass left behind."""
    last: list[Pullback] = []

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        last[:] = [pullback]
        return outputs, lambda cotangents: last[0](cotangents)

    return faulty


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
