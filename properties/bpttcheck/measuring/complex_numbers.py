"""Complex arrays of an unknown cell: pairs of numbers here, complex ones for the implementation, in the same memory."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from bpttcheck.contract import Case, Cotangents, CustomCell, Gradients, Outputs
from bpttref.arrays import Array

_Tree = TypeVar("_Tree", Outputs, Gradients, Cotangents)


def has_complex(case: Case) -> bool:
    """Whether an array of the case's cell is complex."""
    return isinstance(case.cell, CustomCell) and complex in case.cell.domains.values()


def case_given(case: Case) -> Case:
    """The case as the implementation gets it."""
    return _each_of_case(case, _joined) if has_complex(case) else case


def case_in_pairs(case: Case) -> Case:
    """The case with pairs of numbers, from the case that the implementation got."""
    return _each_of_case(case, _parted) if has_complex(case) else case


def _each_of_case(case: Case, change: Callable[[Array], Array]) -> Case:
    trees = {name: _each(case, change, getattr(case, name), name) for name in ("x", "parameters", "initial")}
    return replace(case, **trees)


def given(case: Case, tree: _Tree) -> _Tree:
    """Cotangents or tangents as the implementation gets them."""
    changed: _Tree = _each(case, _joined, tree, "") if has_complex(case) else tree
    return changed


def returned(case: Case, tree: _Tree) -> _Tree:
    """Its results, in pairs of numbers."""
    changed: _Tree = _each(case, _parted, tree, "") if has_complex(case) else tree
    return changed


def _each(case: Case, change: Callable[[Array], Array], tree: Any, name: str) -> Any:
    """The tree with each array changed whose name belongs to a complex array."""
    assert isinstance(case.cell, CustomCell)
    if isinstance(tree, Outputs | Gradients | Cotangents):
        return type(tree)(*(_each(case, change, part, field) for field, part in tree._asdict().items()))
    if isinstance(tree, tuple | list):
        return tuple(_each(case, change, part, name) for part in tree)
    if isinstance(tree, Mapping):
        return {n: _each(case, change, part, n) for n, part in tree.items()}
    return change(tree) if isinstance(tree, np.ndarray) and case.cell.domain(name) is complex else tree


def _joined(pairs: Array) -> Array:
    kind = np.dtype(f"c{2 * pairs.dtype.itemsize}")
    joined: Array = np.ascontiguousarray(pairs).view(kind)[..., 0]
    return joined


def _parted(numbers: Array) -> Array:
    """Real numbers stay as they are: they do not have the shape that is expected."""
    if numbers.dtype.kind != "c":
        return numbers
    kind = np.dtype(f"f{numbers.dtype.itemsize // 2}")
    parted: Array = np.ascontiguousarray(numbers)[..., None].view(kind)
    return parted
