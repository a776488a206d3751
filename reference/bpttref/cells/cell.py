"""A cell: one step's map, the derivatives along a tape, and one step's pullback.

A cell contains only its equations. `bpttref.unrolling` handles time: it projects all inputs at once, walks
the steps, and turns the adjoints ``da`` of the pre-activations into gradients, for every cell in the same way.
"""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from bpttref.arrays import Array

State: TypeAlias = tuple[Array, ...]  # one array (..., B, H) per name in Cell.states; the first is the output


@dataclass(frozen=True)
class Tape:
    """The results of T forward steps that the backward pass needs.

    gates: ``(T, ..., B, G*H)``, the activated gates; of a cell with one gate they are its states 1 to T.
    states: per state ``(T+1, ..., B, H)``; index 0 is the initial state, index t+1 the state after step t.
    kept: ``(T, ..., B, H)``, one more array that the cell needs, or None.
    restarted: per state ``(T, ..., B, H)``, the start of each step where resets replace some of the states before;
    None where nothing is replaced.
    """

    gates: Array
    states: tuple[Array, ...]
    kept: Array | None
    restarted: tuple[Array, ...] | None = None

    def steps(self, start: int, stop: int) -> "Tape":
        """The part of the tape for steps ``start <= t < stop``, as views."""
        kept = None if self.kept is None else self.kept[start:stop]
        restarted = None if self.restarted is None else tuple(s[start:stop] for s in self.restarted)
        return Tape(self.gates[start:stop], tuple(s[start : stop + 1] for s in self.states), kept, restarted)

    @property
    def h_before(self) -> Array:
        """The hidden state that each step starts from: ``(T, ..., B, H)``."""
        return self.states[0][:-1] if self.restarted is None else self.restarted[0]

    @property
    def c_before(self) -> Array:
        """As `h_before`, of the second state."""
        return self.states[1][:-1] if self.restarted is None else self.restarted[1]


class Cell(Protocol):
    """A cell: a frozen record of its options, with its equations as methods.

    Examples
    --------
    >>> from bpttref import CELLS
    >>> [cell.name for cell in CELLS if len(cell.states) == 2]
    ['lstm']
    """

    @property
    def name(self) -> str: ...

    @property
    def gates(self) -> tuple[str, ...]:
        """Names of the row blocks of ``W_hx`` and ``W_hh``, in order."""

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the states; the first is the output of the step."""

    @property
    def keeps(self) -> bool:
        """Whether the tape holds the array ``kept``."""

    def input_bias(self, b_hh: Array) -> Array:
        """The part of the recurrent bias that may be added to the input projection before the loop.

        Parameters
        ----------
        b_hh : Array
            ``(..., G*H)``.

        Returns
        -------
        Array
            Of the same shape.
        """

    def step(
        self,
        a: Array,
        gates: tuple[Array, ...],
        before: State,
        after: State,
        kept: Array | None,
        W: Array,
        b_hh: Array | None,
        work: Array,
    ) -> None:
        """Run one step, in place.

        Parameters
        ----------
        a : Array
            ``(..., B, G*H)``: the input's share of the pre-activations on entry, the activated gates on exit. With one
            gate it is the state at t itself.
        gates : tuple of Array
            The parts of ``a`` by gate, as views ``(..., B, H)``.
        before, after : tuple of Array
            The states at t-1, which are read, and at t, which are written.
        kept : Array or None
            Written if the cell keeps something.
        W : Array
            ``W_hh'``, ``(..., H, G*H)``.
        b_hh : Array or None
            The recurrent bias.
        work : Array
            Scratch of the shape of ``a``.
        """

    def linearise(self, tape: Tape) -> tuple[Array, ...]:
        """The local derivatives of all steps.

        Parameters
        ----------
        tape : Tape
            What the forward pass left behind.

        Returns
        -------
        tuple of Array
            Each with time as its first axis.
        """

    def pull(self, local: tuple[Array, ...], ds: State, W: Array, da: Array) -> State:
        """Pull back through one step. The arrays of ``ds``, and the arrays that `linearise` made, may be overwritten.

        Parameters
        ----------
        local : tuple of Array
            `linearise` at step t.
        ds : tuple of Array
            The cotangent of the state at t.
        W : Array
            ``W_hh (..., G*H, H)``.
        da : Array
            ``(..., B, G, H)``; it receives the adjoints of the pre-activations as the input sees them.

        Returns
        -------
        tuple of Array
            The cotangent of the state at t-1.
        """

    def recurrent_gradient(self, da: Array, tape: Tape) -> tuple[Array, Array]:
        """The gradients of the recurrent parameters.

        Parameters
        ----------
        da : Array
            The adjoints ``(T, ..., B, G*H)`` of the pre-activations.
        tape : Tape
            What the forward pass left behind.

        Returns
        -------
        dW_hh : Array
            ``(..., G*H, H)``.
        db_hh : Array
            ``(..., G*H)``.
        """
