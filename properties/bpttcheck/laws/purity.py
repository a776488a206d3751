"""A call depends only on its arguments, and does not change them."""

from collections.abc import Iterator

import numpy as np

from bpttcheck.cases.blocks import case_arrays, named
from bpttcheck.cases.changes import copied, of_steps, other_problem, with_arrays
from bpttcheck.contract import Cotangents
from bpttcheck.laws.batch import take
from bpttcheck.laws.law import SAYS_PLAINLY, Law, gradients, reusable
from bpttcheck.measuring.comparisons import Comparison, Violation
from bpttcheck.measuring.handing import Handed
from bpttcheck.measuring.trial import Trial


def _unchanged(trial: Trial) -> Iterator[Comparison]:
    """The implementation gets copies of the arrays; the originals show whether it changed them."""
    case, cotangents = with_arrays(trial.case, lambda _, array: array.copy()), _copied(trial.handed)
    outputs, pullback = trial.run(case, copy=False)
    returned = {name: np.array(array) for name, array in named(outputs).items()}
    if pullback is not None:
        trial.calls.pull(pullback, cotangents)
    watched = (
        ("", case_arrays(trial.case), case_arrays(case)),
        ("the cotangent of ", named(trial.handed.cotangents), named(cotangents.cotangents)),
        ("the output ", returned, named(outputs)),
    )
    for what, before, after in watched:
        for name, array in before.items():
            if not np.array_equal(array, after[name], equal_nan=array.dtype.kind == "f"):
                raise Violation(f"{what}{name} was overwritten")
            yield Comparison(what + name, 0.0, 1.0)


def _twice(trial: Trial) -> Iterator[Comparison]:
    outputs, pullback = trial.run(trial.case)
    yield from trial.compare(named(outputs), trial.outputs, trial.measured)
    if trial.capabilities.gradients:
        yield from trial.compare(trial.pull(pullback, trial.cotangents), trial.gradients, trial.measured)


def _pulled_twice(trial: Trial) -> Iterator[Comparison]:
    """The second time the same arrays hold other cotangents: their negatives, which round in the same way."""
    _, pullback = trial.run(trial.case)
    cotangents = _copied(trial.handed)
    first = {name: np.array(array) for name, array in trial.pull(pullback, cotangents).items()}
    for array in named(cotangents.cotangents).values():
        np.negative(array, out=array)
    second = trial.pull(pullback, cotangents)
    yield from trial.compare(first, trial.gradients, trial.measured)
    yield from trial.compare({name: -array for name, array in second.items()}, trial.gradients, trial.measured)


def _two_alive(trial: Trial) -> Iterator[Comparison]:
    """Another problem, with other weights, runs between a call and its pullback, and is pulled back first."""
    _, pullback = trial.run(trial.case)
    _, second = trial.run(other_problem(trial.case))
    trial.pull(second, trial.cotangents)
    yield from trial.compare(trial.pull(pullback, trial.cotangents), trial.gradients, trial.measured)


def _results_stay(trial: Trial) -> Iterator[Comparison]:
    """The arrays themselves are watched, not copies, while another problem of the same shapes is run."""
    case, cotangents = with_arrays(trial.case, lambda _, array: array.copy()), _copied(trial.handed)
    outputs, pullback = trial.run(case, copy=False)
    returned = named(outputs)
    if trial.capabilities.gradients:
        returned = returned | trial.pull(pullback, cotangents)
    given = {f"the argument {name}": array for name, array in case_arrays(case).items()}
    given |= {f"the cotangent of {name}": array for name, array in named(cotangents.cotangents).items()}
    watched = given | {f"{name}, once returned,": array for name, array in returned.items()}
    before = {name: np.array(array) for name, array in watched.items()}
    trial.results(other_problem(trial.case), trial.cotangents)
    for name, array in watched.items():
        if not np.array_equal(array, before[name], equal_nan=True):
            raise Violation(f"{name} was overwritten by the next call")
        yield Comparison(name, 0.0, 1.0)


def _interleaved(trial: Trial) -> Iterator[Comparison]:
    """One row and a shorter sequence run before the same call is made again."""
    case, row = trial.case, np.array([0])
    if not trial.even:
        return
    short, cotangents = take(of_steps(case, slice(trial.unit)), trial.cotangents, row)
    trial.results(short, Cotangents(None if cotangents.y is None else cotangents.y[: trial.unit], cotangents.final))
    yield from trial.compare(trial.results(case, trial.cotangents), trial.returned, trial.measured)


def _copied(given: Handed) -> Handed:
    return given._replace(cotangents=copied(given.cotangents))


LAWS = (
    Law(
        "nothing-overwritten",
        "Inputs, parameters, cotangents and returned outputs are not overwritten.",
        "arguments are read-only",
        "bpttcheck.contract",
        _unchanged,
        kept=SAYS_PLAINLY,
    ),
    Law(
        "same-call-same-result",
        "The same call again gives the same outputs and gradients.",
        "f is a function",
        "bpttcheck.contract",
        _twice,
        kept=SAYS_PLAINLY,
    ),
    Law(
        "pullback-twice",
        "A pullback that is called again gives the gradients for its new cotangents, even in the same arrays.",
        "P(u), then P(-u) = -P(u)",
        "bpttcheck.contract",
        _pulled_twice,
        (gradients, reusable),
        kept=SAYS_PLAINLY,
    ),
    Law(
        "results-stay",
        "The next call overwrites neither the outputs and gradients of an earlier call nor its arguments.",
        "f(a) stays after f(b)",
        "bpttcheck.contract",
        _results_stay,
        kept=SAYS_PLAINLY,
    ),
    Law(
        "shapes-interleaved",
        "A call with a shorter sequence and fewer rows does not change the next call.",
        "f(a) after f(b) = f(a)",
        "bpttcheck.contract",
        _interleaved,
        smallest={"T": 2},
        kept=SAYS_PLAINLY,
    ),
    Law(
        "two-pullbacks-alive",
        "A call with another problem, and its pullback, do not change the pullback of an earlier call.",
        "P_a after f_b = P_a",
        "bpttcheck.contract",
        _two_alive,
        (gradients,),
        kept=SAYS_PLAINLY,
    ),
)
