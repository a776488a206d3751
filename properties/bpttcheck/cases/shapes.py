"""The shapes of a cell's parameters, states, inputs and outputs."""

from bpttcheck.contract import CustomCell
from bpttcheck.custom_cell import Shapes
from bpttref import Cell


def parameter_shapes(cell: Cell | CustomCell, D: int, H: int, biases: int) -> Shapes:
    """Of each parameter of one direction of a layer with inputs of width ``D``. Raises ValueError."""
    if isinstance(cell, CustomCell):
        return cell.shapes(D, H)["parameters"]
    rows = len(cell.gates) * H
    shapes: dict[str, tuple[int, ...]] = {"W_hx": (rows, D), "W_hh": (rows, H)}
    return shapes | {name: (rows,) for name in ("b_hx", "b_hh")[:biases]}


def state_shapes(cell: Cell | CustomCell, D: int, H: int) -> Shapes:
    """Of each state of one row. Raises ValueError."""
    return cell.shapes(D, H)["states"] if isinstance(cell, CustomCell) else {name: (H,) for name in cell.states}


def stream_shapes(cell: Cell | CustomCell, D: int, H: int) -> Shapes:
    """Of the inputs of each step of one row: "x", or the streams by name. Raises ValueError."""
    return (cell.shapes(D, H)["streams"] if isinstance(cell, CustomCell) else {}) or {"x": (D,)}


def output_width(cell: Cell | CustomCell, D: int, H: int) -> int:
    """How many features y has in one direction."""
    return cell.outputs(D, H) if isinstance(cell, CustomCell) else H
