"""One problem: the frozen data that an implementation is given. `bpttcheck.contract` says how it lies in arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bpttcheck.custom_cell import CustomCell
from bpttcheck.dtypes import Format, within
from bpttref import Cell, Full, Objective, Strategy
from bpttref.arrays import Array
from bpttref.network import AllParameters, ResetTo, States


@dataclass(frozen=True, eq=False)
class Case:
    """One problem, which an implementation gets.

    Parameters
    ----------
    cell : Cell or CustomCell
        Of bpttref, or your own.
    dtype : str
        The name of a format; the arrays have it.
    parameters : tuple
        By layer, direction and name: ``parameters[0][0]["W_hh"]``.
    x : Array or mapping of str to Array
        ``(T, B, D)``, or integer tokens ``(T, B)`` that stand for one-hot vectors; of a cell with streams a mapping of
        arrays ``(T, B, ...)``.
    initial : tuple, optional
        Initial states by layer, direction and name; without them a run starts from zeros, or as
        ``Capabilities.default_initial`` says.
    lengths : Array, optional
        The steps of each row, ``(B,)``; None if all rows have T steps.
    truncation : Strategy
        How to truncate.
    objective : Objective, optional
        The loss, for a `OneShot` implementation, including its reduction and rows that end early.
    once : bool
        Whether the pullback is called only once, so that it may free what it reads; an implementation may ignore it.
    wanted : frozenset of str, optional
        The wanted gradients, of "x", "parameters" (with the readout's) and "initial"; the others may be None, or
        anything. None stands for all. An empty set stands for only the outputs: the pullback may then be None. It is
        None unless ``Capabilities.selects``.
    chunk : int, optional
        How many steps to compute at once, of ``Capabilities.chunks``.
    resets : Array, optional
        Flags ``(T, B)``: a row starts anew before a step. A reset replaces the link.
    reset_to : str
        "zeros" or "initial", as ``Capabilities.resets_to``.
    inside : str
        The format of operations, if ``Capabilities.inside`` names another one for the dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from bpttref import RNN
    >>> p = {"W_hx": np.zeros((3, 2)), "W_hh": np.zeros((3, 3))}
    >>> Case(RNN("tanh"), "float64", ((p,),), np.zeros((5, 4, 2))).sizes
    {'T': 5, 'B': 4, 'D': 2, 'H': 3}
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
    inside: str = ""

    @property
    def T(self) -> int:
        """How many steps there are."""
        return len(one_stream(self.x))

    @property
    def B(self) -> int:
        """How many rows there are."""
        return int(one_stream(self.x).shape[1])

    @property
    def format(self) -> Format:
        """Of its numbers and of operations on them."""
        return within(self.dtype, self.inside)

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
