"""The record of a training loop: forward calls of recurrent modules, and the steps that each call of backward
reaches.

Steps of a module count from 0, in the order in which its forward calls compute them. Rows are calls of backward,
columns are steps, and an entry is the norm of the gradient that arrives at the input of the step.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from bpttref.arrays import Array


class Kind(StrEnum):
    """The kind of a given state, compared with the states that watched modules returned before."""

    UNSEEN = "unseen"  # the module is not known to take one
    ABSENT = "absent"  # none was given
    ZERO = "zero"
    CARRIED = "carried"  # the values that were returned, with their graph
    DETACHED = "detached"  # the values that were returned, without a graph
    REPLACED = "replaced"  # other values, without a graph
    COMPUTED = "computed"  # other values, with a graph


class State(NamedTuple):
    """A state as a forward call was given it.

    kinds: of each of its parts, h and c of an LSTM. source: the module that returned it, if one did. without_gradient:
    whether that call ran without gradients. new_rows, moved_rows: numbers of rows that start from zeros, and that were
    other rows before, in a state whose other rows were returned by a module.
    """

    kinds: tuple[Kind, ...]
    source: str = ""
    without_gradient: bool = False
    new_rows: int = 0
    moved_rows: int = 0


UNSEEN = State((Kind.UNSEEN,))
ABSENT = State((Kind.ABSENT,))


@dataclass(slots=True, eq=False)
class ForwardCall:
    """first: its first step. steps: how many it has. state: the one that it was given. axis: of time in its input; None
    where the call is one step, or the input is a packed sequence. rows: of a packed sequence, at each step."""

    first: int
    steps: int
    state: State = UNSEEN
    axis: int | None = None
    rows: tuple[int, ...] = ()


@dataclass
class Trace:
    """The forward calls of one module that compute a graph. kind: its class. parts: names of the parts of its state.
    least: the smallest normal number of its input's dtype. steps: how many there are by now."""

    name: str
    kind: str
    parts: tuple[str, ...] = ("state",)
    least: float = 0.0
    calls: list[ForwardCall] = field(default_factory=list)
    steps: int = 0

    @property
    def title(self) -> str:
        """The name, and the class where the two differ."""
        return self.name if self.name == self.kind else f"{self.name} ({self.kind})"

    @property
    def sees_state(self) -> bool:
        """Whether states are seen in each call."""
        return all(call.state != UNSEEN for call in self.calls)


class Reached(NamedTuple):
    """The steps of a module that a call of backward reaches, in ascending order, and the norm of the gradient at each:
    NaN where the step is reached and no finite norm was measured."""

    steps: Array
    norms: Array


class Probed(NamedTuple):
    """The gradient of one output. module: its name. step, row: of the output; row is None for all rows of a packed
    sequence. steps: of the inputs; norms: ``(steps, rows)``, of their gradients."""

    module: str
    step: int
    row: int | None
    steps: Array
    norms: Array


@dataclass
class Backward:
    """A call of backward. made: how many steps each module had computed when it began. reached: by module."""

    made: dict[str, int]
    reached: dict[str, Reached] = field(default_factory=dict)


@dataclass
class Record:
    """All observations. left_out: how many forward calls were no steps, by reason. made_to_need: the modules whose
    input needed no gradient. limit: after how many calls of backward it ends; None if it does not. failed: the call
    that ended with an error, counted from 1. probed: gradients of single outputs. unprobed: modules that ran compiled,
    and gave none. starts: flags ``(steps, rows)`` where sequences begin, as the caller knows them."""

    traces: list[Trace] = field(default_factory=list)
    backwards: list[Backward] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    made_to_need: set[str] = field(default_factory=set)
    limit: int | None = None
    failed: int | None = None
    probed: list[Probed] = field(default_factory=list)
    unprobed: set[str] = field(default_factory=set)
    starts: Array | None = None
