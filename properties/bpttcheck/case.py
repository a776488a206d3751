"""One problem: the frozen data that an implementation is given. `bpttcheck.contract` says how it lies in arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bpttcheck.custom_cell import CustomCell
from bpttref import Cell, Full, Objective, Strategy
from bpttref.arrays import Array
from bpttref.network import AllParameters, ResetTo, States


@dataclass(frozen=True, eq=False)
class Case:
    """One problem.

    cell: of bpttref, or a `CustomCell`. dtype: the name of a format; the arrays have it. parameters, initial: by layer,
    direction and name, ``parameters[0][0]["W_hh"]``; initial is None where no states are given: it starts from zeros,
    or from what ``Capabilities.default_initial`` says. x: ``(T, B, D)``, or integer tokens ``(T, B)`` that stand for
    one-hot vectors; of a cell with streams a mapping of arrays ``(T, B, ..)``. lengths: ``(B,)``, None where all rows
    have T steps. truncation: the strategy to follow. objective: for `OneShot` implementations; it says all there is to
    say of the loss, the reduction that is declared and rows that end earlier included. once: whether the pullback is
    called once at most, so that it may free what it reads; an implementation may ignore it. wanted: which gradients are
    wanted, of "x", "parameters" (with those of a readout) and "initial"; the others may be None, or anything. None
    stands for all, and the empty set for the outputs alone: the pullback may then be None. It is None unless
    ``Capabilities.selects``. chunk: in how many steps at once it is to be computed, of ``Capabilities.chunks``; None if
    these are none. resets: flags ``(T, B)``, before which steps which rows start anew, from zeros or from their initial
    states, as ``reset_to`` and ``Capabilities.resets_to`` say; None where none does. A reset replaces the link.
    """

    cell: Cell | CustomCell
    dtype: str
    parameters: AllParameters
    x: Any
    initial: States | None = None
    lengths: Array | None = None
    truncation: Strategy = Full()
    objective: Objective | None = None
    once: bool = False
    wanted: frozenset[str] | None = None
    chunk: int | None = None
    resets: Array | None = None
    reset_to: ResetTo = "zeros"

    @property
    def T(self) -> int:
        """How many steps there are."""
        return len(one_stream(self.x))

    @property
    def B(self) -> int:
        """How many rows there are."""
        return int(one_stream(self.x).shape[1])

    @property
    def sizes(self) -> dict[str, int]:
        """T, B, D of dense inputs and, of a known cell, H of the first layer."""
        sizes = {"T": self.T, "B": self.B}
        if isinstance(self.cell, CustomCell):
            dense = not isinstance(self.x, Mapping) and self.x.ndim == 3
            return sizes | ({"D": self.x.shape[2]} if dense else {})
        first = self.parameters[0][0]
        return sizes | {"D": first["W_hx"].shape[1], "H": first["W_hh"].shape[1]}


def one_stream(x: Any) -> Array:
    """The first of several streams, or the only one: an array ``(T, B, ..)``."""
    found: Array = next(iter(x.values())) if isinstance(x, Mapping) else x
    return found
