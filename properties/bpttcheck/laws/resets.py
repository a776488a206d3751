"""Rows that start anew inside a sequence: episodes of a policy, documents that are packed into one row."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from bpttcheck.cases.blocks import Named, has_steps
from bpttcheck.cases.changes import of_steps, only_ends, only_y
from bpttcheck.contract import Case, Cotangents
from bpttcheck.laws.batch import take
from bpttcheck.laws.law import NO_REFERENCE, SAYS_PLAINLY, Law, gradients, outputs, resets, some_output
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.trial import Trial
from bpttref import trees


def _separate(trial: Trial) -> Iterator[Comparison]:
    """Each stretch of a row between two resets, run on its own from where it starts."""
    if not trial.even:
        return
    T, b = trial.case.T, np.array([trial.rng.integers(trial.case.B)])
    case, cotangents = take(trial.case, trial.cotangents, b)
    flags = trial.rng.random((T, 1)) < 0.3
    flags[trial.rng.integers(1, T)] = True
    case = replace(case, resets=flags)
    (measured,) = trial.measure(case, cotangents)
    got, parts = trial.results(case, cotangents), [*_stretches(trial, case, cotangents)]
    joined: dict[str, Any] = {}
    last = parts[-1][1]
    for name in last:
        if has_steps(name):
            joined[name] = np.concatenate([part[name] for _, part in parts])
            if name == "y" and "last" in trial.capabilities.outputs:
                joined[name] = only_ends(case, joined[name])
        elif "final." in name:
            joined[name] = last[name]
        elif "initial." in name:
            zeros = np.zeros(last[name].shape)
            joined[name] = sum((part[name] for from_initial, part in parts if from_initial), zeros)
        else:
            joined[name] = sum((part[name] for _, part in parts), np.zeros(last[name].shape))
    for comparison in trial.compare(got, joined, measured, measured):
        yield replace(comparison, case=case)


def _stretches(trial: Trial, case: Case, cotangents: Cotangents) -> Iterator[tuple[bool, Named]]:
    """For each stretch of a row: whether it starts from the initial states, and its results."""
    assert case.resets is not None
    flags = case.resets[:, 0]
    edges = sorted({0, case.T, *np.flatnonzero(flags).tolist()})
    for start, stop in zip(edges, edges[1:], strict=False):
        from_initial = not flags[start] or case.reset_to == "initial"
        initial = case.initial if from_initial else trees.scale(case.initial, 0)
        piece = replace(of_steps(case, slice(start, stop)), resets=None, initial=initial)
        dy = None if cotangents.y is None else cotangents.y[start:stop]
        final = cotangents.final if stop == case.T else trees.scale(cotangents.final, 0)
        yield from_initial, trial.results(piece, Cotangents(dy, final))


def _none(trial: Trial) -> Iterator[Comparison]:
    """Flags of which none is set, and no flags."""
    if not trial.one_way:
        return
    none = np.zeros((trial.case.T, trial.case.B), bool)
    with_flags, without = replace(trial.case, resets=none), replace(trial.case, resets=None)
    (measured,) = trial.measure(without, trial.cotangents)
    got, expected = (trial.results(case, trial.cotangents) for case in (with_flags, without))
    yield from trial.compare(got, expected, measured, measured)


def _each_step(trial: Trial) -> Iterator[Comparison]:
    """As many rows of one step."""
    case, (dy, final) = trial.case, trial.cotangents
    T, B = case.T, case.B
    if not trial.even or dy is None:
        return
    after = 1.0 if case.reset_to == "initial" else 0.0
    initial = trees.each(lambda a: np.concatenate([a, *[(after * a).astype(a.dtype)] * (T - 1)]), case.initial)
    case = replace(case, resets=np.arange(T)[:, None] > np.zeros(B))
    in_one = trees.each(lambda a: a.reshape(1, T * B, *a.shape[2:]), case.x)
    single = replace(case, x=in_one, initial=initial, resets=None)
    if trial.calls.declines(single):
        return
    ends = trees.each(lambda a: np.concatenate([*[0 * a] * (T - 1), a]), final)
    (measured,) = trial.measure(case, trial.cotangents)
    apart = trial.results(single, Cotangents(dy.reshape(1, T * B, -1), ends))
    got = trial.results(case, trial.cotangents)
    expected = {}
    for name, array in apart.items():
        if has_steps(name):
            expected[name] = array.reshape(T, B, *array.shape[2:])
        elif "final." in name:
            expected[name] = array[-B:]
        elif "initial." in name:
            to_each = array.reshape(T, B, *array.shape[1:])
            expected[name] = to_each.sum(axis=0) if case.reset_to == "initial" else to_each[0]
        else:
            expected[name] = array
    yield from trial.compare(got, expected, measured, measured)


def _nothing_crosses(trial: Trial) -> Iterator[Comparison]:
    """Losses from a reset on send no gradient to the steps before it."""
    if not trial.one_way:
        return
    T, B = trial.case.T, trial.case.B
    t, b = int(trial.rng.integers(1, T)), int(trial.rng.integers(B))
    flags = np.zeros((T, B), bool) if trial.case.resets is None else trial.case.resets.copy()
    flags[t, b] = True
    late, case = only_y(trial.cotangents, slice(t, None)), replace(trial.case, resets=flags)
    got = _before(trial, trial.gradients_of(case, late), t, b)
    alive = _before(trial, trial.gradients_of(replace(case, resets=None), late), t, b)
    for comparison in trial.compare(got, trees.scale(got, 0), alive=alive):
        yield replace(comparison, case=case)


def _before(trial: Trial, gradients: Named, t: int, b: int) -> Named:
    return {name: a[:t, b] for name, a in trial.by_step(gradients).items()}


LAWS = (
    Law(
        "reset-is-a-new-row",
        "A row with resets gives the same results as its parts between the resets, each run as a row of its own.",
        "M[t, s] = 0 if there is a reset in (s, t]",
        "definition of a reset",
        _separate,
        (gradients, resets),
        {"T": 2},
        cost=2,
        kept=NO_REFERENCE,
    ),
    Law(
        "no-reset-is-none",
        "Reset flags that are all off change nothing.",
        "f(x; r = 0) = f(x)",
        "definition of a reset",
        _none,
        (gradients, resets),
        kept=SAYS_PLAINLY,
    ),
    Law(
        "reset-at-each-step",
        "With a reset before each step, a sequence gives the same results as separate rows of one step.",
        "M = identity",
        "definition of a reset",
        _each_step,
        (gradients, outputs("y"), resets),
        {"T": 2},
        kept=NO_REFERENCE,
    ),
    Law(
        "nothing-crosses-a-reset",
        "No gradient of a later loss reaches anything before a reset.",
        "d L_t / d x_s = 0 if there is a reset in (s, t]",
        "definition of a reset",
        _nothing_crosses,
        (gradients, some_output, resets),
        {"T": 2},
        kept=SAYS_PLAINLY,
    ),
)
