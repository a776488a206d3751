"""Faults in a cell's equations, each a mixin that changes one line of one method."""

from typing import Any

import numpy as np

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

    def step(self, a: Array, before: State, after: State, *rest: Any) -> None:
        super().step(a, before, after, *rest)
        (h,) = after
        with np.errstate(all="ignore"):
            pre = before[0] @ rest[1] + a
            h[...] = (np.exp(pre) - np.exp(-pre)) / (np.exp(pre) + np.exp(-pre))
