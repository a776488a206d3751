"""The kind of a state that a PyTorch module is given: one that a module returned before, cut or not, or another.

The storage decides in most cases: a carried state is the returned tensor, and ``detach`` shares its storage. Where it
was copied or changed on the way, rows of the batch are compared by value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from bpttcheck.watching.record import ABSENT, Kind, State

_NEW, _OTHER = -1, -2  # a row of zeros; a row that no module returned
_pointer, _numel, _version = Tensor.data_ptr, Tensor.numel, attrgetter("_version")
has_graph, _without_graph = attrgetter("requires_grad"), attrgetter("data")  # sooner than ``detach``


@dataclass(slots=True)
class _Returned:
    """The state that a module returned last. contents: of its parts by then. parts: tensors that share storage with the
    module's, and have no graph, so that no other takes their place."""

    contents: list[int]
    parts: list[Tensor]
    layers: bool


class Returned:
    """The last state of each module, one computed with gradients and one without."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, bool], _Returned] = {}

    def remember(self, name: str, with_gradient: bool, parts: list[Tensor], layers: bool) -> None:
        """Keep the returned state of a module, in place of its earlier one. layers: whether states belong to a stack,
        ``(layers, B, H)``; else the batch is their first axis."""
        self._last[name, with_gradient] = _Returned(_contents(parts), [*map(_without_graph, parts)], layers)

    def describe(self, name: str, parts: list[Tensor], layers: bool) -> State:
        """The kind of the state that a module of this name is given."""
        if not parts:
            return ABSENT
        last = self._last.get((name, True))
        if last and last.contents == _contents(parts):
            return _returned(name, tuple(map(has_graph, parts)))  # as in most calls
        candidates = sorted(self._last, key=lambda key: (key[0] != name, not key[1]))
        found = [self._find(candidates, i, part, layers) for i, part in enumerate(parts)]
        kinds = tuple(_kind(part, rows) for part, (_, rows) in zip(parts, found, strict=True))
        (source, with_gradient), rows = found[0]
        if rows is None:
            return State(kinds, source, not with_gradient)
        if not any(row >= 0 for row in rows):
            return State(kinds)
        moved = sum(row not in (i, _NEW, _OTHER) for i, row in enumerate(rows))
        return State(kinds, source, not with_gradient, rows.count(_NEW), moved)

    def _find(
        self, candidates: list[tuple[str, bool]], i: int, part: Tensor, layers: bool
    ) -> tuple[tuple[str, bool], list[int] | None]:
        """The module that returned a part of a state, and the earlier place of each row; None if no row moved."""
        for key in candidates:
            last = self._last[key]
            if last.contents[i :: len(last.parts)] == _contents([part]):
                return key, None
        values = _by_row(part.detach(), layers)
        rows = [_OTHER if other else _NEW for other in values.any(1).tolist()]
        if _OTHER in rows:
            for key in candidates:
                last = self._last[key]
                before = last.parts[i : i + 1]
                matched = _match(values, _by_row(before[0], last.layers), rows) if before else rows
                if any(row >= 0 for row in matched):
                    return key, matched
        return ("", True), rows


def _contents(parts: list[Tensor]) -> list[int]:
    """Where tensors are in memory, their sizes, and how often each was written to, which PyTorch does not count in
    inference mode."""
    where = [*map(_pointer, parts), *map(_numel, parts)]
    try:
        return [*where, *map(_version, parts)]
    except RuntimeError:
        return where


@cache
def _returned(name: str, graphs: tuple[bool, ...]) -> State:
    """A state that a module returned. graphs: which parts have one."""
    return State(tuple([Kind.CARRIED if graph else Kind.DETACHED for graph in graphs]), name)


def _by_row(state: Tensor, layers: bool) -> Tensor:
    batched = state.ndim == 3 if layers else state.ndim > 1
    rows = state[None] if not batched else state.transpose(0, 1) if layers else state
    return rows.flatten(1)


def _match(values: Tensor, before: Tensor, rows: list[int]) -> list[int]:
    """For each row of ``values`` that is no row of zeros, the equal row of ``before``."""
    if values.shape[1] != before.shape[1] or values.device != before.device:
        return rows
    common = min(len(values), len(before))
    stayed = (values[:common] == before[:common]).all(1).tolist()
    matched = [i if i < common and stayed[i] and row == _OTHER else row for i, row in enumerate(rows)]
    if _OTHER in matched and values.shape[1] > 1:
        begins_alike = (values[:, :1] == before[None, :, 0]).tolist()
        for i, row in enumerate(matched):
            if row == _OTHER:
                alike = (j for j, same in enumerate(begins_alike[i]) if same)
                matched[i] = next((j for j in alike if torch.equal(values[i], before[j])), _OTHER)
    return matched


def _kind(part: Tensor, rows: list[int] | None) -> Kind:
    if rows is None or any(row >= 0 for row in rows):
        return Kind.CARRIED if part.requires_grad else Kind.DETACHED
    if _OTHER not in rows:
        return Kind.ZERO
    return Kind.COMPUTED if part.requires_grad else Kind.REPLACED


def tensors(tree: Any) -> list[Tensor]:
    """The floating tensors in tuples, lists and mappings."""
    if isinstance(tree, Tensor):
        return [tree] if tree.is_floating_point() else []
    found: list[Tensor] = []
    for branch in tree if isinstance(tree, _SEQUENCES) else tree.values() if isinstance(tree, Mapping) else ():
        if not isinstance(branch, Tensor):
            found += tensors(branch)
        elif branch.is_floating_point():
            found.append(branch)
    return found


_SEQUENCES = (tuple, list)
