"""What an implementation of BPTT must offer to be judged, and the frozen data that it is given.

There are two doors, and an implementation has at least one of them:

    vjp(case)                  outputs now, a pullback for later: for layers and differentiable functions
    loss_and_gradients(case)   an objective and its gradients in one go: for training loops that own their loss

All arrays are NumPy arrays in the canonical layout of `bpttref`: sequences ``(T, B, D)``, parameters ``W_hx (G*H, D)``,
``W_hh (G*H, H)``, ``b_hx``, ``b_hh (G*H,)`` with gates stacked i, f, g, o (LSTM) or r, z, n (GRU), states ``(B, H)``.
Parameters and states are tuples over layers of tuples over directions of mappings:
``case.parameters[0][0]["W_hh"]``.

A cotangent that is None is zero. Each call gets arrays of its own; what is returned must not change when the subject is
called again. A pullback is called more than once unless ``reusable=False``. Numbers that a truncation gives, such as
``case.truncation.links(T)``, are float64 whatever the dtype of the case: multiply with care.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

from bpttcheck.custom_cell import CustomCell
from bpttcheck.dtypes import FORMATS
from bpttref import CELLS, Cell, Cotangents, Full, Gradients, Objective, Outputs, Pullback, Strategy
from bpttref.arrays import Array
from bpttref.network import AllParameters, ResetTo, States


@dataclass(frozen=True, eq=False)
class Case:
    """One problem.

    cell: of bpttref, or a `CustomCell`. dtype: the name of a format; the arrays have it. parameters, initial: by layer,
    direction and name, ``parameters[0][0]["W_hh"]``; initial is None where no states are given: it starts from zeros,
    or from what ``Capabilities.default_initial`` says. x: ``(T, B, D)``, or integer tokens ``(T, B)`` that stand for
    one-hot vectors; of a cell with streams a mapping of arrays ``(T, B, ..)``. lengths: ``(B,)``, None where all rows
    have T steps. truncation: the strategy to follow. objective: for `OneShot` subjects; it says all there is to say of
    the loss, the reduction that is declared and rows that end earlier included. once: whether the pullback is called
    once at most, so that it may free what it reads; an implementation may ignore it. wanted: which gradients are
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


