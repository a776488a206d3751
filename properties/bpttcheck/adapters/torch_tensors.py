"""Tensors of rows and steps: some rows in place of others, links that are cut, numbers without a meaning."""

from collections.abc import Mapping
from typing import Any

import torch

from bpttcheck.contract import CustomCell
from bpttcheck.custom_cell import any_of
from bpttref import Cell


def where(live: Any, new: Any, old: Any, axis: int = 0) -> Any:
    """Tensors ``new`` of the rows, along an axis, that are ``live``, and ``old`` of the others."""
    if isinstance(new, tuple):
        return tuple(where(live, a, b) for a, b in zip(new, old, strict=True))
    if isinstance(new, Mapping):
        return {name: where(live, new[name], old[name]) for name in new}
    return torch.where(live.to(new.device).reshape(-1, *[1] * (new.ndim - axis - 1)), new, old)


def others(cell: Cell | CustomCell, name: str, stream: Any) -> Any:
    """Numbers that may stand in a stream, where rows have ended."""
    domain = cell.domain(name) if isinstance(cell, CustomCell) else None
    return torch.as_tensor(any_of(domain, (1, 1, *stream.shape[2:])), dtype=stream.dtype, device=stream.device)


def linked(state: Any, xi: float) -> Any:
    """A state as it is, whose cotangent is multiplied by ``xi`` on its way back; cut where that is 0."""
    cut = state.detach()
    return cut if xi == 0 else cut + xi * (state - cut)
