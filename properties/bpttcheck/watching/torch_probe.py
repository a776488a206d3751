"""Additional gradients of single outputs, taken while the first calls of backward run.

A call of backward adds up the gradients from all steps; one output at a time shows how far each of them reaches, and
whether it reaches inputs of other rows. They are taken when the call arrives at the newest step of a module: its graph
is still there, and stays for the call. No gradient of a parameter is computed.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bpttcheck.watching.record import ForwardCall, Probed, Record
from bpttcheck.watching.torch_norms import norms_of

CALLS = 2  # of backward that are probed


class Kept(NamedTuple):
    """A forward call until it is probed, its input and its output."""

    call: ForwardCall
    x: Tensor
    y: Tensor


class Probe:
    """outputs: how many are probed in a call of backward."""

    def __init__(self, record: Record, outputs: int) -> None:
        self._record, self._outputs = record, outputs
        self._kept: dict[str, list[Kept]] = {}
        self._probed: dict[str, int] = {}
        self.running = False

    def wants(self, name: str) -> bool:
        """Whether the next call of backward of a module is probed."""
        return self._probed.get(name, 0) < CALLS

    def keep(self, name: str, kept: Kept) -> None:
        """Remember a forward call for the next call of backward."""
        axis = kept.call.axis
        if axis is None or kept.y.shape[axis : axis + 1] == (kept.call.steps,):
            self._kept.setdefault(name, []).append(kept)

    def forget(self) -> None:
        """Release the kept graphs."""
        self._kept = {}

    def take(self, name: str) -> None:
        """Probe the kept calls of a module; once for each call of backward."""
        if not (kept := self._kept.pop(name, [])):
            return
        self._probed[name] = self._probed.get(name, 0) + 1
        if any("Compiled" in type(one.y.grad_fn).__name__ for one in kept):
            self._record.unprobed.add(name)
            return
        self.running = True
        try:
            places = [(one, t) for one in kept for t in range(one.call.steps)]
            for row, place in enumerate(np.linspace(len(places) - 1, 0, self._outputs).round().astype(int)):
                one, t = places[place]
                self._record.probed.append(self._one(name, kept, one, t, row))
        finally:
            self.running = False

    def _one(self, name: str, kept: list[Kept], probed: Kept, t: int, row: int) -> Probed:
        """The gradients of one output, in one row of the batch unless rows are packed."""
        call, along = probed.call, torch.zeros_like(probed.y)
        if call.rows:
            start = sum(call.rows[:t])
            chosen = along[start : start + call.rows[t]]
        else:
            at_t = along if call.axis is None else along.select(call.axis, t)
            row = row % len(at_t) if at_t.ndim > 1 else 0
            chosen = at_t[row] if at_t.ndim > 1 else at_t
        draws = torch.Generator().manual_seed(0)
        chosen.copy_(torch.randn(chosen.shape, generator=draws))  # their sum may be constant
        inputs = [one.x for one in kept]
        found = torch.autograd.grad(probed.y, inputs, along, retain_graph=True, allow_unused=True)
        norms = [_by_row(one, gradient) for one, gradient in zip(kept, found, strict=True)]
        steps = np.concatenate([np.arange(one.call.first, one.call.first + one.call.steps) for one in kept])
        return Probed(name, call.first + t, None if call.rows else row, steps, np.concatenate(norms))


def _by_row(kept: Kept, gradient: "Tensor | None") -> Any:
    """``(steps, rows)``; of a packed sequence, and of one without batch, ``(steps, 1)``."""
    axis, rows = kept.call.axis, kept.call.rows
    if gradient is None:
        gradient = torch.zeros_like(kept.x)
    if rows or gradient.ndim < (2 if axis is None else 3):
        norms = norms_of(gradient, axis, rows).reshape(-1, 1)
    else:
        steps = gradient[None] if axis is None else gradient.movedim(axis, 0)
        norms = torch.stack([norms_of(step, 0) for step in steps])
    return norms.double().cpu().numpy()