_SETS = {
    "inputs": {"dense", "tokens", "initial", "lengths", "resets"},
    "outputs": {"y", "final"},
    "gradients": {"x", "parameters", "initial"},
    "objectives": {"cross-entropy", "squared-error", "linear"},
    "sizes": {"T", "B", "D", "H"},
}
_DEEPEST, LARGEST = 64, 2**24  # layers, and sizes of any kind
_REDUCTIONS = ("given", "sum", "mean-of-steps", "mean")


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What an implementation can be asked for. What it does not declare is not asked, and listed as not judged.

    cells: of bpttref (``RNN("tanh")``, ``LSTM()``, ``GRU("after")``, ..) or `CustomCell`. dtypes: names, of
    ``bpttcheck.dtypes.FORMATS``; arrays of a case in "bfloat16" are float32 arrays of bfloat16's numbers.
    biases: how many vectors the parameters hold: 2 (``b_hx`` and ``b_hh``), 1 (``b_hx``) or 0.
    layers: the deepest stack. bidirectional: whether it takes two directions.
    inputs: of "dense" and "tokens" (what x may be), "initial" (states; without it, it starts from zeros), "lengths",
    "resets". resets_to: from what a row starts that is reset: "zeros", or its "initial" states.
    default_initial: from what it starts where it takes initial states and a case has none: "zeros", a function from the
    case to the states, ``{"h": "h0"}`` for a state that is a parameter then, the same for all rows, or "none" if they
    must be given. If it is left out and such a case raises, the law is skipped.
    outputs: of "y" and "final", what it returns and takes cotangents of.
    gradients: of "x", "parameters" and "initial", what it returns; empty for a forward-only subject, whose ``vjp``
    returns None for the pullback.
    truncations: the strategies it follows when the case asks for them, by class, e.g. ``(Regular, Links)``. `Links`
    hands over the multipliers; `Random` leaves it to the subject to draw its own pattern from pi and the seed.
    reusable: whether a pullback may be called twice. selects: whether it looks at ``case.wanted``.
    padding: what may lie behind the end of a row that has lengths: "finite" numbers, or "anything", NaN included.
    empty: whether it takes sequences without steps. streams: whether ``loss_and_gradients`` frees what lies before a
    cut, so that its memory does not grow with T (measured with tracemalloc, which sees NumPy's arrays alone).
    objectives: of "cross-entropy", "squared-error" and "linear", what ``loss_and_gradients`` takes. reduction: how it
    scales the loss: "given" (by ``case.objective.scale``), "sum", "mean-of-steps" (1/T for each row) or "mean"
    (1/(T B)). Of rows that have lengths only the steps that are there count: a mean divides by their number, and one of
    steps by that of the row, which is nothing for a row without steps. padding_counts: whether all T steps of a row
    count instead, those behind its end with outputs of zero.
    loss_weights: whether it takes weights for the loss, of steps ``(T,)``, or of the steps of each row ``(T, B)`` where
    rows have lengths; those of padding are zero.
    chunks: numbers of steps that it can compute at once, as kernels do that work chunk by chunk: cases are drawn whose
    lengths lie around their multiples, and ``case.chunk`` is one of them.
    sizes: the sizes that it takes, e.g. ``{"T": (4, 8), "B": (2,)}`` for a compiler that is slow on new shapes; any
    where nothing is said. refuses: called with a case, answers why it cannot be run, or None: ``T = 0``, say.
    conventions: declared choices, for the report.

    Raises ValueError, with a sentence that names the field, where a declaration makes no sense.
    """

    cells: tuple[Cell | CustomCell, ...]
    dtypes: tuple[str, ...] = ("float32", "float64")
    biases: Literal[0, 1, 2] = 2
    layers: int = 1
    bidirectional: bool = False
    inputs: Collection[str] = ("dense", "initial")
    default_initial: Literal["zeros", "none"] | Mapping[str, str] | Callable[[Case], States] = "zeros"
    outputs: Collection[str] = ("y", "final")
    gradients: Collection[str] = ("x", "parameters", "initial")
    truncations: tuple[type[Strategy], ...] = ()
    reusable: bool = True
    selects: bool = False
    padding: Literal["finite", "anything"] = "finite"
    empty: bool = False
    streams: bool = False
    objectives: Collection[str] = ()
    reduction: Literal["given", "sum", "mean-of-steps", "mean"] = "given"
    padding_counts: bool = False
    loss_weights: bool = False
    resets_to: ResetTo = "zeros"
    chunks: Collection[int] = ()
    sizes: Mapping[str, Collection[int]] = field(default_factory=dict)
    refuses: Callable[[Case], str | None] | None = None
    conventions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, known in _SETS.items():
            declared = getattr(self, name)
            if isinstance(declared, str) or not isinstance(declared, Collection) or set(declared) - known:
                raise ValueError(f"{name} must be a collection of {', '.join(sorted(known))}; it is {declared!r}")
        for name in ("cells", "dtypes", "truncations", "chunks"):
            if isinstance(getattr(self, name), str) or not isinstance(getattr(self, name), Collection):
                raise ValueError(f"{name} must be a tuple; it is {getattr(self, name)!r}")
        for cell in self.cells:
            if not isinstance(cell, (CustomCell, *map(type, CELLS))):
                raise ValueError(f"cells must hold cells such as LSTM() or a CustomCell; there is {cell!r}")
        for name, own in (("cells", [cell.name for cell in self.cells]), ("dtypes", list(self.dtypes))):
            if twice := sorted({str(one) for one in own if own.count(one) > 1}):
                raise ValueError(f"{name} must differ; there is {', '.join(twice)} twice")
        for rule in self.truncations:
            if not isinstance(rule, type):
                raise ValueError(f"truncations must hold classes such as Regular; there is {rule!r}")
        if not self.cells or not self.dtypes:
            raise ValueError("cells and dtypes must hold at least one each")
        if self.reduction not in _REDUCTIONS:
            raise ValueError(f"reduction must be one of {', '.join(_REDUCTIONS)}; it is {self.reduction!r}")
        default = self.default_initial
        if default not in ("zeros", "none") and not callable(default) and not isinstance(default, Mapping):
            raise ValueError(f"default_initial must be 'zeros', 'none', a mapping or a function; it is {default!r}")
        if self.resets_to not in ("zeros", "initial"):
            raise ValueError(f"resets_to must be 'zeros' or 'initial'; it is {self.resets_to!r}")
        if self.biases not in (0, 1, 2):
            raise ValueError(f"biases must be 0, 1 or 2; it is {self.biases!r}")
        if not isinstance(self.layers, int) or not 1 <= self.layers <= _DEEPEST:
            raise ValueError(f"layers must be a number from 1 to {_DEEPEST}; it is {self.layers!r}")
        if not all(chunk in range(1, LARGEST + 1) for chunk in self.chunks):
            raise ValueError(f"chunks must be numbers from 1 to {LARGEST}; they are {self.chunks!r}")
        for name in ("sizes", "conventions"):
            if not isinstance(getattr(self, name), Mapping):
                raise ValueError(f"{name} must be a mapping; it is {getattr(self, name)!r}")
        for name, pool in self.sizes.items():
            if not isinstance(pool, Collection) or not pool or not all(n in range(1, LARGEST + 1) for n in pool):
                raise ValueError(f"sizes must hold numbers from 1 to {LARGEST} for each name; {name} has {pool!r}")
        with_complex = [c.name for c in self.cells if isinstance(c, CustomCell) and complex in c.domains.values()]
        if with_complex and "float16" in self.dtypes:
            raise ValueError(f"dtypes must not hold float16 beside {with_complex[0]}: it has no complex numbers")
        for dtype in self.dtypes:
            if dtype not in FORMATS:
                raise ValueError(f"dtypes must be of {', '.join(FORMATS)}; there is {dtype!r}")

    def at(self, sizes: Mapping[str, int]) -> "Capabilities":
        """The same, of these sizes alone. Raises ValueError where one is not among those declared."""
        for name, size in sizes.items():
            declared = self.sizes.get(name, (size,))
            if size not in declared:
                known = ", ".join(map(str, declared))
                raise ValueError(f"{name} = {size} is not among the declared sizes, which are {known}")
        return replace(self, sizes={**self.sizes, **{name: (size,) for name, size in sizes.items()}})

    def undeclared(self, case: Case) -> str | None:
        """What a case has that is not declared; None if there is no such thing."""
        tokens, truncation = not isinstance(case.x, Mapping) and case.x.ndim == 2, type(case.truncation)
        beyond = {
            f"the cell {case.cell.name}": case.cell.name not in {cell.name for cell in self.cells},
            "tokens" if tokens else "dense inputs": ("tokens" if tokens else "dense") not in self.inputs,
            "initial states": case.initial is not None and "initial" not in self.inputs,
            "a choice of gradients": case.wanted is not None and not self.selects,
            "rows of different lengths": case.lengths is not None and "lengths" not in self.inputs,
            f"{len(case.parameters)} layers": len(case.parameters) > self.layers,
            "resets": case.resets is not None and "resets" not in self.inputs,
            "two directions": len(case.parameters[0]) > 1 and not self.bidirectional,
            f"{truncation.__name__.lower()} truncation": truncation not in (Full, *self.truncations),
        }
        return next((what for what, there in beyond.items() if there), None)

    def refusal(self, case: Case) -> str | None:
        """Why this case is not put to the subject; None if it is."""
        for name, size in case.sizes.items():
            if name in self.sizes and size not in self.sizes[name]:
                return f"{name} = {size} is not among the declared sizes"
        return self.refuses(case) if self.refuses else None


@runtime_checkable
class Implementation(Protocol):
    """An adapter: a name, what it can do, and one or more of the methods of `TwoPhase`, `OneShot`, `ForwardMode`."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def capabilities(self) -> Capabilities:
        """What it can be asked for, the same at every call."""


@runtime_checkable
class TwoPhase(Implementation, Protocol):
    """The first door. The pullback may be called later and more than once; a forward-only subject returns None."""

    def vjp(self, case: Case) -> tuple[Outputs, Pullback | None]:
        """Outputs now, and a pullback from `Cotangents` to `Gradients` for later."""


@runtime_checkable
class OneShot(Implementation, Protocol):
    """The second door: ``Outputs.loss`` is the value of ``case.objective``, ``Gradients.readout`` has "W_qh", "b_q"."""

    def loss_and_gradients(self, case: Case) -> tuple[Outputs, Gradients]:
        """The loss, as ``Outputs(None, None, loss)``, and its gradients."""


@runtime_checkable
class ForwardMode(Implementation, Protocol):
    """An implementation that offers a pushforward, too: from tangents of the inputs to tangents of the outputs."""

    def jvp(self, case: Case, tangents: Gradients) -> Outputs:
        """Tangents of the outputs, from tangents shaped as gradients are."""


__all__ = [
    "Capabilities",
    "Case",
    "Cotangents",
    "CustomCell",
    "ForwardMode",
    "Gradients",
    "Implementation",
    "OneShot",
    "Outputs",
    "Pullback",
    "TwoPhase",
]
