"""A call depends on its arguments alone, and leaves them as they were."""

from collections.abc import Iterator

import numpy as np

from bpttcheck.blocks import Named, case_arrays, named
from bpttcheck.cases import with_arrays
from bpttcheck.laws.law import Law, gradients, reusable
from bpttcheck.trial import Comparison, Trial, Violation


def _unchanged(trial: Trial) -> Iterator[Comparison]:
    before = {name: a.copy() for name, a in _given(trial).items()}
    outputs, pullback = trial.vjp(trial.case)
    returned = {f"output {name}": np.array(a) for name, a in named(outputs).items()}
    if trial.capabilities.gradients:
        trial.pull(pullback, trial.cotangents)
    after = _given(trial) | {f"output {name}": a for name, a in named(outputs).items()}
    for name, array in (before | returned).items():
        if not np.array_equal(array, after[name], equal_nan=True):
            raise Violation(f"{name} was overwritten")
        yield Comparison(name, 0.0, 1.0)


def _given(trial: Trial) -> Named:
    cotangents = {f"cotangent of {name}": a for name, a in named(trial.cotangents).items()}
    return case_arrays(trial.case) | cotangents


def _twice(trial: Trial) -> Iterator[Comparison]:
    outputs, pullback = trial.vjp(trial.case)
    yield from trial.compare(named(outputs), trial.outputs, trial.measured)
    if trial.capabilities.gradients:
        yield from trial.compare(trial.pull(pullback, trial.cotangents), trial.gradients, trial.measured)


def _pulled_twice(trial: Trial) -> Iterator[Comparison]:
    _, pullback = trial.vjp(trial.case)
    trial.pull(pullback, trial.cotangents)
    yield from trial.compare(trial.pull(pullback, trial.cotangents), trial.gradients, trial.measured)


def _two_alive(trial: Trial) -> Iterator[Comparison]:
    """Another problem, with other weights and one step less, runs between a call and its pullback."""
    _, pullback = trial.vjp(trial.case)
    other = with_arrays(trial.case, lambda name, a: (0.5 * a + 0.25).astype(a.dtype))
    trial.vjp(other)
    yield from trial.compare(trial.pull(pullback, trial.cotangents), trial.gradients, trial.measured)


LAWS = (
    Law(
        "nothing-overwritten",
        "Inputs, parameters, cotangents and returned outputs stay as they were.",
        "arguments are read-only",
        "bpttcheck.contract",
        _unchanged,
        (),
        ("dropped-weight-written-back", "dy-overwritten-by-dx", "delta-aliases-output"),
    ),
    Law(
        "same-call-same-result",
        "The same call again gives the same outputs and gradients.",
        "f is a function",
        "bpttcheck.contract",
        _twice,
        (),
        ("reset-ineffective", "bias-grad-accumulates", "stale-packed-weights"),
    ),
    Law(
        "pullback-twice",
        "A pullback called again gives the same gradients.",
        "P is a function",
        "bpttcheck.contract",
        _pulled_twice,
        (gradients, reusable),
        ("two-gradients-differ",),
    ),
    Law(
        "two-pullbacks-alive",
        "A call for another problem does not disturb the pullback of an earlier one.",
        "P_a after f_b = P_a",
        "bpttcheck.contract",
        _two_alive,
        (gradients,),
        ("cache-key-incomplete",),
    ),
)
