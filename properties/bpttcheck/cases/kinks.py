"""Where a ReLU bends: a case whose pre-activations are too near to it proves nothing."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np

from bpttcheck.cases.changes import with_arrays
from bpttcheck.contract import Case
from bpttref import RNN, vjp
from bpttref.arrays import Array
from bpttref.cells import State
from bpttref.inputs import is_tokens


def near_kink(case: Case) -> bool:
    """Whether a ReLU's pre-activation is so near to 0, next to its terms, that rounding may flip it.

    Also whether it is near 0 next to the smallest exact number: where biases are zero, all terms may vanish, and at a
    pre-activation of 0 any derivative between 0 and 1 is correct.
    """
    format = case.format
    margin = max(1e-3, 4 * format.operand)
    return any(np.any(np.abs(total) < margin * (terms + format.least)) for total, terms in _preactivations(case))


def sides_of_kinks(case: Case) -> Array:
    """For each pre-activation of a ReLU, whether it is positive; empty for other cells."""
    return np.concatenate([np.zeros(0, bool), *(total.ravel() > 0 for total, _ in _preactivations(case))])


def at_kink(case: Case) -> bool:
    """Whether rounding decides the side on which a ReLU's pre-activation lies, or it is exactly 0: a tie.

    This is for the user's own case, which cannot be left out: `near_kink` keeps a distance that no large network
    has from all its kinks.
    """
    return any(np.any(near) for near in _near(case))


def on_other_sides(case: Case, number: int) -> list[Case]:
    """The case with pre-activations at a kink moved to one side or the other: all above, all below, and at random.

    Outputs are the same except for rounding; gradients belong to the chosen side.
    """
    masks = _near(case)
    found = []
    for k in range(number):
        rng = np.random.default_rng(k)
        up = [near & (rng.random(near.shape) < (1.0, 0.0, 0.5)[min(k, 2)]) for near in masks]
        found.append(replace(case, cell=_Sided("relu", tuple(masks), tuple(up))))
    return found


def _near(case: Case) -> list[Array]:
    """For each step of each layer of a ReLU network, which pre-activations rounding could move to the other side."""
    found = _preactivations(case)
    if not found:
        return []
    largest = max([1.0 if is_tokens(case.x) else float(np.abs(case.x).max()), *(float(t.max()) for t, _ in found)])
    inputs = max(
        float((largest * np.abs(leaf["W_hx"]).sum(axis=1) + sum(np.abs(leaf[b]) for b in leaf if b[0] == "b")).max())
        for layer in case.parameters
        for leaf in layer
    )
    margin = 64 * case.format.operand
    return [np.abs(total) <= margin * (terms + inputs) for total, terms in found]


class _Sided(RNN):
    """A ReLU cell whose steps, in the order in which they are run, move some units to a side of the kink."""

    def __init__(self, activation: Any, masks: tuple[Array, ...], up: tuple[Array, ...]) -> None:
        super().__init__(activation)
        object.__setattr__(self, "_masks", itertools.cycle(zip(masks, up, strict=True)))

    def step(self, a: Array, gates: State, before: State, after: State, *rest: Any) -> None:
        super().step(a, gates, before, after, *rest)
        near, up = next(self._masks)  # type: ignore[attr-defined]
        (h,) = after
        h[...] = np.where(near, np.where(up, np.maximum(h, 1e-200), 0), h)  # replicates share the masks


def _preactivations(case: Case) -> list[tuple[Array, Array]]:
    """For each step of each layer of a ReLU network, the pre-activations and the sum of their terms' magnitudes.

    A second network runs on the magnitudes of all inputs and parameters, from the states of the first, which are not
    negative.
    """
    found: list[tuple[Array, Array]] = []
    if case.cell != RNN("relu"):
        return found

    def and_magnitudes(_: str, array: Array) -> Array:
        return np.stack([array, np.abs(array)]).astype(np.float64)

    both = with_arrays(case, and_magnitudes)

    class _Watched(RNN):
        def step(self, a: Array, gates: State, before: State, after: State, *rest: Any) -> None:
            total, terms = before[0] @ rest[1] + a
            found.append((total, terms))
            super().step(a, gates, before, after, *rest)
            after[0][1] = after[0][0]

    x = case.x if is_tokens(case.x) else np.moveaxis(both.x, 0, 1)
    vjp(
        _Watched("relu"),
        both.parameters,
        x,
        both.initial,
        lengths=case.lengths,
        resets=case.resets,
        reset_to=case.reset_to,
    )
    return found
