"""The derivatives of sigmoid and tanh as functions: applied to their own value, or overflowing."""

import numpy as np

from bpttcheck.faults.planting import PULLBACK, Altered, Fault
from bpttref import GRU, LSTM, RNN
from bpttref.arrays import Array
from bpttref.cells import Tape

# mypy: disable-error-code="misc, no-any-return"


def of_values(*, sigmoids: bool, candidate: bool) -> type:
    """Derivatives are written for pre-activations and given the activations' values."""

    def sigmoid_prime(s: Array) -> Array:
        s = 1 / (1 + np.exp(-s)) if sigmoids else s
        return s * (1 - s)

    def tanh_prime(n: Array) -> Array:
        n = np.tanh(n) if candidate else n
        return 1 - n * n

    class OfValues:
        def linearise(self, tape: Tape) -> tuple[Array, ...]:
            local: tuple[Array, ...] = super().linearise(tape)
            if len(local) == 1:
                return (tanh_prime(tape.states[0][1:]),)
            to_gates, kept = local[0], tape.kept
            assert kept is not None
            gates = tape.gates.reshape(to_gates.shape)
            if len(tape.states) == 2:
                i, f, g, o = (gates[..., k, :] for k in range(4))
                to = (g * sigmoid_prime(i), tape.states[1][:-1] * sigmoid_prime(f), i * tanh_prime(g))
                to_gates[...] = np.stack([*to, kept * sigmoid_prime(o)], axis=-2)
            else:
                r, z, n = (gates[..., k, :] for k in range(3))
                through_n = (1 - z) * tanh_prime(n)
                beside_r = through_n * kept if self.reset == "after" else tape.h_before  # type: ignore[attr-defined]
                to = (beside_r * sigmoid_prime(r), (tape.h_before - n) * sigmoid_prime(z), through_n)
                to_gates[...] = np.stack(to, axis=-2)
            return local

    return OfValues


class SigmoidPrimeOverflows:
    """e^-a / (1 + e^-a)^2 is inf / inf where e^-a is beyond the format."""

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        local: tuple[Array, ...] = super().linearise(tape)
        to_gates = local[0]
        gates = tape.gates.reshape(to_gates.shape)
        with np.errstate(all="ignore"):
            beyond = np.isinf(1 / gates) & (gates >= 0)
        beyond[..., 2, :] = False  # the candidate is a tanh in both cells
        to_gates[beyond] = np.nan
        return local


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "sigmoid-prime-of-value",
            "The derivative of sigmoid is taken at its value: sigmoid'(sigmoid(a)).",
            "https://stats.stackexchange.com/questions/204484",
            PULLBACK,
            (LSTM(), GRU("after"), GRU("before")),
            Altered(of_values(sigmoids=True, candidate=False)),
        ),
        (
            "tanh-prime-of-value",
            "The derivative of tanh is taken at its value: tanh'(tanh(a)).",
            "",
            PULLBACK,
            (RNN("tanh"), LSTM(), GRU("after")),
            Altered(of_values(sigmoids=False, candidate=True)),
        ),
        (
            "gate-primes-of-values",
            "The derivatives of all gates, sigmoid and tanh, are taken at their values.",
            "",
            PULLBACK,
            (LSTM(), GRU("after"), GRU("before")),
            Altered(of_values(sigmoids=True, candidate=True)),
        ),
        (
            "sigmoid-prime-overflows",
            "The derivative of sigmoid is computed as e^-a / (1 + e^-a)^2, which overflows.",
            "",
            ("saturated-is-finite",),
            (LSTM(), GRU("after")),
            Altered(SigmoidPrimeOverflows),
        ),
    )
)
