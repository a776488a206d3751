"""Norms of a gradient, one for each step; none of them is rounded to zero or to infinity."""

from itertools import groupby, islice
from operator import attrgetter

import torch
from torch import Tensor

_TOGETHER = 64  # gradients of a step that are copied into one, to be measured in one operation


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


def norms_of_steps(gradients: list[Tensor]) -> list[Tensor]:
    """Of gradients that are one step each; those of one shape are measured together."""
    norms = []
    for _, alike in groupby(gradients, attrgetter("shape")):
        while piece := list(islice(alike, _TOGETHER)):
            norms.append(norms_of(torch.stack(piece), 0))
    return norms
