"""Objectives: what turns the outputs of a network into one number, and that number into cotangents.

    o_t = W_qh y_t + b_q                        readout (absent for the linear objective)
    L   = scale * sum over t of w_t l(o_t, target_t)

with, summed over the rows of the batch,

    "cross-entropy"    l = -log softmax(o)[target], targets integer (T, B)
    "squared-error"    l = |o - target|^2 / 2, targets (T, B, Q)
    "linear"           l = <target, y>, targets (T, B, directions*H): its cotangents are the targets

``scale`` = 1/T is the book's mean over time (D2L 9.7.1). An objective works on any stretch of steps: the objective of
the whole sequence is the sum of those of its chunks.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from bpttref.arrays import Array, bias_gradient, project, weight_gradient


class Evaluated(NamedTuple):
    """An objective at some outputs: its value, the cotangent ``dy``, and the gradients of the readout."""

    loss: float
    dy: Array
    readout: dict[str, Array]


@dataclass(frozen=True, eq=False)
class Objective:
    """See the module. ``weights (T,)`` are ones if None; ``W_qh (Q, directions*H)`` and ``b_q (Q,)`` the readout."""

    kind: Literal["cross-entropy", "squared-error", "linear"]
    targets: Array
    W_qh: Array | None = None
    b_q: Array | None = None
    weights: Array | None = None
    scale: float = 1.0

    def __call__(self, y: Array, start: int = 0) -> Evaluated:
        """Evaluate on ``y (L, B, directions*H)``, the outputs of steps ``start <= t < start + L``."""
        steps = slice(start, start + len(y))
        targets = self.targets[steps]
        weights = self.scale * (np.ones(len(y)) if self.weights is None else self.weights[steps])
        w = weights.astype(y.dtype)[:, None, None]
        if self.kind == "linear":
            return Evaluated(float(np.sum(w * targets * y)), w * targets, {})
        if self.W_qh is None or self.b_q is None:
            raise ValueError(f"the {self.kind} objective needs a readout: W_qh and b_q")
        o = project(y, self.W_qh.T) + self.b_q
        if self.kind == "squared-error":
            do = o - targets
            loss = np.sum(w * do * do) / 2
        else:
            shifted = o - o.max(axis=-1, keepdims=True)
            log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
            at_target = targets[..., None]
            loss = -np.sum(w * np.take_along_axis(log_p, at_target, axis=-1))
            do = np.exp(log_p)
            np.put_along_axis(do, at_target, np.take_along_axis(do, at_target, axis=-1) - 1, axis=-1)
        do = w * do
        readout = {"W_qh": weight_gradient(do, y), "b_q": bias_gradient(do)}
        return Evaluated(float(loss), project(do, self.W_qh), readout)
