"""The interface ``loss_and_gradients``: implementations that compute their own loss, such as training loops."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bpttcheck.cases.blocks import Named, case_arrays, has_rows, has_steps
from bpttcheck.cases.changes import behind, of_steps, with_arrays, with_padding
from bpttcheck.contract import Cotangents, OneShot
from bpttcheck.dtypes import FORMATS
from bpttcheck.laws.batch import apart, take
from bpttcheck.laws.law import (
    NO_REFERENCE,
    RIGHT_NUMBERS,
    Law,
    Need,
    gradients,
    known_cell,
    lengths,
    streams,
    truncation,
)
from bpttcheck.measuring.comparisons import Comparison, Violation
from bpttcheck.measuring.trial import Trial
from bpttref import Regular

_STEPS, _ROWS = 32, 32
_BOOKKEEPING = 64  # bytes per step: links, edges of segments


def _loss(trial: Trial) -> Iterator[Comparison]:
    return trial.compare({"loss": trial.scored["loss"]}, trial.scored_measured.values, trial.scored_measured)


def _gradients(trial: Trial) -> Iterator[Comparison]:
    got = {name: array for name, array in trial.scored.items() if name != "loss"}
    return trial.compare(got, trial.scored_measured.values, trial.scored_measured)


def _again(trial: Trial) -> Iterator[Comparison]:
    case = with_arrays(trial.case, lambda _, array: array.copy())
    trial.score(case, copy=False)
    for name, before in case_arrays(trial.case).items():
        if not np.array_equal(before, case_arrays(case)[name]):
            raise Violation(f"{name} was overwritten")
    yield from trial.compare(trial.score(trial.case), trial.scored, trial.scored_measured)


def _rows_add_up(trial: Trial) -> Iterator[Comparison]:
    """Rows scored apart; a mean over all rows is the mean of their losses."""
    case, objective, B = trial.case, trial.case.objective, trial.case.B
    if case.lengths is not None or objective is None:
        return
    total: Named = {}
    for some in apart(trial):
        share = len(some) / B if trial.capabilities.reduction == "mean" else 1
        own = replace(objective, targets=objective.targets[:, some], scale=objective.scale / share)
        scored = trial.score(replace(take(case, Cotangents(), some)[0], objective=own))
        for name in scored:
            if not has_rows(name):
                total[name] = total.get(name, 0) + scored[name].astype(np.float64) * share
    yield from trial.compare(trial.scored, total, trial.scored_measured, trial.scored_measured)


def _padding(trial: Trial) -> Iterator[Comparison]:
    """One step more, which no row has, and other inputs and targets behind the ends of rows."""
    case, objective, T = trial.case, trial.case.objective, trial.case.T
    if objective is None or objective.weights is None or case.lengths is None:
        return
    steps = min((n for n in trial.capabilities.sizes.get("T", (T + 1,)) if n > T), default=T)
    t = np.minimum(np.arange(steps), T - 1)
    targets, weights = objective.targets[t], objective.weights[t]
    longer = of_steps(case, t)
    padding = behind(longer)
    if not padding.any():
        return
    number = trial.rng.choice([2] if trial.capabilities.padding == "finite" else [2, np.nan])
    targets[padding] = weights[padding] = 0
    moved = replace(with_padding(longer, number), objective=replace(objective, targets=targets, weights=weights))
    got = {name: a[:T] if has_steps(name) else a for name, a in trial.score(moved).items()}
    yield from trial.compare(got, trial.scored, trial.scored_measured, trial.scored_measured)


def _flat(trial: Trial) -> Iterator[Comparison]:
    """The sequence repeated up to 32 and 128 steps and 32 rows, in segments of 8."""
    if not trial.even:
        return
    T, B = trial.case.T, trial.case.B
    row = np.arange(_ROWS) % B
    assert trial.case.objective is not None
    peaks = []
    for steps in (_STEPS, 4 * _STEPS):
        t = np.arange(steps) % T
        weights = trial.case.objective.weights
        objective = replace(
            trial.case.objective,
            targets=trial.case.objective.targets[t][:, row],
            weights=None if weights is None else weights[t],
        )
        case = take(of_steps(trial.case, t), Cotangents(), row)[0]
        case = replace(case, truncation=Regular(8), objective=objective)
        tracemalloc.start()
        with np.errstate(all="ignore"):
            trial.score(case)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    one_step = case.x[0].nbytes + _BOOKKEEPING + (0 if objective.weights is None else 8)
    grown = peaks[1] - peaks[0] - 3 * _STEPS * (2 * one_step + objective.targets[0].nbytes)  # copies of inputs, and dx
    states = 3 * _STEPS * _ROWS * trial.case.sizes.get("H", 1) * FORMATS[trial.case.dtype].storage.itemsize
    yield Comparison("growth of the peak", float(max(0, grown)), float(states))


masks = Need(lambda asked: not asked.capabilities.padding_counts, "padding counts in the loss, as is declared")

LAWS = (
    Law(
        "loss-reference",
        "The loss equals the reference's, with its kind, scale and readout.",
        "L = scale * sum over t of w_t l(o_t, target_t)",
        "Dive into Deep Learning, 9.7.1; bpttref.losses",
        _loss,
        (known_cell,),
        door=OneShot,
        every_case=True,
        direct=True,
        kept=RIGHT_NUMBERS,
    ),
    Law(
        "objective-gradient-reference",
        "Every gradient of the objective, including the readout's, equals the reference's.",
        "dL/dW_qh = sum over t of do_t h_t'",
        "Dive into Deep Learning, 9.7.2",
        _gradients,
        (known_cell, gradients),
        door=OneShot,
        every_case=True,
        direct=True,
        kept=RIGHT_NUMBERS,
    ),
    Law(
        "same-loss-again",
        "The same call again gives the same loss and gradients, and overwrites nothing.",
        "f is a function",
        "bpttcheck.contract",
        _again,
        door=OneShot,
    ),
    Law(
        "loss-adds-up-over-rows",
        "The loss and its gradients are the sum over the rows, each run on its own, or the mean if you declare so.",
        "L = sum over b of L_b",
        "rows are independent",
        _rows_add_up,
        (),
        {"B": 2},
        door=OneShot,
        kept=NO_REFERENCE,
    ),
    Law(
        "loss-ignores-padding",
        "Padding after the end of a row, whatever its values and length, changes neither the loss nor its gradients.",
        "L depends only on x[t, b] and target[t, b] for t < lengths[b]",
        "definition of lengths",
        _padding,
        (lengths, masks),
        door=OneShot,
        kept=NO_REFERENCE,
    ),
    Law(
        "memory-follows-segments",
        "Apart from inputs and outputs, the memory of a truncated run does not grow with the number of steps.",
        "peak(4 T) - peak(T) < one state per step",
        "Dive into Deep Learning, 9.7.1.2: nothing before a cut is needed again",
        _flat,
        (gradients, truncation(Regular), streams),
        door=OneShot,
        cost=20,
    ),
)
