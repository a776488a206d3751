"""Where a ReLU bends: a case whose pre-activations are too near to it proves nothing."""

from typing import Any

import numpy as np

from bpttcheck.cases.changes import with_arrays
from bpttcheck.contract import Case
from bpttcheck.dtypes import FORMATS
from bpttref import RNN, vjp
from bpttref.arrays import Array
from bpttref.cells import State


def near_kink(case: Case) -> bool:
    """Whether a ReLU's pre-activation is so near to 0, beside its terms, that rounding may flip it."""
    margin = max(1e-3, 4 * FORMATS[case.dtype].eps)
    return any(np.any(np.abs(total) < margin * terms) for total, terms in _preactivations(case))


def sides_of_kinks(case: Case) -> Array:
    """For each pre-activation of a ReLU, whether it is positive; empty for other cells."""
    return np.concatenate([np.zeros(0, bool), *(total.ravel() > 0 for total, _ in _preactivations(case))])


def _preactivations(case: Case) -> list[tuple[Array, Array]]:
    """For each step of each layer of a ReLU network, the pre-activations and the sum of their terms' magnitudes."""
    found: list[tuple[Array, Array]] = []
    if case.cell != RNN("relu"):
        return found
    case = with_arrays(case, lambda _, array: array.astype(np.float64))

    class _Watched(RNN):
        def step(self, a: Array, gates: State, before: State, after: State, *rest: Any) -> None:
            W = rest[1]
            found.append((before[0] @ W + a, np.abs(before[0]) @ np.abs(W) + np.abs(a)))
            super().step(a, gates, before, after, *rest)

    vjp(_Watched("relu"), case.parameters, case.x, case.initial, lengths=case.lengths)
    return found
