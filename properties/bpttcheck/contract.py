"""The interface of an implementation of BPTT, and the frozen data that it is given.

There are two interfaces, and an implementation has at least one of them:

    vjp(case)                  outputs now, a pullback for later: for layers and differentiable functions
    loss_and_gradients(case)   an objective and its gradients in one go: for training loops that own their loss

All arrays are NumPy arrays in the canonical layout of `bpttref`: sequences ``(T, B, D)``, parameters ``W_hx (G*H, D)``,
``W_hh (G*H, H)``, ``b_hx``, ``b_hh (G*H,)`` with gates stacked i, f, g, o (LSTM) or r, z, n (GRU), states ``(B, H)``.
Parameters and states are tuples over layers of tuples over directions of mappings:
``case.parameters[0][0]["W_hh"]``.

A cotangent that is None is zero. Each call gets arrays of its own; a returned array must not change when the
implementation is called again. A pullback is called more than once unless ``reusable=False``. Numbers that a truncation
gives, such as ``case.truncation.links(T)``, are float64 whatever the dtype of the case: multiply with care.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from bpttcheck.case import Case
from bpttcheck.custom_cell import CustomCell
from bpttcheck.dtypes import FORMATS, WITHIN
from bpttref import CELLS, Cell, Cotangents, Full, Gradients, Outputs, Pullback, Strategy
from bpttref.network import ResetTo, States


def declares(declared: Collection[str], kind: str) -> bool:
    """Whether "initial", say, or a single one of these states, "initial.h", is declared."""
    return any(name.partition(".")[0] == kind for name in declared)


def states_of(declared: Collection[str], kind: str, states: Iterable[str]) -> tuple[str, ...]:
    """Of the states of a cell those that are declared: "initial" stands for them all, "initial.h" for h."""
    return tuple(name for name in states if kind in declared or f"{kind}.{name}" in declared)


def _beyond(declared: Collection[str], known: set[str]) -> list[str]:
    """The declared names that are neither ``known`` nor a state of a known name, such as "initial.h"."""
    return [n for n in declared if n not in known and n.split(".")[0] not in known & {"initial", "final"}]


def _is_bound(clips: object) -> bool:
    match clips:
        case ("value" | "norm", float() | int() as bound):
            return 0 < bound < float("inf")
    return False


_SETS = {
    "inputs": {"dense", "tokens", "initial", "lengths", "resets"},
    "outputs": {"y", "last", "final"},
    "gradients": {"x", "parameters", "initial"},
    "objectives": {"cross-entropy", "squared-error", "linear"},
    "sizes": {"T", "B", "D", "H"},
}
_DEEPEST, LARGEST = 64, 2**24  # layers, and sizes of any kind
Clips: TypeAlias = tuple[Literal["value", "norm"], float]
_REDUCTIONS = ("given", "sum", "mean-of-steps", "mean-of-rows", "mean")


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """The features that an implementation supports. Other features are not tested, and are listed as skipped.

    Parameters
    ----------
    cells : tuple of Cell or CustomCell
        Of bpttref, such as ``RNN("tanh")``, ``LSTM()``, ``GRU("after")``, or a `CustomCell`.
    dtypes : tuple of str
        Names in ``bpttcheck.dtypes.FORMATS``. Arrays of a case in "bfloat16" are float32 arrays of bfloat16's numbers.
    biases : int
        Vectors that the parameters hold: 2 (``b_hx`` and ``b_hh``), 1 (``b_hx``) or 0.
    layers : int
        The deepest stack.
    bidirectional : bool
        Whether it supports two directions.
    inputs : collection of str
        Of "dense" and "tokens" (kinds of x), "initial" (states; without it, a run starts from zeros), "lengths",
        "resets".
    default_initial : str, mapping or callable
        The states from which it starts if a case has none: "zeros", a function from the case to the states, ``{"h":
        "h0"}`` for a state that is then a parameter, the same for all rows, or "none" if they must be given. If this is
        left out and such a case raises, the law is skipped.
    outputs : collection of str
        Of "y" and "final", which it returns, and takes cotangents of. "last" in place of "y" means that y is only the
        output of each row's last step, ``(B, features)``, and so is its cotangent; a loss is then a loss of that step.
    gradients : collection of str
        Of "x", "parameters" and "initial", which it returns; empty if it has only a forward pass, whose ``vjp`` returns
        None for the pullback. Single states may be named: an LSTM that takes and returns h but no c declares
        "initial.h" among the inputs, "final.h" among the outputs and "initial.h" among the gradients. Mappings of
        states then hold only h; c starts from zeros, or where a `CustomCell` starts, and has no cotangent.
    truncations : tuple of strategy classes
        The rules that it supports, such as ``(Regular, Links)``. A case with `Links` hands over the multipliers; with
        `Random` the implementation draws its own pattern from pi and the seed.
    reusable : bool
        Whether a pullback may be called twice.
    selects : bool
        Whether it looks at ``case.wanted``.
    padding : str
        What padding may hold: "finite" numbers, or "anything", NaN included.
    empty : bool
        Whether it supports sequences without steps.
    streams : bool
        Whether ``loss_and_gradients`` frees everything before a cut, so that its memory does not grow with T (measured
        with tracemalloc, which sees only NumPy's arrays).
    objectives : collection of str
        Of "cross-entropy", "squared-error" and "linear", for ``loss_and_gradients``.
    reduction : str
        How it scales the loss: "given" (by ``case.objective.scale``), "sum", "mean-of-steps" (1/T for each row),
        "mean-of-rows" (1/B) or "mean" (1/(T B)). If rows have lengths only their own steps count: a mean divides by
        their number, a mean of steps by the length of the row, and a row without steps adds nothing. Without objectives
        this is the reduction of the pullback: its gradients are the gradients of the mean, over rows or steps, of the
        losses that the cotangents stand for, including the cotangents of final states.
    padding_counts : bool
        Whether all T steps of a row count, with outputs of zero in the padding.
    readout_bias : bool
        Whether the readout has a bias; without it ``case.objective.b_q`` is None.
    loss_weights : bool
        Whether it takes weights for the loss, of steps ``(T,)``, or of the steps of each row ``(T, B)`` if rows have
        lengths; weights of padding are zero.
    resets_to : str
        A row that is reset starts from "zeros", or from its "initial" states.
    clips : tuple, optional
        How the backward loop clips the cotangent of each state at each step, and at what bound: ``("value", 5.0)``, or
        ``("norm", 1.0)`` of each row. The correct numbers are the numbers of a loop in which nothing exceeds it, or, if
        the reference knows the cell, of a loop that clips either with the cotangent of y or without it.
    chunks : collection of int
        Numbers of steps that it can compute at once, as kernels do that work chunk by chunk. Cases have lengths around
        their multiples, and ``case.chunk`` is one of them.
    sizes : mapping of str to collection of int
        The sizes that it supports, such as ``{"T": (4, 8), "B": (2,)}`` for a compiler that is slow on new shapes.
    refuses : callable, optional
        Called with a case, returns why it cannot be run, or None.
    inside : mapping of str to str
        By dtype, the format of operations, if it is another one. ``{"float32": "tf32"}``: a GPU rounds the inputs of
        matrix products. "mixed" for "bfloat16" and "float16": the inputs of matrix products have 16 bits; sums, states
        and all other operations are in float32. "float32": the inputs as well. Tolerances are then as small as that
        allows. A dtype of 16 bits that is not named is tested with "float32", then "mixed", then with all operations in
        16 bits, until all laws pass. ``{"bfloat16": "bfloat16"}`` means that all operations have 16 bits.
    conventions : mapping of str to str
        Other choices, for the report.

    Raises
    ------
    ValueError
        With a sentence that names the field, if a declaration makes no sense.

    Examples
    --------
    >>> from bpttref import LSTM, Regular
    >>> declared = Capabilities(cells=(LSTM(),), biases=1, truncations=(Regular,))
    >>> declared.dtypes
    ('float32', 'float64')
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
    reduction: Literal["given", "sum", "mean-of-steps", "mean-of-rows", "mean"] = "given"
    padding_counts: bool = False
    readout_bias: bool = True
    loss_weights: bool = False
    resets_to: ResetTo = "zeros"
    clips: Clips | None = None
    chunks: Collection[int] = ()
    sizes: Mapping[str, Collection[int]] = field(default_factory=dict)
    refuses: Callable[[Case], str | None] | None = None
    inside: Mapping[str, str] = field(default_factory=dict)
    conventions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, known in _SETS.items():
            declared = getattr(self, name)
            if isinstance(declared, str) or not isinstance(declared, Collection) or _beyond(declared, known):
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
        if {"y", "last"} <= {*self.outputs}:
            raise ValueError("outputs must hold y, of all steps, or last, not both")
        if not self.cells or not self.dtypes:
            raise ValueError("cells and dtypes must not be empty")
        if self.reduction not in _REDUCTIONS:
            raise ValueError(f"reduction must be one of {', '.join(_REDUCTIONS)}; it is {self.reduction!r}")
        default = self.default_initial
        if default not in ("zeros", "none") and not callable(default) and not isinstance(default, Mapping):
            raise ValueError(f"default_initial must be 'zeros', 'none', a mapping or a function; it is {default!r}")
        if self.clips is not None and not _is_bound(self.clips):
            raise ValueError(f"clips must be 'value' or 'norm' and a positive number; they are {self.clips!r}")
        if self.clips is not None and self.objectives:
            raise ValueError("clips describe a pullback: an implementation with objectives cannot declare them")
        if self.resets_to not in ("zeros", "initial"):
            raise ValueError(f"resets_to must be 'zeros' or 'initial'; it is {self.resets_to!r}")
        if self.biases not in (0, 1, 2):
            raise ValueError(f"biases must be 0, 1 or 2; it is {self.biases!r}")
        if not isinstance(self.layers, int) or not 1 <= self.layers <= _DEEPEST:
            raise ValueError(f"layers must be a number from 1 to {_DEEPEST}; it is {self.layers!r}")
        if not all(chunk in range(1, LARGEST + 1) for chunk in self.chunks):
            raise ValueError(f"chunks must be numbers from 1 to {LARGEST}; they are {self.chunks!r}")
        for name in ("sizes", "inside", "conventions"):
            if not isinstance(getattr(self, name), Mapping):
                raise ValueError(f"{name} must be a mapping; it is {getattr(self, name)!r}")
        for name, pool in self.sizes.items():
            if not isinstance(pool, Collection) or not pool or not all(n in range(1, LARGEST + 1) for n in pool):
                raise ValueError(f"sizes must hold numbers from 1 to {LARGEST} for each name; {name} has {pool!r}")
        with_complex = [c.name for c in self.cells if isinstance(c, CustomCell) and complex in c.domains.values()]
        if with_complex and "float16" in self.dtypes:
            raise ValueError(f"dtypes must not hold float16 together with {with_complex[0]}: it has no complex numbers")
        for pair in self.inside.items():
            if pair not in WITHIN and pair[0] != pair[1]:
                raise ValueError(f"inside must be of {', '.join(f'{a!r}: {b!r}' for a, b in WITHIN)}; there is {pair}")
        for dtype in self.dtypes:
            if dtype not in FORMATS:
                raise ValueError(f"dtypes must be of {', '.join(FORMATS)}; there is {dtype!r}")
        for name in {*self.inputs, *self.outputs, *self.gradients}:
            if "." in name and not any(name.partition(".")[2] in self.states(cell) for cell in self.cells):
                raise ValueError(f"{name} is declared, and no cell has such a state")

    def states(self, cell: Cell | CustomCell) -> tuple[str, ...]:
        """The names of all states of a cell."""
        if not isinstance(cell, CustomCell):
            return cell.states
        return tuple(cell.shapes(*(min(self.sizes.get(name, (2,))) for name in "DH"))["states"])

    def at(self, sizes: Mapping[str, Sequence[int]]) -> "Capabilities":
        """The same capabilities, restricted to these sizes. Raises ValueError if one is not supported."""
        for name, chosen in sizes.items():
            declared = self.sizes.get(name, chosen)
            if undeclared := sorted({*chosen} - {*declared}):
                known = ", ".join(map(str, declared))
                raise ValueError(f"{name} = {undeclared[0]} is not among the declared sizes, which are {known}")
        return replace(self, sizes={**self.sizes, **sizes})

    def undeclared(self, case: Case) -> str | None:
        """A feature of a case that is not declared; None if there is none."""
        tokens, truncation = not isinstance(case.x, Mapping) and case.x.ndim == 2, type(case.truncation)
        beyond = {
            f"the cell {case.cell.name}": case.cell.name not in {cell.name for cell in self.cells},
            "tokens" if tokens else "dense inputs": ("tokens" if tokens else "dense") not in self.inputs,
            "initial states": case.initial is not None and not declares(self.inputs, "initial"),
            "a choice of gradients": case.wanted is not None and not self.selects,
            "rows of different lengths": case.lengths is not None and "lengths" not in self.inputs,
            f"{len(case.parameters)} layers": len(case.parameters) > self.layers,
            "resets": case.resets is not None and "resets" not in self.inputs,
            "two directions": len(case.parameters[0]) > 1 and not self.bidirectional,
            f"{truncation.__name__.lower()} truncation": truncation not in (Full, *self.truncations),
        }
        return next((what for what, there in beyond.items() if there), None)

    def lacks(self, other: "Capabilities", cell: Cell | CustomCell) -> str | None:
        """A part of y or of the states of a cell that only the other implementation has; None if there is none."""
        if "last" in self.outputs and "y" in other.outputs:
            return "y of each step"
        for kind, own, its in (("initial", self.inputs, other.inputs), ("final", self.outputs, other.outputs)):
            mine = states_of(own, kind, self.states(cell))
            if missing := [name for name in states_of(its, kind, other.states(cell)) if mine and name not in mine]:
                return f"the {kind} state {missing[0]}"
        return None

    def refusal(self, case: Case) -> str | None:
        """Why the implementation does not take this case; None if it does."""
        for name, size in case.sizes.items():
            if name in self.sizes and size not in self.sizes[name]:
                return f"{name} = {size} is not among the declared sizes"
        return self.refuses(case) if self.refuses else None


@runtime_checkable
class Implementation(Protocol):
    """An adapter: a name, its capabilities, and one or more of the methods of `TwoPhase`, `OneShot`, `ForwardMode`.

    Examples
    --------
    >>> from bpttcheck.adapters.reference import Reference
    >>> isinstance(Reference(), Implementation)
    True
    """

    @property
    def name(self) -> str:
        """The name in reports."""

    def capabilities(self) -> Capabilities:
        """The supported features, the same at every call.

        Returns
        -------
        Capabilities
            The features.
        """


@runtime_checkable
class TwoPhase(Implementation, Protocol):
    """An implementation with a pullback, which may be called later and more than once.

    Examples
    --------
    >>> from bpttcheck.adapters.reference import Reference
    >>> isinstance(Reference(), TwoPhase)
    True
    """

    def vjp(self, case: Case) -> tuple[Outputs, Pullback | None]:
        """Return outputs now, and a pullback for later.

        Parameters
        ----------
        case : Case
            The problem.

        Returns
        -------
        outputs : Outputs
            y and the final states.
        pullback : callable or None
            From `Cotangents` to `Gradients`; None if there is only a forward pass.
        """


@runtime_checkable
class OneShot(Implementation, Protocol):
    """An implementation that owns its loss, such as a training loop.

    Examples
    --------
    >>> from bpttcheck.adapters.reference import Reference
    >>> isinstance(Reference(), OneShot)
    True
    """

    def loss_and_gradients(self, case: Case) -> tuple[Outputs, Gradients]:
        """Return a loss and its gradients together.

        Parameters
        ----------
        case : Case
            The problem; ``case.objective`` is the loss.

        Returns
        -------
        outputs : Outputs
            ``Outputs(None, None, loss)``.
        gradients : Gradients
            ``Gradients.readout`` has the gradients of ``case.objective.readout``, by name.
        """


@runtime_checkable
class ForwardMode(Implementation, Protocol):
    """An implementation that also has a pushforward, from tangents of the inputs to tangents of the outputs.

    Examples
    --------
    >>> from bpttcheck.adapters.reference import Reference
    >>> isinstance(Reference(), ForwardMode)
    True
    """

    def jvp(self, case: Case, tangents: Gradients) -> Outputs:
        """Return the tangents of the outputs.

        Parameters
        ----------
        case : Case
            The problem.
        tangents : Gradients
            Tangents of the inputs, shaped as gradients are.

        Returns
        -------
        Outputs
            Tangents of y and of the final states.
        """


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
