"""Norms of a gradient, one for each step; none of them is rounded to zero or to infinity."""

from itertools import groupby

import torch
from torch import Tensor

from bpttref.arrays import Array

_TOGETHER = 16  # gradients of a step that are copied into one, to be measured in one operation


def norms_of(gradient: Tensor, axis: int | None, sizes: "Tensor | None" = None) -> Tensor:
    """``(T,)``, or a single number where the whole is one step. axis: of time. sizes: how many rows a packed sequence
    has at each step."""
    g = gradient.detach()
    if sizes is not None:
        return torch.stack([norms_of(rows, None) for rows in g.split(sizes.tolist())])
    others = [i for i in range(g.ndim) if i != axis]
    if not others:
        return g.abs().double()
    if g.dtype != torch.float64:  # squares of these do not leave the range of double precision
        return torch.linalg.vector_norm(g, dim=others, dtype=torch.float64)
    largest = g.abs().amax(others, keepdim=True)
    scale = torch.where(largest > 0, largest, 1)
    return scale.reshape(-1) * torch.linalg.vector_norm(g / scale, dim=others).reshape(-1)


def norms_of_calls(gradients: list[tuple[Tensor, int | None, "Tensor | None"]]) -> Array:
    """``(steps,)``, of gradients with their axis of time and their sizes. Steps that are alike are measured together."""
    norms = []
    for alike, group in groupby(gradients, key=_one_step):
        some = list(group)
        if alike:
            pieces = [[g for g, *_ in some[i : i + _TOGETHER]] for i in range(0, len(some), _TOGETHER)]
            norms += [norms_of(torch.stack(piece), 0) for piece in pieces]
        else:
            norms += [norms_of(*one).reshape(-1) for one in some]
    numbers: Array = torch.cat(norms).cpu().numpy()
    return numbers


def _one_step(gradient: tuple[Tensor, int | None, "Tensor | None"]) -> "tuple[torch.Size, torch.dtype] | None":
    """Shape and dtype of a gradient that is one step; None for others."""
    g, axis, sizes = gradient
    return (g.shape, g.dtype) if axis is None and sizes is None else None
