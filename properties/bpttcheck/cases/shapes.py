"""The shapes of what a cell has: its parameters, its states, and its outputs."""

from bpttcheck.contract import CustomCell, Shapes
from bpttref import Cell


def parameter_shapes(cell: Cell | CustomCell, D: int, H: int, biases: int) -> Shapes:
    """Of each parameter of one direction of a layer with inputs of width ``D``. Raises ValueError."""
    if isinstance(cell, CustomCell):
        return _well_named(cell.parameters(D, H))
    rows = len(cell.gates) * H
    shapes: dict[str, tuple[int, ...]] = {"W_hx": (rows, D), "W_hh": (rows, H)}
    return shapes | {name: (rows,) for name in ("b_hx", "b_hh")[:biases]}


def state_shapes(cell: Cell | CustomCell, H: int) -> Shapes:
    """Of each state of one row."""
    return _well_named(cell.states(H)) if isinstance(cell, CustomCell) else {name: (H,) for name in cell.states}


def output_width(cell: Cell | CustomCell, H: int) -> int:
    """How many features y has in one direction."""
    return cell.width(H) if isinstance(cell, CustomCell) else H


def _well_named(shapes: Shapes) -> Shapes:
    """The shapes. Raises ValueError if a name could be that of another array of `bpttcheck.cases.blocks.named`."""
    for name in shapes:
        if "." in name or name in ("x", "y", "loss", "W_qh", "b_q"):
            raise ValueError(
                f"a parameter or state must not be called {name!r}: no dots, and not x, y, loss, W_qh, b_q"
            )
    return shapes
