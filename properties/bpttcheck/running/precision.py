"""How precise operations are when results have 16 bits: bpttcheck finds it out where it is not declared."""

from dataclasses import replace

from bpttcheck.contract import Capabilities, CustomCell
from bpttcheck.dtypes import WITHIN
from bpttref import Cell


def precisions(capabilities: Capabilities, cell: Cell | CustomCell, dtype: str) -> list[Capabilities]:
    """The capabilities to test a cell and dtype with, in turn until all laws pass. The last are as declared.

    A coarser format has larger tolerances, so that code that passes with a finer one is tested better. The tolerance of
    a custom cell comes from its own numbers, and so from the format of its operations.
    """
    finer = [] if dtype in capabilities.inside or isinstance(cell, CustomCell) else ["float32", "mixed"]
    found = [inside for inside in finer if (dtype, inside) in WITHIN]
    return [*(replace(capabilities, inside={**capabilities.inside, dtype: one}) for one in found), capabilities]
