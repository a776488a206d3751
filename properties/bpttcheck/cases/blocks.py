"""Named arrays, and the blocks in which errors are compared.

What has vanished is invisible beside what has not. So errors are never compared over a packed array, but per block:
each gate's rows of a parameter, each time step of a sequence, each state.
"""

from collections.abc import Iterator
from typing import TypeAlias

from bpttcheck.contract import Case, Cotangents, CustomCell, Gradients, Outputs
from bpttref.arrays import Array
from bpttref.inputs import is_tokens
from bpttref.network import AllParameters, States

Named: TypeAlias = dict[str, Array]


def named(result: Outputs | Cotangents | Gradients) -> Named:
    """The arrays of a result by name: "y", "x", "W_hh", "initial.h", "layer1.reverse.W_hx", "W_qh", .."""
    if isinstance(result, Gradients):
        arrays = {} if result.x is None else {"x": result.x}
        arrays |= _leaves(result.parameters, "") | _leaves(result.initial, "initial.")
        return arrays | dict(result.readout or {})
    arrays = {} if result.y is None else {"y": result.y}
    return arrays | _leaves(result.final, "final.")


def case_arrays(case: Case) -> Named:
    """The arrays that a case is differentiated by, named like their gradients."""
    x = None if is_tokens(case.x) else case.x
    return named(Gradients(x, case.parameters, case.initial, case.objective.readout if case.objective else None))


def place(layer: int, direction: int) -> str:
    """What names of arrays begin with: "layer1.reverse."; nothing for the first direction of the first layer."""
    return f"layer{layer}." * (layer > 0) + "reverse." * direction


def _leaves(tree: AllParameters | States | None, prefix: str) -> Named:
    return {
        place(layer, direction) + prefix + name: array
        for layer, directions in enumerate(tree or ())
        for direction, mapping in enumerate(directions)
        for name, array in mapping.items()
    }


def blocks(case: Case, name: str, array: Array) -> Iterator[tuple[str, Array]]:
    """The blocks of an array, each with a name for people, as views."""
    if name in ("x", "y") and array.ndim:
        for t, step in enumerate(array):
            yield f"{name}[t={t}]", step
    elif name.rsplit(".", 1)[-1] in ("W_hx", "W_hh", "b_hx", "b_hh") and not isinstance(case.cell, CustomCell):
        H = len(array) // len(case.cell.gates)
        for k, gate in enumerate(case.cell.gates):
            yield f"{name}[gate {gate}]" if len(case.cell.gates) > 1 else name, array[k * H : (k + 1) * H]
    else:
        yield name, array
