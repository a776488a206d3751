"""Memory: a truncated run needs what its segments need, however long the sequence is."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bpttcheck.contract import Cotangents, OneShot
from bpttcheck.laws.batch import take
from bpttcheck.laws.law import Law, gradients, streams, truncation
from bpttcheck.trial import Comparison, Trial
from bpttref import Regular

_STEPS, _ROWS = 64, 32
_BOOKKEEPING = 64  # bytes per step: links, edges of segments


def _flat(trial: Trial) -> Iterator[Comparison]:
    """On some of the cases: the sequence repeated up to 64 and 256 steps and 32 rows, in segments of 8."""
    if not trial.one_way or trial.rng.random() > 0.3:
        return
    T, B = trial.case.x.shape[:2]
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
        case = take(trial.with_case(x=trial.case.x[t]), Cotangents(), row)[0]
        case = replace(case, truncation=Regular(8), objective=objective)
        tracemalloc.start()
        with np.errstate(all="ignore"):
            trial.loss_and_gradients(case)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    one_step = case.x[0].nbytes + _BOOKKEEPING + (0 if objective.weights is None else 8)
    grown = peaks[1] - peaks[0] - 3 * _STEPS * (2 * one_step + objective.targets[0].nbytes)  # copies of inputs, and dx
    states = 3 * _STEPS * _ROWS * trial.case.sizes.get("H", 1) * np.dtype(trial.case.dtype).itemsize
    yield Comparison("growth of the peak", float(max(0, grown)), float(states))


LAWS = (
    Law(
        "memory-follows-segments",
        "The memory of a truncated run, beyond its inputs and outputs, does not grow with the number of steps.",
        "peak(4 T) - peak(T) < one state per step",
        "D2L 9.7.1.2: what lies before a cut is not needed again",
        _flat,
        (gradients, truncation(Regular), streams),
        door=OneShot,
    ),
)
