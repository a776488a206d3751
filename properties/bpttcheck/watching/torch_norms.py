"""Norms of gradients, one for each step; none of them is rounded to zero or to infinity."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bpttcheck.watching.record import ForwardCall
from bpttref.arrays import Array

_TOGETHER = 64  # gradients of a step that are copied into one, to be measured in one operation


def norms_of(gradient: Tensor, axis: int | None, rows: Sequence[int] = ()) -> Tensor:
    """``(T,)``, or a single number where the whole is one step. axis: of time. rows: how many a packed sequence has at
    each step."""
    g = gradient.detach()
    if rows:
        return torch.stack([norms_of(step, None) for step in g.split(rows)])
    others = [i for i in range(g.ndim) if i != axis]
    if not others:
        return g.abs().double()
    if g.dtype != torch.float64:  # squares of these do not leave the range of double precision
        return torch.linalg.vector_norm(g, dim=others, dtype=torch.float64)
    largest = g.abs().amax(others, keepdim=True)
    scale = torch.where(largest > 0, largest, 1)
    return scale.reshape(-1) * torch.linalg.vector_norm(g / scale, dim=others).reshape(-1)


def norms_of_calls(calls: list[ForwardCall], gradients: "list[Tensor | None]") -> Array:
    """``(steps,)``, of the gradients at the steps of calls; NaN where there is none, or it is not finite."""
    measured = [(gradient, call) for gradient, call in zip(gradients, calls, strict=True) if gradient is not None]
    if not measured:
        return np.full(sum([call.steps for call in calls]), np.nan)
    if calls[0].axis is None and not calls[0].rows:
        found = _of_steps([gradient for gradient, _ in measured])
    else:
        found = [norms_of(gradient, call.axis, call.rows).reshape(-1) for gradient, call in measured]
    norms: Array = torch.cat(found).cpu().numpy()
    norms[np.isinf(norms)] = np.nan
    if len(measured) == len(calls):
        return norms
    there = np.repeat([gradient is not None for gradient in gradients], [call.steps for call in calls])
    everywhere = np.full(len(there), np.nan)
    everywhere[there] = norms
    return everywhere


def _of_steps(gradients: list[Tensor]) -> list[Tensor]:
    """The norms of gradients that are one step each."""
    norms = []
    for first in range(0, len(gradients), _TOGETHER):
        piece = gradients[first : first + _TOGETHER]
        try:
            norms.append(norms_of(torch.stack(piece), 0))
        except RuntimeError:  # their shapes differ
            norms += [norms_of(gradient, None).reshape(1) for gradient in piece]
    return norms
