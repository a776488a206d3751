"""The built-in NumPy reference as a subject: needs no library, and shows what an adapter looks like."""

from bpttcheck.contract import Capabilities, Case, CustomCell, Outputs, Pullback
from bpttref import CELLS, Blocks, Last, Links, Random, Regular, Window, vjp


class Reference:
    """`bpttref` in the dtype of the case. What it is compared with ran in float64."""

    name = "reference"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            cells=CELLS,
            layers=2,
            bidirectional=True,
            lengths=True,
            truncations=(Regular, Random, Links, Window, Blocks, Last),
        )

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        assert not isinstance(case.cell, CustomCell)
        return vjp(case.cell, case.parameters, case.x, case.initial, lengths=case.lengths, strategy=case.truncation)
