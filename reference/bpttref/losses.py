"""Objectives: they turn the outputs of a network into one number, and give the cotangents of the outputs.

    o_t = W_qh y_t + b_q                        readout (absent for the linear objective), perhaps without b_q
    L   = sum over t and b of scale_b w_tb l(o_tb, target_tb)

over the steps t and the rows b of the batch, with

    "cross-entropy"    l = -log softmax(o)[target], targets integer (T, B)
    "squared-error"    l = |o - target|^2 / 2, targets (T, B, Q)
    "linear"           l = <target, y>, targets (T, B, directions*H): its cotangents are the targets

``scale`` = 1/T is the book's mean over time (D2L 9.7.1). Rows of different lengths need no more: losses behind the end
of a row have the weight 0, and the scale contains the divisor of a mean. An objective works on any stretch of steps:
the objective of the whole sequence is the sum of the objectives of its chunks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from bpttref.arrays import Array, bias_gradient, project, weight_gradient


class Evaluated(NamedTuple):
    """An objective at some outputs: its value and its derivatives.

    Parameters
    ----------
    loss : float
        The value; with replicates an array of values.
    dy : Array
        The cotangent of the outputs, shaped as they are.
    readout : dict of str to Array
        The gradients of the readout by name: ``W_qh (Q, directions*H)`` and, if it has a bias, ``b_q (Q,)``.

    Examples
    --------
    >>> import numpy as np
    >>> Objective("linear", np.ones((2, 1, 1)))(np.full((2, 1, 1), 3.0)).loss
    np.float64(6.0)
    """

    loss: Any  # a number; with replicates an array of them
    dy: Array
    readout: dict[str, Array]


@dataclass(frozen=True, eq=False)
class Objective:
    """A loss of the outputs: ``scale * weights * l(W_qh y + b_q, targets)``, summed over steps and rows.

    Parameters
    ----------
    kind : str
        "cross-entropy", "squared-error" (half of the square), or "linear" (targets times y, without a readout).
    targets : Array
        Integers ``(T, B)`` for cross-entropy, ``(T, B, Q)`` for the squared error, ``(T, B, directions*H)`` if linear.
    W_qh : Array, optional
        The matrix of the readout, ``(Q, directions*H)``.
    b_q : Array, optional
        The bias of the readout, ``(Q,)``; it has none if this is left out.
    weights : Array, optional
        Weights of steps ``(T,)``, or of the steps of each row ``(T, B)``. A weight of 0 leaves out even an infinite
        loss.
    scale : float or Array
        A number, or one for each row ``(B,)``. 1/T is the mean over time of D2L, 9.7.1.

    Examples
    --------
    >>> import numpy as np
    >>> y, targets = np.array([[[1.0]], [[2.0]]]), np.array([[[0.0]], [[5.0]]])
    >>> objective = Objective("squared-error", targets, W_qh=np.array([[2.0]]), scale=1 / 2)
    >>> value, dy, readout = objective(y)
    >>> value, dy.ravel(), readout["W_qh"]
    (np.float64(1.25), array([ 2., -1.]), array([[0.]]))
    """

    kind: Literal["cross-entropy", "squared-error", "linear"]
    targets: Array
    W_qh: Array | None = None
    b_q: Array | None = None
    weights: Array | None = None
    scale: float | Array = 1.0

    @property
    def readout(self) -> dict[str, Array]:
        """The parameters of the readout by name; none for the linear objective."""
        named = {"W_qh": self.W_qh, "b_q": self.b_q}
        return {} if self.W_qh is None else {name: array for name, array in named.items() if array is not None}

    @property
    def factors(self) -> Array:
        """The factors of the losses, ``(T, B)``: scale times weight."""
        T, B = self.targets.shape[:2]
        return np.broadcast_to(self._factors(slice(None), T, B), (T, B))

    def with_readout(self, readout: Mapping[str, Array]) -> "Objective":
        """The same objective with other parameters of the readout.

        Parameters
        ----------
        readout : mapping of str to Array
            ``W_qh`` and, if there is a bias, ``b_q``.

        Returns
        -------
        Objective
            A new object.
        """
        return replace(self, W_qh=readout.get("W_qh"), b_q=readout.get("b_q"))

    def __call__(self, y: Array, start: int = 0) -> Evaluated:
        """Evaluate the objective and its derivatives.

        Parameters
        ----------
        y : Array
            The outputs ``(L, ..., B, directions*H)`` of L steps.
        start : int
            The first of these steps.

        Returns
        -------
        Evaluated
            The value, the cotangent of the outputs, and the gradients of the readout.

        Raises
        ------
        ValueError
            Without a readout, unless the objective is linear, and if targets, weights or scale do not fit.
        """
        steps, replicates = slice(start, start + len(y)), y.ndim - 3
        w = self._factors(steps, len(y), y.shape[-2])
        w = w.astype(y.dtype).reshape(len(y), *(1,) * replicates, -1 if len(y) else 1, 1)
        o = y if self.kind == "linear" else self._read_out(y)
        targets, width = self.targets[steps], () if self.kind == "cross-entropy" else o.shape[-1:]
        shape = (len(y), y.shape[-2], *width)
        if targets.shape != shape:
            raise ValueError(f"the {self.kind} objective takes targets {shape} for these steps, not {targets.shape}")
        targets = targets.reshape(len(targets), *(1,) * replicates, *targets.shape[1:])
        if self.W_qh is None or self.kind == "linear":
            dy = _weighted(w, targets)
            return Evaluated(_total(dy * y), np.broadcast_to(dy, y.shape), {})
        if self.kind == "squared-error":
            do = o - targets
            loss = _total(_weighted(w, do) * do) / 2
        else:
            shifted = o - o.max(axis=-1, keepdims=True)
            log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
            at_target = np.arange(o.shape[-1]) == targets[..., None]
            if np.count_nonzero(at_target) != targets.size:
                last = o.shape[-1] - 1
                raise ValueError(f"targets must be classes from 0 to {last}; a weight of 0 leaves out a step")
            loss = -_total(np.multiply(w, log_p, where=at_target & (w != 0), out=np.zeros_like(log_p)))
            do = np.exp(log_p) - at_target
        do = _weighted(w, do)
        readout = {"W_qh": weight_gradient(do, y)}
        if self.b_q is not None:
            readout["b_q"] = bias_gradient(do)
        return Evaluated(loss, project(do, self.W_qh), readout)

    def _factors(self, steps: slice, L: int, B: int) -> Array:
        """The factors of the losses of L steps: ``(L, B)``, or ``(L, 1)`` where it is the same for all rows."""
        weights = np.ones(L) if self.weights is None else self.weights[steps]
        if weights.shape not in ((L,), (L, B)):
            raise ValueError(f"the loss takes weights {(L,)} or {(L, B)} for these steps, not {weights.shape}")
        if np.shape(self.scale) not in ((), (B,)):
            raise ValueError(f"the loss takes a number for its scale, or one for each of {B} rows, not {self.scale}")
        factors: Array = self.scale * (weights if weights.ndim == 2 else weights[:, None])
        return factors

    def _read_out(self, y: Array) -> Array:
        if self.W_qh is None:
            raise ValueError(f"the {self.kind} objective needs a readout: W_qh and, if it has a bias, b_q")
        o = project(y, self.W_qh.swapaxes(-1, -2))
        return o if self.b_q is None else o + self.b_q[..., None, :]


def _weighted(w: Array, terms: Array) -> Array:
    """The terms times the factors w; zero where these are, whatever the terms are."""
    if np.all(w):
        return w * terms
    return np.multiply(w, terms, where=w != 0, out=np.zeros_like(terms))


def _total(terms: Array) -> Any:
    """The sum over time, batch and features, for each replicate."""
    return terms.sum(axis=(0, -2, -1))
