"""The X-ray of a truncation: the gradient of a single loss is M[t, s] times its value in full BPTT."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from bpttcheck.cases.blocks import Named
from bpttcheck.cases.changes import only_y
from bpttcheck.cases.truncations import DRAWN, cuts
from bpttcheck.contract import Case, OneShot
from bpttcheck.laws.law import (
    NO_REFERENCE,
    Law,
    each_output,
    gradients,
    loss_weights,
    outputs,
    reusable,
    truncation,
    truncations,
)
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.tolerance import Measured
from bpttcheck.measuring.trial import Trial
from bpttref import Blocks, Last, Links, Random, Regular, Strategy, Window, weights
from bpttref.arrays import Array


def rows(trial: Trial, case: Case, M: Array, losses: list[int]) -> Iterator[Comparison]:
    """Rows of the matrix M, seen through the inputs: M[t, s] times the gradient that full BPTT sends from t to x_s."""
    _, truncated = trial.run(case)
    ones = [only_y(trial.cotangents, slice(t, t + 1)) for t in losses]
    for t, one, measured in zip(losses, ones, trial.measure(trial.case, *ones), strict=True):
        full = trial.by_step(trial.pull(trial.forward[1], one))
        got = trial.by_step(trial.pull(truncated, one))
        scale = trial.by_step(measured.spread)
        yield from _row(trial, got, full, scale, M[t, 1:])


def _row(trial: Trial, got: Named, full: Named, scale: Named, row: Array) -> Iterator[Comparison]:
    def times(factors: Array, arrays: Named) -> Named:
        return {n: factors.reshape(-1, *[1] * (a.ndim - 1)) * a for n, a in arrays.items()}

    return trial.compare(got, times(row, full), Measured({}, times(2 * np.abs(row), scale)), alive=full)


def _xray(kind: type[Strategy]) -> Callable[[Trial], Iterator[Comparison]]:
    def check(trial: Trial) -> Iterator[Comparison]:
        T = trial.case.T
        if trial.even:
            strategy = DRAWN[kind](trial.rng, T)
            losses = sorted({T - 1, int(trial.rng.integers(1, T))})
            if cuts(strategy, T):
                yield from rows(trial, trial.truncated(strategy), weights(strategy, T), losses)

    return check


def _weighted_losses(trial: Trial) -> Iterator[Comparison]:
    """Weights that are zero except at t show row t of M."""
    objective, T = trial.case.objective, trial.case.T
    kinds = [kind for kind in trial.capabilities.truncations if kind is not Random]
    if not trial.even or objective is None or not kinds:
        return
    t = int(trial.rng.integers(1, T))
    single = replace(trial.case, objective=replace(objective, weights=np.eye(T)[t]))
    full = trial.by_step(trial.score(single))
    scale = trial.by_step(trial.measure_objective(single).spread)
    for strategy in (DRAWN[kind](trial.rng, T) for kind in kinds):
        case = replace(single, truncation=strategy)
        if cuts(strategy, T):
            for comparison in _row(trial, trial.by_step(trial.score(case)), full, scale, weights(strategy, T)[t, 1:]):
                yield replace(comparison, case=case)


_MEANS = {
    Regular: "cuts before steps tau, 2 tau, ... and nowhere else, even if tau does not divide T",
    Window: "lets the loss at t reach back to step t - tau + 1 and no further",
    Blocks: "takes losses in blocks of k1 and goes back over k2 steps from each block's end",
    Last: "differentiates only the last k steps",
    Links: "multiplies what crosses each link by the number given for it",
}

LAWS = (
    *(
        Law(
            f"xray-{kind.__name__.lower()}",
            f"{kind.__name__} truncation {meaning}.",
            "dx_s from the loss at t = M[t, s] times its value in full BPTT",
            "bpttref.strategies",
            _xray(kind),
            (gradients, outputs("y"), reusable, truncation(kind)),
            {"T": 3},
            kept=NO_REFERENCE,
        )
        for kind, meaning in _MEANS.items()
    ),
    Law(
        "xray-losses",
        "The gradient of a single loss, at step t, is M[t, s] times its value in full BPTT.",
        "dx_s from the loss at t = M[t, s] times its value in full BPTT",
        "bpttref.strategies",
        _weighted_losses,
        (gradients, each_output, loss_weights, truncations),
        {"T": 3},
        door=OneShot,
        kept=NO_REFERENCE,
    ),
)
