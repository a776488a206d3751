"""What a user brings to a verdict, in place of what is drawn and known here."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bpttcheck.cases.case_file import CaseFile
from bpttcheck.contract import Implementation


@dataclass(frozen=True)
class Own:
    """What a user brings: sizes of their own, a case of their own, an implementation that is right."""

    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    case: CaseFile | None = None
    against: Implementation | None = None

    def __str__(self) -> str:
        """As it goes on after "40 examples"; empty if there is nothing."""
        said = [f", {name}={','.join(map(str, sizes))}" for name, sizes in self.sizes.items()]
        said += [f", case {self.case.path}"] if self.case else []
        return "".join(said) + (f", against {self.against.name}" if self.against else "")


NOTHING = Own()
