"""Many copies of one problem, one array of each moved: one batched forward pass serves all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from bpttref.arrays import Array
from bpttref.cells import Cell
from bpttref.network import AllParameters, Cotangents, Outputs, States, vjp


@dataclass(frozen=True)
class Problem:
    """The arguments of a gradient: a stack of one direction, its input ``x (T, B, D)``, states, cotangents."""

    cell: Cell
    parameters: AllParameters
    x: Array
    initial: States
    cotangents: Cotangents


def paths(problem: Problem) -> list[tuple[Any, ...]]:
    """A path to each array: ("x",), ("parameters", layer, name), ("initial", layer, name)."""
    found: list[tuple[Any, ...]] = [("x",)]
    for kind, tree in (("parameters", problem.parameters), ("initial", problem.initial)):
        found += [(kind, layer, name) for layer, (leaf,) in enumerate(tree) for name in leaf]
    return found


def array_at(problem: Problem, path: tuple[Any, ...]) -> Array:
    """The array at a path."""
    if path[0] == "x":
        return problem.x
    array: Array = getattr(problem, path[0])[path[1]][0][path[2]]
    return array


Directions: TypeAlias = Mapping[tuple[Any, ...], Array]


def objective_of_moved(problem: Problem, path: tuple[Any, ...], step: complex, along: Directions | None) -> Array:
    """``<cotangents, outputs>`` where the array at ``path`` is moved by ``step``.

    Without ``along`` for each single number, in the array's shape; else for each of K directions ``(K, size)``
    from ``along`` by path, ``(K,)``.
    """
    array = array_at(problem, path)
    directions = np.eye(array.size) if along is None else along[path]
    moved = (array.reshape(1, -1) + step * directions).reshape(-1, *array.shape)

    def replicated(value: Array) -> Array:
        return np.broadcast_to(value, (len(moved), *value.shape)).astype(moved.dtype)

    def tree(kind: str, layers: tuple[tuple[Mapping[str, Array], ...], ...]) -> Any:
        return tuple(
            ({name: moved if (kind, layer, name) == path else replicated(value) for name, value in leaf.items()},)
            for layer, (leaf,) in enumerate(layers)
        )

    x = moved if path == ("x",) else replicated(problem.x)
    parameters, initial = tree("parameters", problem.parameters), tree("initial", problem.initial)
    outputs, _ = vjp(problem.cell, parameters, np.moveaxis(x, 0, 1), initial)
    return _inner(problem.cotangents, outputs).reshape(array.shape if along is None else -1)


def _inner(cotangents: Cotangents, outputs: Outputs) -> Array:
    """``<cotangents, outputs>`` per replicate."""
    assert outputs.y is not None and outputs.final is not None
    total: Array = np.zeros(outputs.y.shape[1], outputs.y.dtype)
    if cotangents.y is not None:
        total = total + np.einsum("trbh,tbh->r", outputs.y, cotangents.y)
    for (given,), (state,) in zip(cotangents.final or (), outputs.final, strict=False):
        for name, cotangent in given.items():
            total = total + np.einsum("rbh,bh->r", state[name], cotangent)
    return total
