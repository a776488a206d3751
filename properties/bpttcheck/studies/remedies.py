"""Remedies for gradients that explode, each on the same problem (*Dive into Deep Learning*, exercise of 9.7).

A remedy is a record: how the network starts, its cell, how the gradient is truncated, how it is changed, and how the
recurrent matrix is changed after a step. `train` knows nothing else of it. All remedies of one seed see the same
batches; a held-out and a validation set serve all of them and all seeds. Plain stochastic gradient descent, with every
learning rate of one grid at once, as replicates; the rate that is reported has the least validation loss.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass

import numpy as np

from bpttcheck.studies.explosive import (
    B,
    Sequences,
    explosive,
    identity,
    losses,
    losses_and_gradients,
    named,
    orthogonal,
    reach,
    sequences,
    start,
)
from bpttref import GRU, LSTM, RNN, Cell, Full, Random, Regular, Strategy
from bpttref.arrays import Array

RATES = 4.0 ** -np.arange(1, 6)
BOUND = 1.0  # on the norm
ENTRY_BOUND = 1 / 32  # with 1153 parameters the norm is then at most 1.06
SCALE = 1 / 16
TAU = 10
PI = 0.9  # links are cut every 10 steps on average
ROWS = 64  # of the held-out and of the validation set
POINTS = 20  # of a learning curve, after its start


@dataclass(frozen=True)
class Remedy:
    """``changes`` names the changed part: the step, the start, the function class, or the paths of the gradient."""

    name: str
    changes: str
    start: Callable[[np.random.Generator], Array] = explosive
    cell: Cell = RNN("tanh")
    strategy: Callable[[np.random.Generator], Strategy] = lambda random: Full()
    used: Callable[[Array], Array] = lambda gradients: gradients
    projected: Callable[[Array], Array] = lambda W_hh: W_hh


def clipped_by_norm(gradients: Array) -> Array:
    """Each gradient ``(R, P)`` that is longer than BOUND, shortened to it (Pascanu, Mikolov and Bengio, 2013)."""
    return gradients * (BOUND / np.maximum(norms(gradients), BOUND))[:, None]


def clipped_by_value(gradients: Array) -> Array:
    """Each entry moved into [-ENTRY_BOUND, ENTRY_BOUND]."""
    return np.clip(gradients, -ENTRY_BOUND, ENTRY_BOUND)


def spectrally_normalised(W_hh: Array) -> Array:
    """``W_hh (..., H, H)`` divided by its largest singular value: a projection, through which no gradient flows."""
    largest: Array = np.linalg.norm(W_hh, 2, axis=(-2, -1), keepdims=True)
    return W_hh / largest


REMEDIES = (
    Remedy("none", "nothing"),
    Remedy("clip-norm", "step", used=clipped_by_norm),
    Remedy("clip-value", "step", used=clipped_by_value),
    Remedy("scaling", "step", used=lambda gradients: SCALE * gradients),
    Remedy("orthogonal", "start", start=orthogonal),
    Remedy("identity", "start", start=identity),
    Remedy("identity-relu", "start", start=identity, cell=RNN("relu")),
    Remedy("spectral-norm", "function", projected=spectrally_normalised),
    Remedy("lstm", "function", cell=LSTM()),
    Remedy("gru", "function", cell=GRU()),
    Remedy("regular", "paths", strategy=lambda random: Regular(TAU)),
    Remedy("random", "paths", strategy=lambda random: Random(PI, int(random.integers(2**32)))),
)


@dataclass(frozen=True)
class Run:
    """A remedy trained from one seed, with each of the R rates.

    reach: the norm of dh_T / ds_0; gradient, used: the norms of the true gradient and of the remedied one;
    cosine: between the two; all at the start. norms: ``(N, R)``, of the gradient before the remedy changes it.
    steps, curve: at which steps ``(K,)`` the held-out loss was taken, and the losses ``(K, R)``, infinite once a run
    has stopped. validation: ``(R,)``, after the last step. stopped: ``(R,)``, the step with the first loss or norm of
    the gradient that is not finite, or -1.
    """

    remedy: str
    number: int
    reach: float
    gradient: float
    used: float
    cosine: float
    norms: Array
    steps: Array
    curve: Array
    validation: Array
    stopped: Array


def train(remedy: Remedy, seed: int, number: int, steps: int) -> Run:
    """Train for ``steps`` steps from seed ``number`` of those that ``seed`` stands for."""
    held_out, validation = (sequences(np.random.default_rng((seed, k)), ROWS) for k in (1, 2))
    of_start, of_batches, of_links = np.random.default_rng((seed, 3, number)).spawn(3)
    cell, R = remedy.cell, len(RATES)
    times = np.unique(np.linspace(0, steps, POINTS + 1).astype(int))
    seen, curve, chosen_by = np.full((steps, R), np.nan), np.full((len(times), R), np.inf), np.full(R, np.inf)
    running, stopped = np.arange(R), np.full(R, -1)
    with np.errstate(all="ignore"):  # a gradient that explodes overflows
        theta = np.tile(start(cell, remedy.start, of_start), (R, 1))
        _project(remedy, theta)
        reached = reach(cell, theta[0], held_out.x[:, :1])
        at_start = _at_start(remedy, theta[:1], sequences(of_start, B), remedy.strategy(of_links))
        for step in range(steps):
            if step in times:
                curve[times == step, running] = losses(cell, theta[running], held_out)
            batch, strategy = sequences(of_batches, B), remedy.strategy(of_links)
            loss, gradients = losses_and_gradients(cell, theta[running], batch, strategy)
            finite = np.isfinite(loss) & np.isfinite(norms(gradients))
            stopped[running[~finite]] = step
            running, gradients = running[finite], gradients[finite]
            seen[step, running] = norms(gradients)
            theta[running] -= RATES[running, None] * remedy.used(gradients)
            _project(remedy, theta)
        curve[-1, running] = losses(cell, theta[running], held_out)
        chosen_by[running] = losses(cell, theta[running], validation)
    return Run(remedy.name, number, reached, *at_start, seen, times, curve, chosen_by, stopped)


def _at_start(remedy: Remedy, theta: Array, batch: Sequences, strategy: Strategy) -> tuple[float, float, float]:
    """The norms of the true gradient and of the remedied one at ``theta (1, P)``, and the cosine between them."""
    true, truncated = (losses_and_gradients(remedy.cell, theta, batch, s)[1] for s in (Full(), strategy))
    used = remedy.used(truncated)
    cosine = (true * used).sum(axis=1) / (norms(true) * norms(used))
    return float(norms(true)[0]), float(norms(used)[0]), float(cosine[0])


def norms(gradients: Array) -> Array:
    """The Euclidean norms ``(R,)`` of ``gradients (R, P)``."""
    lengths: Array = np.linalg.norm(gradients, axis=1)
    return lengths


def best_rate(runs: Sequence[Run]) -> int:
    """The place in RATES of the rate with the least validation loss, a mean over ``runs``; the larger of equals."""
    return int(np.argmin(np.mean([run.validation for run in runs], axis=0)))


def measure(names: Sequence[str], seed: int, seeds: int, steps: int, pool: Executor) -> Iterator[Run]:
    """The runs of the remedies ``names`` as they end; all remedies of a seed before the next."""
    todo = [pool.submit(_train, name, seed, number, steps) for number in range(seeds) for name in names]
    for done in as_completed(todo):
        yield done.result()


def _train(name: str, seed: int, number: int, steps: int) -> Run:
    """`train`, for a remedy that is named: its functions cannot be sent to a process."""
    return train(next(remedy for remedy in REMEDIES if remedy.name == name), seed, number, steps)


def _project(remedy: Remedy, theta: Array) -> None:
    W_hh = named(remedy.cell, theta)["W_hh"]
    W_hh[...] = remedy.projected(W_hh)
