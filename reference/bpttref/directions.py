"""One layer in one direction, with rows of their own lengths: an unroll between flips and masks."""

from typing import NamedTuple

import numpy as np

from bpttref.arrays import Array
from bpttref.cells import Cell, State
from bpttref.unrolling import NamedState, Parameters, Pulled, Resets, forward


class OwnGradients(NamedTuple):
    """The gradients of one direction of a layer: of its parameters, its initial states, and the states that rows are
    reset to."""

    parameters: dict[str, Array]
    initial: dict[str, Array]
    reset: dict[str, Array]


class Direction:
    """One layer in one direction, with rows of their own lengths: an unroll between flips and masks."""

    def __init__(
        self,
        cell: Cell,
        parameters: Parameters,
        x: Array,
        initial: NamedState,
        lengths: Array | None,
        reverse: bool,
        resets: Resets | None,
    ) -> None:
        self._lengths = lengths
        self._reverse = reverse
        self.x = self.flip(x)
        self.unrolled = forward(cell, parameters, self.x, tuple(initial[name] for name in cell.states), resets)
        tape = self.unrolled.tape
        if lengths is None:
            ends = [state[-1].copy() for state in tape.states]  # a view would keep the whole tape
        else:
            ends = [np.moveaxis(_by_row(s)[lengths, np.arange(len(lengths))], 0, -2) for s in tape.states]
            # With a cleared tape no cotangent passes through the padding, whatever the cell computed there.
            for sequence in (tape.gates, tape.kept, *(state[1:] for state in tape.states)):
                if sequence is not None:
                    _clear_padding(sequence, lengths)
        self.final = dict(zip(cell.states, ends, strict=True))
        self.y = self.flip(tape.states[0][1:])

    def entering(self, dy: Array | None, dfinal: NamedState) -> tuple[list[Array | None], State]:
        """The cotangents as the recursion takes them: of each state at each step, and of the states after the last.

        With lengths, the cotangent of a final state enters at its row's own last step.
        """
        cell, states = self.unrolled.cell, self.unrolled.tape.states
        incoming: list[Array | None] = [None] * len(states)
        if dy is not None:
            incoming[0] = self.flip(dy)
        after = tuple(np.zeros_like(state[0]) for state in states)
        for k, name in enumerate(cell.states):
            if name in dfinal:
                if self._lengths is None:
                    after[k][...] = dfinal[name]
                else:
                    rows = np.flatnonzero(self._lengths)
                    sequence = np.zeros_like(states[k][1:])
                    _by_row(sequence)[self._lengths[rows] - 1, rows] = np.moveaxis(dfinal[name], -2, 0)[rows]
                    so_far = incoming[k]
                    incoming[k] = sequence if so_far is None else so_far + sequence
        return incoming, after

    def entering_as_losses(self, dy: Array | None, dfinal: NamedState) -> list[Array | None]:
        """The same, of at least one step, where cotangents of final states are part of the last step's loss."""
        incoming, after = self.entering(dy, dfinal)
        for k, name in enumerate(self.unrolled.cell.states):
            if self._lengths is None and name in dfinal:
                so_far = incoming[k]
                sequence = np.zeros_like(self.unrolled.tape.states[k][1:]) if so_far is None else so_far.copy()
                sequence[-1] += after[k]
                incoming[k] = sequence
        return incoming

    def gradients(self, back: Pulled, dfinal: NamedState) -> OwnGradients:
        """The gradients by name, from the results of the recursion."""
        names = self.unrolled.cell.states
        reset = dict(zip(names, back.reset, strict=True)) if back.reset is not None else {}
        return OwnGradients(back.parameters, self._initial(dict(zip(names, back.initial, strict=True)), dfinal), reset)

    def _initial(self, named: dict[str, Array], dfinal: NamedState) -> dict[str, Array]:
        """The gradients for the initial states."""
        if self._lengths is None:
            return named
        empty = (self._lengths == 0)[:, None]  # rows without a step: the final state is the initial one
        return {name: d + np.where(empty, dfinal[name], 0) if name in dfinal else d for name, d in named.items()}

    def flip(self, sequence: Array) -> Array:
        """Reverse each row within its length, if this is the reverse direction. Its own inverse."""
        if not self._reverse:
            return sequence
        if self._lengths is None:
            return sequence[::-1]
        t = np.arange(len(sequence))[:, None]
        source = np.where(t < self._lengths, self._lengths - 1 - t, t)
        by_row = _by_row(sequence) if sequence.ndim > 2 else sequence  # tokens are (T, B) already
        flipped = by_row[source, np.arange(len(self._lengths))]
        return np.moveaxis(flipped, 1, -2) if sequence.ndim > 2 else flipped


def _by_row(sequence: Array) -> Array:
    """View ``(T, ..., B, H)`` as ``(T, B, ..., H)``, to be indexed by step and row."""
    return np.moveaxis(sequence, -2, 1)


def _clear_padding(sequence: Array, lengths: Array) -> None:
    """Set all numbers behind each row's end to zero, in place."""
    rows = sequence if sequence.ndim == 2 else _by_row(sequence)
    rows[np.arange(len(sequence))[:, None] >= lengths] = 0


def without_padding(sequence: Array, lengths: Array) -> Array:
    """A copy with zeros behind each row's end: garbage there, NaN included, has no effect."""
    sequence = sequence.copy()
    _clear_padding(sequence, lengths)
    return sequence
