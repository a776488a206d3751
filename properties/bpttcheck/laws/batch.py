"""Rows of a batch do not affect each other."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from bpttcheck.cases.blocks import Named, has_rows
from bpttcheck.contract import Case, Cotangents
from bpttcheck.laws.law import NO_REFERENCE, Law, gradients, parameters
from bpttcheck.measuring.comparisons import Comparison, rows
from bpttcheck.measuring.tolerance import Measured
from bpttcheck.measuring.trial import Trial
from bpttref import trees
from bpttref.arrays import Array

_GROUPS = 3


def take(case: Case, cotangents: Cotangents, order: Array) -> tuple[Case, Cotangents]:
    """The rows ``order`` of a problem."""

    def states(tree: Any) -> Any:
        return tree and tuple(tuple({k: a[order] for k, a in leaf.items()} for leaf in layer) for layer in tree)

    lengths = None if case.lengths is None else case.lengths[order]
    x = trees.each(lambda stream: stream[:, order], case.x)
    resets = None if case.resets is None else case.resets[:, order]
    some = replace(case, x=x, initial=states(case.initial), lengths=lengths, resets=resets)
    dy = None if cotangents.y is None else cotangents.y[:, order]
    return some, Cotangents(dy, states(cotangents.final))


def _permutation(trial: Trial) -> Iterator[Comparison]:
    order = np.roll(trial.rng.permutation(trial.case.B), 1)
    got = trial.results(*take(trial.case, trial.cotangents, order))
    expected = trial.returned
    expected = expected | rows(expected, order)
    spread = trial.measured.spread | rows(trial.measured.spread, order)
    yield from trial.compare(got, expected, Measured({}, spread), Measured({}, spread))


def _one_row(trial: Trial) -> Iterator[Comparison]:
    row = np.array([trial.rng.integers(trial.case.B)])
    got = rows(trial.results(*take(trial.case, trial.cotangents, row)), np.array([0]))
    spread = Measured({}, rows(trial.measured.spread, row))
    yield from trial.compare(got, rows(trial.returned, row), spread, spread)


def apart(trial: Trial) -> list[Array]:
    """All rows, each on its own; in a large problem only one on its own, and the others in a few groups."""
    B = trial.case.B
    if not trial.large:
        return [np.array([b]) for b in range(B)]
    ends = np.unique([1, *trial.rng.integers(1, B, _GROUPS)])
    return np.split(trial.rng.permutation(B), ends)


def _sum_over_rows(trial: Trial) -> Iterator[Comparison]:
    if trial.case.lengths is not None:
        return
    total: Named = {}
    for some in apart(trial):
        gradients = trial.gradients_of(*take(trial.case, trial.cotangents, some))
        for name in trial.expected():
            if not has_rows(name):
                total[name] = total.get(name, 0) + gradients[name].astype(np.float64)
    yield from trial.compare(trial.gradients, total, trial.measured, trial.measured)


LAWS = (
    Law(
        "batch-gradient-is-sum",
        "The gradient of a parameter is the sum over the rows, each run on its own, or over groups of rows.",
        "dw = sum over b of dw_b",
        "rows are independent",
        _sum_over_rows,
        (gradients, parameters),
        {"B": 2},
        kept=NO_REFERENCE,
    ),
    Law(
        "batch-permutation",
        "Permuting the rows permutes outputs and gradients in the same way; gradients of parameters stay the same.",
        "f(x[:, p]) = f(x)[:, p]",
        "rows are independent",
        _permutation,
        smallest={"B": 2},
        kept=NO_REFERENCE,
    ),
    Law(
        "batch-independence",
        "A row gives the same results on its own as in a batch.",
        "f(x)[:, b] = f(x[:, b])",
        "rows are independent",
        _one_row,
        smallest={"B": 2},
        kept=NO_REFERENCE,
    ),
)
