"""The cell that an example of a user's arrays stands for: of fixed D and H, in any number of steps and rows."""

from collections.abc import Collection, Mapping
from math import prod
from typing import Any

import numpy as np

from bpttcheck.adapters.own_arrays.arguments import Arguments, Arrays
from bpttcheck.adapters.own_arrays.layout import Layout
from bpttcheck.adapters.own_arrays.names import allowed
from bpttcheck.contract import CustomCell
from bpttcheck.custom_cell import Domain
from bpttref.arrays import Array


def cell_of(
    name: str,
    arguments: Arguments,
    example: Arrays,
    y: Layout | None,
    domains: Mapping[str, Domain],
    **said: Any,
) -> CustomCell:
    """The cell of an example. said: further fields of the `CustomCell`. Raises ValueError where one of them, or a
    domain, is of an array that is not in the example.
    """
    parameters = {allowed(n): array.shape for n, array in example.p.items()}
    states = {allowed(n): array.shape[1:] for n, array in example.state.items()}
    width = 1 if y is None else prod(y.shape)
    shapes = {allowed(n): array.shape[2:] for n, array in example.x.items()}
    found = {allowed(n): _domain(array) for part in (example.p, example.x, example.state) for n, array in part.items()}
    told = {n if n == "x" and one_input(arguments, example) else allowed(n): domain for n, domain in domains.items()}
    cell = CustomCell(
        name,
        parameters=lambda D, H: parameters,
        states=lambda D, H: states,
        width=lambda H: width,
        streams=None if one_input(arguments, example) else lambda D, H: shapes,
        domains={n: domain for n, domain in found.items() if domain is not None} | told,
        **said,
    )
    cell.shapes(1, 1)  # raises where a name makes no sense
    return cell


def one_input(arguments: Arguments, example: Arrays) -> bool:
    """Whether x is one array of real numbers, which needs no name; tokens and several inputs are streams."""
    return not arguments.x or (arguments.single and example.x["x"].dtype.kind == "f")


def sizes_of(arguments: Arguments, example: Arrays, y: Layout | None) -> dict[str, Collection[int]]:
    """The sizes that do not vary."""
    fixed: dict[str, Collection[int]] = {"D": (1,), "H": (1 if y is None else max(1, prod(y.shape)),)}
    if not arguments.x:
        return fixed | {"T": (1,), "B": (1,)}
    fixed["D"] = (max(1, sum(prod(layout.shape) for layout in arguments.x.values())),)
    by_rows = any(layout.rows is not None for layout in arguments.x.values())
    return fixed if by_rows else fixed | {"B": (1,)}


def _domain(array: Array) -> Domain | None:
    """Where the numbers of an array lie, as its type says; whole numbers are not larger than in the example."""
    kinds: dict[str, Any] = {"b": bool, "c": complex}
    if np.issubdtype(array.dtype, np.integer):
        return range(int(array.max(initial=0)) + 1)
    return kinds.get(array.dtype.kind)
