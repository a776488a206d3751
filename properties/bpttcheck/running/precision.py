"""How precise operations are, where results have 16 bits: what is not declared is found out."""

from dataclasses import replace

from bpttcheck.contract import Capabilities, CustomCell
from bpttcheck.dtypes import WITHIN
from bpttref import Cell


def precisions(capabilities: Capabilities, cell: Cell | CustomCell, dtype: str) -> list[Capabilities]:
    """With what a cell and dtype is judged, until all laws pass: with float32 inside 16 bits, then as is declared.

    The tolerance of a cell of one's own comes from its own numbers, whatever its operations are in.
    """
    as_declared = [capabilities]
    if (dtype, "float32") not in WITHIN or dtype in capabilities.inside or isinstance(cell, CustomCell):
        return as_declared
    return [replace(capabilities, inside={**capabilities.inside, dtype: "float32"}), *as_declared]
