"""A problem on which the gradient explodes: recall a number from T steps ago, from a recurrent matrix that is too
large.

The first input carries a number, the others only noise; the loss is (o_T - number)^2 / 2, only at the last step, a mean
over the batch. Always predicting 0 costs 1/6. A tanh network with spectral radius far above 1 is chaotic (Sompolinsky,
Crisanti and Sommers, 1988): its states stay bounded and its gradient grows exponentially on the way back.

All parameters of a network lie in one vector, so norms, angles and steps are the ones of vectors. Networks come as
replicates ``(R, P)``, trained side by side on the same batches.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bpttref import Cell, Cotangents, Evaluated, Full, Objective, Pullback, Strategy, vjp
from bpttref.arrays import Array
from bpttref.network import AllParameters

T, B, D, H = 60, 8, 2, 32
RADIUS = 4.0
NOISE = 0.1
INPUT_SCALE = 0.3


class Sequences(NamedTuple):
    """x: ``(T, B, 2)``, noise and the number to recall. targets: ``(T, B, 1)``, of which the last step counts."""

    x: Array
    targets: Array


def sequences(random: np.random.Generator, rows: int) -> Sequences:
    """Draw ``rows`` sequences; the number is uniform in [-1, 1]."""
    x, targets = np.zeros((T, rows, D)), np.zeros((T, rows, 1))
    x[:, :, 0] = NOISE * random.uniform(-1, 1, (T, rows))
    x[0, :, 1] = targets[-1, :, 0] = random.uniform(-1, 1, rows)
    return Sequences(x, targets)


def explosive(random: np.random.Generator) -> Array:
    """``(H, H)``: a Gaussian matrix with spectral radius RADIUS."""
    W = random.standard_normal((H, H))
    radius: float = np.abs(np.linalg.eigvals(W)).max()
    return W * (RADIUS / radius)


def orthogonal(random: np.random.Generator) -> Array:
    """``(H, H)``: uniform over the orthogonal matrices (Mezzadri, 2007: the signs make QR unique)."""
    Q, R = np.linalg.qr(random.standard_normal((H, H)))
    return Q * np.sign(np.diag(R))


def identity(random: np.random.Generator) -> Array:
    """``(H, H)``: the identity (Le, Jaitly and Hinton, 2015)."""
    return np.eye(H)


def start(cell: Cell, recurrent: Callable[[np.random.Generator], Array], random: np.random.Generator) -> Array:
    """The parameters ``(P,)`` before training: every gate gets a ``recurrent`` matrix of its own; biases are 0."""
    of_input, of_state, of_readout = random.spawn(3)  # a cell with more gates does not change the other draws
    theta = np.zeros(sum(int(np.prod(shape)) for shape in _shapes(cell).values()))
    p = named(cell, theta)
    p["W_hx"][...] = INPUT_SCALE * of_input.standard_normal(p["W_hx"].shape)
    p["W_hh"][...] = np.concatenate([recurrent(of_state) for _ in cell.gates])
    p["W_qh"][...] = of_readout.standard_normal((1, H)) / np.sqrt(H)
    return theta


def named(cell: Cell, theta: Array) -> dict[str, Array]:
    """The parameters ``theta (..., P)`` by name, as views."""
    shapes = _shapes(cell)
    ends = np.cumsum([np.prod(shape) for shape in shapes.values()])[:-1]
    parts = zip(shapes.items(), np.split(theta, ends, axis=-1), strict=True)
    return {name: part.reshape(*theta.shape[:-1], *shape) for (name, shape), part in parts}


def losses(cell: Cell, theta: Array, data: Sequences) -> Array:
    """The losses ``(...)`` of the parameters ``theta (..., P)``."""
    of_each: Array = _unrolled(cell, theta, data, Full())[0].loss
    return of_each


def losses_and_gradients(cell: Cell, theta: Array, data: Sequences, strategy: Strategy) -> tuple[Array, Array]:
    """The losses ``(...)`` and their gradients ``(..., P)``, truncated as ``strategy`` says."""
    evaluated, pullback = _unrolled(cell, theta, data, strategy)
    pulled = pullback(Cotangents(evaluated.dy)).parameters
    assert pulled is not None
    gradients = np.empty_like(theta)
    of_name = named(cell, gradients)
    for name, array in {**pulled[0][0], **evaluated.readout}.items():
        of_name[name][...] = array
    return evaluated.loss, gradients


def _unrolled(cell: Cell, theta: Array, data: Sequences, strategy: Strategy) -> tuple[Evaluated, Pullback]:
    p = named(cell, theta)
    outputs, pullback = vjp(cell, _layer(p), data.x, strategy=strategy, pull_inputs=False)
    assert outputs.y is not None
    last_step, mean = np.eye(T)[-1], 1 / data.x.shape[1]
    objective = Objective("squared-error", data.targets, p["W_qh"], p["b_q"], last_step, mean)
    return objective(outputs.y), pullback


def reach(cell: Cell, theta: Array, x: Array) -> float:
    """The largest singular value of dh_T / ds_0 along one sequence ``x (T, 1, D)``; s is all of the cell's state."""
    _, pullback = vjp(cell, _layer(named(cell, theta)), np.repeat(x, H, axis=1), pull_inputs=False)
    pulled = pullback(Cotangents(final=(({"h": np.eye(H)},),))).initial  # row k of the batch: the gradient of h_T[k]
    assert pulled is not None
    return float(np.linalg.norm(np.concatenate(list(pulled[0][0].values()), axis=-1), 2))


def _layer(p: dict[str, Array]) -> AllParameters:
    return (({name: p[name] for name in ("W_hx", "W_hh", "b_hx")},),)


def _shapes(cell: Cell) -> dict[str, tuple[int, ...]]:
    rows = len(cell.gates) * H
    return {"W_hx": (rows, D), "W_hh": (rows, H), "b_hx": (rows,), "W_qh": (1, H), "b_q": (1,)}
