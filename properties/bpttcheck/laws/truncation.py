"""Truncation keeps exactly the contributions that its rule names, and leaves the forward pass alone."""

from collections.abc import Iterator

import numpy as np

from bpttcheck.blocks import named
from bpttcheck.cases import only_y
from bpttcheck.contract import CustomCell
from bpttcheck.laws.law import Law, gradients, known_cell, reusable, truncation
from bpttcheck.tolerance import Measured
from bpttcheck.trial import Comparison, Trial
from bpttref import Regular, weights


def _defined(trial: Trial) -> bool:
    """Truncation goes forwards in time, over rows that all have T steps."""
    return trial.case.lengths is None and len(trial.case.parameters[0]) == 1


def _covers(trial: Trial) -> Iterator[Comparison]:
    if _defined(trial):
        case = trial.with_case(truncation=Regular(len(trial.case.x) + int(trial.rng.integers(0, 3))))
        got = trial.gradients_of(case, trial.cotangents)
        yield from trial.compare(got, trial.gradients, trial.measured, trial.measured)


def _no_temporal_term(trial: Trial) -> Iterator[Comparison]:
    """tau = 1: the loss at t reaches x_t and no other input."""
    T = len(trial.case.x)
    if T < 2 or not _defined(trial):
        return
    t = int(trial.rng.integers(1, T))
    dx = trial.gradients_of(trial.with_case(truncation=Regular(1)), only_y(trial.cotangents, slice(t, t + 1))).get("x")
    if dx is not None:
        yield from trial.compare({"x": dx[:t]}, {"x": np.zeros_like(dx[:t])})


def _xray(trial: Trial) -> Iterator[Comparison]:
    """Row t of the matrix M, seen through the inputs: M[t, s] times what full BPTT sends from t to x_s."""
    T = len(trial.case.x)
    if T < 3 or not _defined(trial):
        return
    tau = _not_dividing(trial, T)
    M = weights(Regular(tau), T)
    _, truncated = trial.vjp(trial.with_case(truncation=Regular(tau)))
    for t in sorted({T - 1, int(trial.rng.integers(1, T))}):
        one = only_y(trial.cotangents, slice(t, t + 1))
        full = trial.pull(trial.forward[1], one)
        got = trial.pull(truncated, one)
        if "x" not in got:
            return
        scale = trial.measure(one).spread["x"]
        row = M[t, 1:][:, None, None]
        yield from trial.compare({"x": got["x"]}, {"x": row * full["x"]}, Measured({}, {"x": 2 * row * scale}))


def _not_dividing(trial: Trial, T: int) -> int:
    """A tau that does not divide T where there is one: a remainder is where segments go wrong."""
    candidates = [tau for tau in range(2, T) if T % tau] or [2]
    return int(trial.rng.choice(candidates))


def _states(trial: Trial) -> Iterator[Comparison]:
    if _defined(trial):
        got = named(trial.vjp(trial.with_case(truncation=Regular(2)))[0])
        yield from trial.compare(got, trial.outputs, trial.measured, trial.measured)


def _regular(trial: Trial) -> Iterator[Comparison]:
    if len(trial.case.x) < 2 or not _defined(trial):
        return
    assert not isinstance(trial.case.cell, CustomCell)
    tau = _not_dividing(trial, len(trial.case.x))
    case = trial.with_case(truncation=Regular(tau))
    measured = trial.measure(trial.cotangents, case)
    yield from trial.compare(trial.gradients_of(case, trial.cotangents), measured.values, measured)


LAWS = (
    Law(
        "tau-covers-is-full",
        "Regular truncation with tau >= T is full BPTT.",
        "M[t, s] = 1 for all s <= t",
        "Dive into Deep Learning, 9.7.1.2",
        _covers,
        (gradients, truncation(Regular)),
    ),
    Law(
        "tau-one-has-no-temporal-term",
        "With tau = 1 a loss reaches the input of its own step alone.",
        "M = identity",
        "Dive into Deep Learning, 9.7.1.2",
        _no_temporal_term,
        (gradients, truncation(Regular)),
    ),
    Law(
        "xray-regular",
        "Regular truncation cuts before steps tau, 2 tau, .. and nowhere else, also where tau does not divide T.",
        "dx_s from the loss at t = M[t, s] times its value in full BPTT",
        "bpttref.strategies",
        _xray,
        (gradients, reusable, truncation(Regular)),
    ),
    Law(
        "regular-reference",
        "Every gradient of regular truncation is that of the reference.",
        "gradient = sum of M[t, s] C[t, s]",
        "bpttref.strategies",
        _regular,
        (gradients, known_cell, truncation(Regular)),
    ),
    Law(
        "truncation-leaves-states",
        "Truncation changes no output and no state.",
        "cuts act on cotangents only",
        "Dive into Deep Learning, 9.7.1.2",
        _states,
        (truncation(Regular),),
    ),
)
