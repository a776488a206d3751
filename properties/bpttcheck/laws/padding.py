"""Rows of different lengths: numbers behind a row's end have no effect."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bpttcheck.cases.blocks import Named, has_steps
from bpttcheck.cases.changes import behind, of_steps, with_padding
from bpttcheck.contract import Cotangents
from bpttcheck.laws.batch import take
from bpttcheck.laws.law import NO_REFERENCE, Law, lengths
from bpttcheck.measuring.comparisons import Comparison, rows
from bpttcheck.measuring.tolerance import Measured
from bpttcheck.measuring.trial import Trial


def _ignored(trial: Trial) -> Iterator[Comparison]:
    case, dy = trial.case, trial.cotangents.y
    if not behind(case).any():
        return
    rubbish = [1e6] if trial.capabilities.padding == "finite" else [1e6, np.nan, np.inf]
    moved = with_padding(case, trial.rng.choice(rubbish))
    if dy is not None:
        dy = dy.copy()
        dy[behind(case)] = trial.rng.choice(rubbish)
    got = trial.results(moved, Cotangents(dy, trial.cotangents.final))
    expected = trial.returned
    yield from trial.compare(got, expected, trial.measured, trial.measured)


def _rows_alone(trial: Trial) -> Iterator[Comparison]:
    """A short row, and one without steps, each cut to its length and run on its own."""
    lengths = trial.case.lengths
    if lengths is None:
        return
    short, none = (lengths > 0) & (lengths < trial.case.T), (lengths == 0) & trial.capabilities.empty
    for among in (short, none):
        if among.any():
            yield from _row_alone(trial, int(trial.rng.choice(np.flatnonzero(among))))


def _row_alone(trial: Trial, b: int) -> Iterator[Comparison]:
    case, dy = trial.case, trial.cotangents.y
    assert case.lengths is not None
    steps = int(case.lengths[b])
    cut = of_steps(case, slice(steps))
    alone, cotangents = take(cut, Cotangents(None if dy is None else dy[:steps], trial.cotangents.final), np.array([b]))
    got = trial.results(replace(alone, lengths=None), cotangents)
    whole = trial.returned

    def part(arrays: Named) -> Named:
        return {n: a[:steps] if has_steps(n) else a for n, a in rows(arrays, np.array([b])).items()}

    scale = Measured({}, part(trial.measured.spread))
    yield from trial.compare(rows(got, np.array([0])), part(whole), scale, scale)


LAWS = (
    Law(
        "padding-ignored",
        "Padding after the end of a row changes no output and no gradient, whatever it holds (NaN if you declare so).",
        "f(x, lengths) depends only on x[t, b] for t < lengths[b]",
        "definition of lengths",
        _ignored,
        (lengths,),
        {"T": 2},
    ),
    Law(
        "ragged-row-alone",
        "A short row gives the same results as when it is cut to its length and run on its own, final state included.",
        "f(x, lengths)[:, b] = f(x[:lengths[b], b])",
        "definition of lengths",
        _rows_alone,
        (lengths,),
        {"T": 2},
        kept=NO_REFERENCE,
    ),
)
