"""A user's own sizes, case and implementation for a verdict, in place of drawn ones and of the reference."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bpttcheck.cases.case_file import CaseFile
from bpttcheck.contract import Implementation


@dataclass(frozen=True)
class Own:
    """A user's own sizes, a case, and a correct implementation."""

    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    case: CaseFile | None = None
    against: Implementation | None = None

    def __str__(self) -> str:
        """The continuation of "40 examples"; empty if there is none."""
        said = [f", {name}={','.join(map(str, sizes))}" for name, sizes in self.sizes.items()]
        said += [f", case {self.case.path}"] if self.case else []
        return "".join(said) + (f", against {self.against.name}" if self.against else "")


NOTHING = Own()
