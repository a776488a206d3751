"""A call depends on its arguments alone, and leaves them as they were."""

from collections.abc import Iterator

import numpy as np

from bpttcheck.blocks import case_arrays, named
from bpttcheck.cases import with_arrays
from bpttcheck.contract import TwoPhase
from bpttcheck.laws.law import Law, gradients, reusable
from bpttcheck.trial import Comparison, Refused, Trial, Violation, copied


def _unchanged(trial: Trial) -> Iterator[Comparison]:
    """The subject gets arrays that nobody else reads; the trial's own show what they were."""
    case, cotangents = with_arrays(trial.case, lambda _, array: array.copy()), copied(trial.cotangents)
    if reason := trial.capabilities.refusal(case):
        raise Refused(reason)
    assert isinstance(trial.subject, TwoPhase)
    outputs, pullback = trial.subject.vjp(case)
    returned = {name: np.array(array) for name, array in named(outputs).items()}
    if pullback is not None:
        pullback(cotangents)
    watched = (
        ("", case_arrays(trial.case), case_arrays(case)),
        ("the cotangent of ", named(trial.cotangents), named(cotangents)),
        ("the output ", returned, named(outputs)),
    )
    for what, before, after in watched:
        for name, array in before.items():
            if not np.array_equal(array, after[name], equal_nan=array.dtype.kind == "f"):
                raise Violation(f"{what}{name} was overwritten")
            yield Comparison(what + name, 0.0, 1.0)


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
    """Another problem, with other weights, runs between a call and its pullback."""
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
    ),
    Law(
        "same-call-same-result",
        "The same call again gives the same outputs and gradients.",
        "f is a function",
        "bpttcheck.contract",
        _twice,
        (),
    ),
    Law(
        "pullback-twice",
        "A pullback called again gives the same gradients.",
        "P is a function",
        "bpttcheck.contract",
        _pulled_twice,
        (gradients, reusable),
    ),
    Law(
        "two-pullbacks-alive",
        "A call for another problem does not disturb the pullback of an earlier one.",
        "P_a after f_b = P_a",
        "bpttcheck.contract",
        _two_alive,
        (gradients,),
    ),
)
