"""A law: data, and a predicate that yields comparisons."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bpttcheck.contract import (
    Capabilities,
    CustomCell,
    ForwardMode,
    Implementation,
    OneShot,
    TwoPhase,
    declares,
    states_of,
)
from bpttcheck.custom_cell import Shapes, whole
from bpttcheck.dtypes import FORMATS
from bpttcheck.measuring.calls import capabilities_of
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.trial import Trial, has_own_float64
from bpttref import Cell, Full, Strategy

_DOORS: Mapping[type, str] = {
    TwoPhase: "the implementation has no vjp",
    OneShot: "the implementation has no loss_and_gradients",
    ForwardMode: "the implementation has no jvp",
}


# Reasons to keep a law although others catch the same faults.
NO_REFERENCE = "it needs no reference, so it also checks cells that bpttcheck does not know"
RIGHT_NUMBERS = "where it fails, the correct numbers are known"
SAYS_PLAINLY = "where it fails, its message names the cause that other laws show as odd numbers"


class Asked(NamedTuple):
    """The tested implementation, its cell and dtype. drawing: the capabilities for which cases are drawn, perhaps of
    fewer sizes. against: the implementation whose numbers are correct, if it is not the reference."""

    subject: Implementation
    capabilities: Capabilities
    cell: Cell | CustomCell
    dtype: str
    drawing: Capabilities
    against: Implementation | None = None

    @property
    def place(self) -> tuple[Cell | CustomCell, str, Capabilities]:
        """The cell, dtype and capabilities for which cases are made."""
        return self.cell, self.dtype, self.drawing


@dataclass(frozen=True)
class Need:
    """A requirement of a law, and the sentence about an implementation that does not meet it."""

    met: Callable[[Asked], object]
    lack: str


@dataclass(frozen=True)
class Law:
    """A property that every correct implementation has.

    Parameters
    ----------
    id : str
        It never changes.
    statement : str
        One sentence.
    equation, source : str
        The statement in symbols, and where it comes from.
    check : callable
        Yields a ``Comparison`` for each block of a case; none if the case proves nothing. Raises ``Violation`` if the
        law is broken in a way that has no size.
    needs : tuple of Need
        Without them the law is skipped.
    smallest : mapping of str to int
        The sizes below which it proves nothing.
    door : type
        The protocol that an implementation needs.
    decisive : bool
        Whether other laws leave out the cases on which it fails.
    every_case : bool
        Whether it runs on each case; other laws of a family alternate.
    in_chaos : bool
        Whether it also runs on cases that rounding does not determine.
    cost : int
        How often another law runs for each time that this one does.
    direct : bool
        Whether it compares the numbers of a single call, so that a failure can be shown without the law.
    voluntary : bool
        Whether an implementation may refuse the call by raising; the law is then skipped.
    over_cases : callable or None
        Turns the comparisons of all cases of a dtype into those that count; a single case then proves nothing.
    of_own_forward : bool
        Whether it compares gradients with derivatives of the forward pass, without the gradients that may differ.
    kept : str
        Why it is there, if other laws catch the same faults. ``bpttcheck.faults`` says which faults each law catches.
    family : str
        The file that holds it.

    Examples
    --------
    >>> from bpttcheck import LAWS
    >>> next(law for law in LAWS if law.id == "causality").equation
    'd y_t / d x_s = 0 for s > t'
    """

    id: str
    statement: str
    equation: str
    source: str
    check: Callable[[Trial], Iterable[Comparison]]
    needs: tuple[Need, ...] = ()
    smallest: Mapping[str, int] = field(default_factory=dict)
    door: type = TwoPhase
    decisive: bool = False
    every_case: bool = False
    in_chaos: bool = False
    cost: int = 1
    direct: bool = False
    voluntary: bool = False
    over_cases: Callable[[Sequence[Sequence[Comparison]], str], Iterable[Comparison]] | None = None
    of_own_forward: bool = False
    kept: str = ""
    family: str = ""

    def unmet(self, asked: Asked) -> str | None:
        """Why the law cannot run on the implementation; None if it can."""
        if not isinstance(asked.subject, self.door):
            return _DOORS[self.door]
        if self.door is OneShot and not asked.capabilities.objectives:
            return "the implementation supports no objective"
        if self.door is Implementation and not (
            isinstance(asked.subject, TwoPhase)
            or (isinstance(asked.subject, OneShot) and asked.capabilities.objectives)
        ):
            return "the implementation has no vjp, and no loss_and_gradients that supports an objective"
        if self.of_own_forward and isinstance(asked.cell, CustomCell) and not _followed(asked.cell, asked.drawing):
            return "you declared that all gradients differ from the derivatives of the forward pass"
        for name, least in self.smallest.items():
            if max(asked.capabilities.sizes.get(name, (least,))) < least:
                return f"the implementation supports no case with {name} = {least} or more"
        return next((need.lack for need in self.needs if not need.met(asked)), None)

    def left_out(self, cell: Cell | CustomCell) -> tuple[str, ...]:
        """The streams, parameters and states of a cell that it does not look at."""
        return tuple(cell.surrogate) if self.of_own_forward and isinstance(cell, CustomCell) else ()


def _followed(cell: CustomCell, capabilities: Capabilities) -> set[str]:
    """The arrays whose gradients are the derivatives of the forward pass."""
    shapes = of_own(cell, capabilities)
    kinds = {"parameters": "parameters", "states": "initial", "streams": "x"}
    names = {n for kind, part in shapes.items() for n in states_of(capabilities.gradients, kinds[kind], part)}
    names |= {"x"} if cell.streams is None and "x" in capabilities.gradients else set()
    return {n for n in names if not whole(cell.domain(n))} - {*cell.surrogate, *cell.without_cotangent}


def of_own(cell: CustomCell, capabilities: Capabilities) -> dict[str, Shapes]:
    """The shapes of an unknown cell at small sizes."""
    D, H = (min(capabilities.sizes.get(name, (2,))) for name in "DH")
    return cell.shapes(D, H)


def outputs(name: str) -> Need:
    lack = f"the implementation does not return {name}{' for each step' if name == 'y' else ''}"
    return Need(lambda asked: name in asked.capabilities.outputs, lack)


some_output = Need(
    lambda asked: {"y", "last"} & {*asked.capabilities.outputs},
    "the implementation returns neither y nor the output of the last step",
)
each_output = Need(
    lambda asked: "last" not in asked.capabilities.outputs,
    "the implementation returns only the output of the last step",
)


def truncation(strategy: type[Strategy]) -> Need:
    lack = f"the implementation does not support {strategy.__name__.lower()} truncation"
    return Need(lambda asked: strategy in asked.capabilities.truncations, lack)


def right_numbers(strategy: type[Strategy] = Full) -> Need:
    """The reference knows the cell, or there is another implementation to test it against."""

    def there_are(asked: Asked) -> bool:
        if asked.against is None and isinstance(asked.cell, CustomCell):
            own = has_own_float64(asked.cell, asked.dtype, asked.capabilities)
            return own and strategy in (Full, *asked.capabilities.truncations)
        if asked.against is None:
            return True
        return strategy in (Full, *capabilities_of(asked.against).truncations)

    return Need(
        there_are,
        "no correct numbers are known: the cell is not the reference's, has no float64, and --against is not used",
    )


known_cell = Need(lambda asked: not isinstance(asked.cell, CustomCell), "the reference does not have the cell")
smooth_cell = Need(
    lambda asked: asked.cell.smooth if isinstance(asked.cell, CustomCell) else asked.cell.name != "rnn-relu",
    "the cell is not known to be smooth",
)
saturating_cell = Need(
    lambda asked: (
        asked.cell.saturates
        if isinstance(asked.cell, CustomCell)
        else asked.cell.name not in ("rnn-relu", "rnn-identity")
    ),
    "the cell is not known to saturate",
)
affine_cell = Need(
    lambda asked: isinstance(asked.cell, CustomCell) and asked.cell.affine,
    "you did not declare that the cell is affine in a state",
)
float64 = Need(lambda asked: asked.dtype == "float64", "only float64 shows it: rounding hides it in other dtypes")
coarse_format = Need(
    lambda asked: FORMATS[asked.dtype].eps > 1e-5, "only 16 bits need it: single cases show it in finer formats"
)
fine_format = Need(lambda asked: FORMATS[asked.dtype].eps < 1e-5, "rounding hides differences in 16 bits")
wide_range = Need(lambda asked: FORMATS[asked.dtype].most > 1e30, "the numbers are beyond the range of the format")
gradients = Need(lambda asked: asked.capabilities.gradients, "the implementation supports no gradients")
reusable = Need(lambda asked: asked.capabilities.reusable, "a pullback can be used only once")
initial_states = Need(
    lambda asked: declares(asked.capabilities.inputs, "initial"), "the implementation takes no initial states"
)
initial_states_left_out = Need(
    lambda asked: declares(asked.capabilities.inputs, "initial") and asked.capabilities.default_initial != "none",
    "the implementation takes no initial states, or needs them in every call",
)
several_chunks = Need(
    lambda asked: len({*asked.capabilities.chunks}) > 1, "the implementation does not support chunks of several sizes"
)
selects = Need(lambda asked: asked.capabilities.selects, "the implementation ignores which gradients are wanted")


def _all_states(asked: Asked, declared: Collection[str]) -> bool:
    """Whether all states of a cell are among the declared initial states, and among the final states that the
    implementation returns."""
    states, final = asked.drawing.states(asked.cell), asked.capabilities.outputs
    both = states_of(declared, "initial", states) == states_of(final, "final", states) == states
    return both and declares(declared, "initial") and declares(final, "final")


carried_states = Need(
    lambda asked: _all_states(asked, asked.capabilities.inputs),
    "the implementation does not take and return all states",
)
carried_cotangents = Need(
    lambda asked: _all_states(asked, asked.capabilities.gradients),
    "the implementation does not return gradients of all initial states and take cotangents of all final states",
)
loss_weights = Need(
    lambda asked: asked.capabilities.loss_weights, "the implementation takes no weight for the loss of each step"
)
parameters = Need(
    lambda asked: not isinstance(asked.cell, CustomCell) or of_own(asked.cell, asked.drawing)["parameters"],
    "the cell has no parameters",
)
truncations = Need(lambda asked: asked.capabilities.truncations, "the implementation supports no truncation")
clips = Need(lambda asked: asked.capabilities.clips, "you declared no clipping in the backward loop")
lengths = Need(
    lambda asked: "lengths" in asked.capabilities.inputs,
    "the implementation does not support rows of different lengths",
)
resets = Need(lambda asked: "resets" in asked.capabilities.inputs, "the implementation does not support resets")
two_directions = Need(
    lambda asked: asked.capabilities.bidirectional, "the implementation does not support two directions"
)
empty = Need(lambda asked: asked.capabilities.empty, "the implementation does not support sequences without steps")
streams = Need(
    lambda asked: asked.capabilities.streams, "you did not declare that memory does not grow with the length (streams)"
)
