"""Named arrays, and the blocks in which errors are compared.

A vanished number is invisible next to large ones. So errors are never compared over a packed array, but per block:
each gate's rows of a parameter, each time step of a sequence, each state.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np

from bpttcheck.contract import Case, Cotangents, CustomCell, Gradients, Outputs
from bpttref.arrays import Array
from bpttref.network import AllParameters, States

Named: TypeAlias = dict[str, Array]


def named(result: Outputs | Cotangents | Gradients) -> Named:
    """The arrays of a result by name: "y", "x" or, of streams, "x.q", "W_hh", "initial.h", "layer1.reverse.W_hx",
    ..."""
    if isinstance(result, Gradients):
        arrays = streams(result.x)
        arrays |= _leaves(result.parameters, "") | _leaves(result.initial, "initial.")
        return arrays | dict(result.readout or {})
    arrays = {} if result.y is None else {"y": result.y}
    return arrays | _leaves(result.final, "final.")


def case_arrays(case: Case) -> Named:
    """The arrays of a case that have gradients, with the names of these."""
    x = {name: array for name, array in streams(case.x).items() if array.dtype.kind == "f"}
    return x | named(Gradients(None, case.parameters, case.initial, case.objective.readout if case.objective else None))


def streams(x: Any) -> Named:
    """The input of each step, or its gradients, by name: "x", or "x.q" of several streams; nothing for None."""
    if isinstance(x, Mapping):
        return {f"x.{name}": array for name, array in x.items() if array is not None}
    return {} if x is None else {"x": x}


def digest(x: Any) -> int:
    """A number that identifies these inputs."""
    found = 0
    for array in streams(x).values():
        found = crc32(array.tobytes(), found)
    return found


def nested(x: Named) -> Any:
    """The inputs that `streams` named, in the form that a case has."""
    return x["x"] if "x" in x else {name.removeprefix("x."): array for name, array in x.items()}


def together(arrays: Named) -> Array:
    """The gradients of all streams as one array ``(T, B, D)``. Raises KeyError if there is none."""
    found = [array.reshape(*array.shape[:2], -1) for name, array in arrays.items() if name != "y" and has_steps(name)]
    if not found:
        raise KeyError("x")
    return np.concatenate(found, axis=2)


def array_of(block: str) -> str:
    """The array of a block, or one gate of it, whatever its layer, direction or step: "x", "W_hh[gate f]"."""
    return re.sub(r"^(layer\d+\.)?(reverse\.)?|\[t=.*", "", block)


def has_steps(name: str) -> bool:
    """Whether an array has steps along its first axis and rows along its second."""
    return name in ("x", "y") or name.startswith("x.")


def has_rows(name: str) -> bool:
    """Whether an array is a sequence, or a state, which has rows along its first axis."""
    return has_steps(name) or "initial." in name or "final." in name


@cache
def place(layer: int, direction: int) -> str:
    """The beginning of the names of arrays: "layer1.reverse."; empty for the first direction of the first layer."""
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
    if has_steps(name) and array.ndim:
        for t, step in enumerate(array):
            yield f"{name}[t={t}]", step
    elif name.rsplit(".", 1)[-1] in ("W_hx", "W_hh", "b_hx", "b_hh") and not isinstance(case.cell, CustomCell):
        H = len(array) // len(case.cell.gates)
        for k, gate in enumerate(case.cell.gates):
            yield f"{name}[gate {gate}]" if len(case.cell.gates) > 1 else name, array[k * H : (k + 1) * H]
    else:
        yield name, array
