"""Rows of a batch do not know of each other."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from bpttcheck.blocks import Named
from bpttcheck.contract import Case, Cotangents
from bpttcheck.laws.law import Law
from bpttcheck.tolerance import Measured
from bpttcheck.trial import Comparison, Trial, rows
from bpttref.arrays import Array


def _take(case: Case, cotangents: Cotangents, order: Array) -> tuple[Case, Cotangents]:
    """The rows ``order`` of a problem."""

    def states(tree: Any) -> Any:
        return tree and tuple(tuple({k: a[order] for k, a in leaf.items()} for leaf in layer) for layer in tree)

    lengths = None if case.lengths is None else case.lengths[order]
    some = replace(case, x=case.x[:, order], initial=states(case.initial), lengths=lengths)
    dy = None if cotangents.y is None else cotangents.y[:, order]
    return some, Cotangents(dy, states(cotangents.final))


def _whole(trial: Trial) -> Named:
    return trial.outputs | trial.gradients if trial.capabilities.gradients else trial.outputs


def _permutation(trial: Trial) -> Iterator[Comparison]:
    order = np.roll(trial.rng.permutation(trial.case.x.shape[1]), 1)
    got = trial.results(*_take(trial.case, trial.cotangents, order))
    expected = _whole(trial)
    expected = expected | rows(expected, order)
    spread = trial.measured.spread | rows(trial.measured.spread, order)
    yield from trial.compare(got, expected, Measured({}, spread), Measured({}, spread))


def _one_row(trial: Trial) -> Iterator[Comparison]:
    candidates = (
        np.arange(trial.case.x.shape[1])
        if trial.case.lengths is None
        else np.flatnonzero(trial.case.lengths == len(trial.case.x))
    )
    row = np.array([trial.rng.choice(candidates)])
    got = rows(trial.results(*_take(trial.case, trial.cotangents, row)), np.array([0]))
    spread = Measured({}, rows(trial.measured.spread, row))
    yield from trial.compare(got, rows(_whole(trial), row), spread, spread)


LAWS = (
    Law(
        "batch-permutation",
        "Permuting the rows permutes outputs and gradients; gradients of parameters stay.",
        "f(x[:, p]) = f(x)[:, p]",
        "rows are independent",
        _permutation,
        smallest={"B": 2},
    ),
    Law(
        "batch-independence",
        "A row on its own gives what it gives among others.",
        "f(x)[:, b] = f(x[:, b])",
        "rows are independent",
        _one_row,
        smallest={"B": 2},
    ),
)
