"""What an implementation of BPTT must offer to be judged, and the frozen data that it is given.

One method does it: ``vjp(case)`` returns outputs now and a pullback for later. All arrays are NumPy arrays in the
canonical layout of `bpttref`: sequences ``(T, B, D)``, parameters ``W_hx (G*H, D)``, ``W_hh (G*H, H)``, ``b_hx``,
``b_hh (G*H,)`` with gates stacked i, f, g, o (LSTM) or r, z, n (GRU), states ``(B, H)``. Parameters and states are
tuples over layers of tuples over directions of mappings: ``case.parameters[0][0]["W_hh"]``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from bpttref import Cell, Cotangents, Full, Gradients, Outputs, Pullback, Strategy
from bpttref.arrays import Array
from bpttref.network import AllParameters, States

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class CustomCell:
    """A cell that bpttref does not know. It is judged against its own forward pass.

    parameters: from (D, H) to the shape of each parameter. states: from H to the shape of each state of one row.
    """

    name: str
    parameters: Callable[[int, int], Shapes]
    states: Callable[[int], Shapes]


@dataclass(frozen=True, eq=False)
class Case:
    """One problem. ``initial`` is None where the subject starts from zeros; ``lengths (B,)`` None where all rows
    have T steps."""

    cell: Cell | CustomCell
    dtype: str
    parameters: AllParameters
    x: Array
    initial: States | None = None
    lengths: Array | None = None
    truncation: Strategy = Full()


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What an implementation can be asked for. What it does not declare is not asked, and listed as not judged.

    cells: of bpttref (``RNN("tanh")``, ``LSTM()``, ``GRU("after")``, ..) or `CustomCell`. dtypes: names.
    biases: how many vectors the parameters hold: 2 (``b_hx`` and ``b_hh``), 1 (``b_hx``) or 0.
    layers: the deepest stack. bidirectional, lengths: whether it takes two directions, rows of different lengths.
    initial: "given" takes initial states and returns their gradients; "constant" takes them and returns none;
    "zero" always starts from zeros.
    final: whether it returns final states and takes their cotangents.
    gradients: False for a forward-only subject, whose ``vjp`` returns None for the pullback.
    truncations: the strategies it follows when the case asks for them, by class, e.g. ``(Regular,)``.
    reusable: whether a pullback may be called twice. conventions: declared choices, for the report.
    """

    cells: tuple[Cell | CustomCell, ...]
    dtypes: tuple[str, ...] = ("float32", "float64")
    biases: Literal[0, 1, 2] = 2
    layers: int = 1
    bidirectional: bool = False
    lengths: bool = False
    initial: Literal["given", "constant", "zero"] = "given"
    final: bool = True
    gradients: bool = True
    truncations: tuple[type[Strategy], ...] = ()
    reusable: bool = True
    conventions: Mapping[str, str] = field(default_factory=dict)


class Implementation(Protocol):
    """An adapter: a name, what it can do, and one method."""

    @property
    def name(self) -> str: ...

    def capabilities(self) -> Capabilities: ...

    def vjp(self, case: Case) -> tuple[Outputs, Pullback | None]: ...


@runtime_checkable
class ForwardMode(Protocol):
    """An implementation that offers a pushforward, too: from tangents of the inputs to tangents of the outputs."""

    def jvp(self, case: Case, tangents: Gradients) -> Outputs: ...


__all__ = [
    "Capabilities",
    "Case",
    "Cotangents",
    "CustomCell",
    "ForwardMode",
    "Gradients",
    "Implementation",
    "Outputs",
    "Pullback",
]
