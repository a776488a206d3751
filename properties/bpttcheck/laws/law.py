"""What a law is: data, and a predicate that yields comparisons."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from bpttcheck.contract import Capabilities, CustomCell, ForwardMode, Implementation, OneShot, TwoPhase
from bpttcheck.trial import Comparison, Trial
from bpttref import Cell, Strategy

Need: TypeAlias = Callable[[Implementation, Capabilities, Cell | CustomCell], str | None]
_DOORS: Mapping[type, str] = {
    TwoPhase: "the subject offers no vjp",
    OneShot: "the subject offers no loss_and_gradients",
    ForwardMode: "the subject offers no jvp",
}


@dataclass(frozen=True)
class Law:
    """A property that every correct implementation has.

    id: never changes. statement: one sentence. equation, source: what it says in symbols, and where that comes from.
    check: yields a `Comparison` per block looked at; none at all means that the case proved nothing. Raises
    `Violation` where it is broken in a way that has no size. needs: each answers None, or why it is not met.
    smallest: the sizes below which it proves nothing. door: the protocol that a subject must have.
    decisive: no other law is put to a case on which it fails. `bpttcheck.faults` says which planted faults it catches.
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

    def unmet(self, subject: Implementation, capabilities: Capabilities, cell: Cell | CustomCell) -> str | None:
        """Why the law cannot be put to the subject; None if it can."""
        if not isinstance(subject, self.door):
            return _DOORS[self.door]
        if self.door is OneShot and not capabilities.objectives:
            return "no objective is declared"
        return next((reason for need in self.needs if (reason := need(subject, capabilities, cell))), None)


def known_cell(subject: Implementation, capabilities: Capabilities, cell: Cell | CustomCell) -> str | None:
    return "the cell is not one of the reference's" if isinstance(cell, CustomCell) else None


def gradients(subject: Implementation, capabilities: Capabilities, cell: Cell | CustomCell) -> str | None:
    return None if capabilities.gradients else "the subject is declared forward-only"


def reusable(subject: Implementation, capabilities: Capabilities, cell: Cell | CustomCell) -> str | None:
    return None if capabilities.reusable else "a pullback is declared to be usable once"


def carried_states(subject: Implementation, capabilities: Capabilities, cell: Cell | CustomCell) -> str | None:
    if "initial" in capabilities.inputs and "final" in capabilities.outputs:
        return None
    return "the subject does not take initial and return final states"


def carried_cotangents(subject: Implementation, capabilities: Capabilities, cell: Cell | CustomCell) -> str | None:
    if "initial" in capabilities.gradients and "final" in capabilities.outputs:
        return None
    return "the subject does not return gradients of initial states and take cotangents of final ones"


def outputs(name: str) -> Need:
    def need(subject: Implementation, capabilities: Capabilities, cell: Cell | CustomCell) -> str | None:
        return None if name in capabilities.outputs else f"the output {name} is not declared"

    return need


def loss_weights(subject: Implementation, capabilities: Capabilities, cell: Cell | CustomCell) -> str | None:
    return None if capabilities.loss_weights else "the subject does not take a weight for the loss of each step"


def truncation(strategy: type[Strategy]) -> Need:
    def need(subject: Implementation, capabilities: Capabilities, cell: Cell | CustomCell) -> str | None:
        if strategy in capabilities.truncations:
            return None
        return f"{strategy.__name__.lower()} truncation is not declared"

    return need


def truncations(subject: Implementation, capabilities: Capabilities, cell: Cell | CustomCell) -> str | None:
    return None if capabilities.truncations else "no truncation is declared"


def lengths(subject: Implementation, capabilities: Capabilities, cell: Cell | CustomCell) -> str | None:
    return None if "lengths" in capabilities.inputs else "rows of different lengths are not declared"


def two_directions(subject: Implementation, capabilities: Capabilities, cell: Cell | CustomCell) -> str | None:
    return None if capabilities.bidirectional else "two directions are not declared"


def empty(subject: Implementation, capabilities: Capabilities, cell: Cell | CustomCell) -> str | None:
    return None if capabilities.empty else "sequences without steps are not declared"


def streams(subject: Implementation, capabilities: Capabilities, cell: Cell | CustomCell) -> str | None:
    return None if capabilities.streams else "memory that follows the segments is not declared"


def gates(subject: Implementation, capabilities: Capabilities, cell: Cell | CustomCell) -> str | None:
    if isinstance(cell, CustomCell) or cell.name in ("rnn-relu", "rnn-identity"):
        return "the cell is not known to saturate"
    return None
