"""The question of a run, and its shares: each cell and dtype of a target is tested on its own."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from bpttcheck.cases.case_file import CaseFile
from bpttcheck.cases.drawing import USUALLY
from bpttcheck.laws import LAWS
from bpttcheck.running.known_failures import KnownFailure
from bpttcheck.running.own import Own
from bpttcheck.running.time_limit import OF_A_CALL
from bpttcheck.targets import load


@dataclass(frozen=True)
class Question:
    """The question of a run: it is the same for every target.

    laws: their ids. cells, dtypes: the only ones, where any are named. examples: cases for a cell and dtype; None: as
    many as the budget allows. budget: seconds for drawing the cases of all shares together, for making failures small
    and for diagnoses. timeout: seconds that a call of a target in a process of its own may take. known: failures that
    are expected. sizes, case, against: the user's own, see `Own`; the last is a target.
    """

    laws: tuple[str, ...] = tuple(law.id for law in LAWS)
    cells: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    examples: int | None = USUALLY
    budget: float = math.inf
    timeout: float = OF_A_CALL
    seed: int = 0
    known: tuple[KnownFailure, ...] = ()
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    case: CaseFile | None = None
    against: str = ""

    @property
    def cases(self) -> str:
        """How many there are."""
        if self.examples is None:
            return f"as many examples per cell and dtype as {self.budget:g} seconds allow"
        return f"{self.examples} examples per cell and dtype"

    def own(self) -> Own:
        """The user's own sizes, case and implementation. Raises TargetError."""
        return Own(self.sizes, self.case, load(self.against) if self.against else None)


class Share(NamedTuple):
    """The part of a target that is tested at a time."""

    target: str
    cell: str
    dtype: str
