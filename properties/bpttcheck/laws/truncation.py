"""Truncation leaves the forward pass alone, and its gradients are those of the rule."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from bpttcheck.cases.blocks import named
from bpttcheck.cases.changes import only_y
from bpttcheck.cases.truncations import COVERING, DRAWN, NO_TEMPORAL_TERM
from bpttcheck.contract import OneShot
from bpttcheck.laws.law import (
    NO_REFERENCE,
    RIGHT_NUMBERS,
    Law,
    Need,
    gradients,
    known_cell,
    outputs,
    right_numbers,
    truncation,
    truncations,
)
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.trial import Trial
from bpttref import Blocks, Last, Links, Random, Regular, Strategy, Window


def _covers(trial: Trial) -> Iterator[Comparison]:
    if not trial.one_way:
        return
    for kind in trial.capabilities.truncations:
        longer = 0 if kind is Links else int(trial.rng.integers(0, 3))
        got = trial.gradients_of(trial.truncated(COVERING[kind](len(trial.case.x) + longer)), trial.cotangents)
        yield from trial.compare(got, trial.gradients, trial.measured, trial.measured)


def _leaves_states(trial: Trial) -> Iterator[Comparison]:
    if not trial.one_way:
        return
    for kind in trial.capabilities.truncations:
        got = named(trial.run(trial.truncated(DRAWN[kind](trial.rng, len(trial.case.x))))[0])
        yield from trial.compare(got, trial.outputs, trial.measured, trial.measured)


def _no_temporal_term(trial: Trial) -> Iterator[Comparison]:
    """The loss at t reaches x_t and no other input."""
    kinds = [kind for kind in trial.capabilities.truncations if kind in NO_TEMPORAL_TERM]
    if not trial.one_way or not kinds:
        return
    t = int(trial.rng.integers(1, len(trial.case.x)))
    one = only_y(trial.cotangents, slice(t, t + 1))
    case = trial.truncated(NO_TEMPORAL_TERM[trial.one_of(kinds)](len(trial.case.x)))
    full, dx = (trial.by_step(trial.gradients_of(c, one)) for c in (trial.case, case))
    if full is not None and dx is not None:
        yield from trial.compare({"x": dx[:t]}, {"x": np.zeros_like(dx[:t])}, alive={"x": full[:t]})


def _reference(kind: type[Strategy]) -> Callable[[Trial], Iterator[Comparison]]:
    def check(trial: Trial) -> Iterator[Comparison]:
        if trial.one_way:
            case = trial.truncated(DRAWN[kind](trial.rng, len(trial.case.x)))
            (measured,) = trial.measure(case, trial.cotangents)
            for comparison in trial.compare(trial.gradients_of(case, trial.cotangents), measured.values, measured):
                yield replace(comparison, case=case)

    return check


def _objective(trial: Trial) -> Iterator[Comparison]:
    kinds = [kind for kind in trial.capabilities.truncations if kind is not Random]
    if trial.one_way and kinds:
        case = trial.truncated(DRAWN[trial.one_of(kinds)](trial.rng, len(trial.case.x)))
        measured = trial.measure_objective(case)
        for comparison in trial.compare(trial.score(case), measured.values, measured):
            yield replace(comparison, case=case)


single_steps = Need(
    lambda asked: NO_TEMPORAL_TERM.keys() & {*asked.capabilities.truncations},
    "no truncation to single steps is declared",
)

LAWS = (
    Law(
        "tau-covers-is-full",
        "A truncation that is longer than the sequence is full BPTT; so is a random one that keeps every link.",
        "M[t, s] = 1 for all s <= t",
        "Dive into Deep Learning, 9.7.1.2",
        _covers,
        (gradients, truncations),
    ),
    Law(
        "truncation-leaves-states",
        "Truncation changes no output and no state.",
        "cuts act on cotangents only",
        "Dive into Deep Learning, 9.7.1.2",
        _leaves_states,
        (truncations,),
        {"T": 1},
        kept=NO_REFERENCE,
    ),
    Law(
        "tau-one-has-no-temporal-term",
        "With tau = 1 a loss reaches the input of its own step alone.",
        "M = identity",
        "Dive into Deep Learning, 9.7.1.2",
        _no_temporal_term,
        (gradients, outputs("y"), truncations, single_steps),
        {"T": 2},
    ),
    *(
        Law(
            f"{kind.__name__.lower()}-reference",
            f"Every gradient of {kind.__name__.lower()} truncation is that of the reference.",
            "gradient = sum of M[t, s] C[t, s]",
            "bpttref.strategies",
            _reference(kind),
            (gradients, truncation(kind), right_numbers(kind)),
            {"T": 2},
            direct=True,
            kept="it sees the gradients of parameters and states; an X-ray sees those of the inputs",
        )
        for kind in (Regular, Window, Blocks, Last, Links)
    ),
    Law(
        "objective-truncated-reference",
        "Truncation changes no loss, and every truncated gradient of the objective is that of the reference.",
        "gradient = sum of M[t, s] C[t, s]",
        "bpttref.strategies",
        _objective,
        (gradients, known_cell, truncations),
        {"T": 2},
        door=OneShot,
        direct=True,
        kept=RIGHT_NUMBERS,
    ),
)
