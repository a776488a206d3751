"""Norms of gradients, one for each step; none of them is rounded to zero or to infinity."""

from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter

import numpy as np
import torch
from torch import Tensor

from bpttref.arrays import Array

_TOGETHER = 64  # gradients of a step that are copied into one, to be measured in one operation


@dataclass(slots=True, eq=False)
class Call:
    """A forward call that backward may reach, the same object in all of its hooks. axis: of time in its input. sizes:
    of a packed sequence. given: the input, if it was made to need a gradient. gradient: of the input, where the last
    row reached it."""

    name: str
    first: int
    steps: int
    axis: int | None
    sizes: "Tensor | None" = None
    given: "Tensor | None" = None
    gradient: "Tensor | None" = None

    def take(self) -> "Tensor | None":
        """The gradient, which is released here."""
        gradient, self.gradient = self.gradient, None
        if self.given is not None:
            gradient, self.given.grad = self.given.grad, None
        return gradient


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


def norms_of_calls(calls: list[Call]) -> Array:
    """``(steps,)``, of the gradients at the steps of calls, which are released; NaN where there is none, or it is not
    finite."""
    gradients = [call.take() for call in calls]
    measured = [(gradient, call) for gradient, call in zip(gradients, calls, strict=True) if gradient is not None]
    if not measured:
        return np.full(sum([call.steps for call in calls]), np.nan)
    if calls[0].axis is None and calls[0].sizes is None:
        found = _of_steps([gradient for gradient, _ in measured])
    else:
        found = [norms_of(gradient, call.axis, call.sizes).reshape(-1) for gradient, call in measured]
    there = np.repeat([gradient is not None for gradient in gradients], [call.steps for call in calls])
    norms = np.full(len(there), np.nan)
    norms[there] = torch.cat(found).cpu().numpy()
    norms[np.isinf(norms)] = np.nan
    return norms


def _of_steps(gradients: list[Tensor]) -> list[Tensor]:
    """The norms of gradients that are one step each; gradients of one shape are measured together."""
    norms = []
    for _, alike in groupby(gradients, attrgetter("shape")):
        while piece := list(islice(alike, _TOGETHER)):
            norms.append(norms_of(torch.stack(piece), 0))
    return norms
