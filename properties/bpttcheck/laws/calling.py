"""Other ways to make the same call: without initial states, with one for all rows, with only some gradients wanted."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from bpttcheck.cases.blocks import Named, case_arrays, named
from bpttcheck.cases.changes import other_problem, with_arrays
from bpttcheck.cases.kinks import near_kink
from bpttcheck.cases.truncations import DRAWN
from bpttcheck.contract import Case, Implementation, OneShot, TwoPhase
from bpttcheck.laws.law import (
    Law,
    gradients,
    initial_states,
    initial_states_left_out,
    selects,
)
from bpttcheck.measuring.calls import AdapterError, Refused
from bpttcheck.measuring.comparisons import Comparison, Violation
from bpttcheck.measuring.completeness import kind
from bpttcheck.measuring.tolerance import Measured
from bpttcheck.measuring.trial import Trial
from bpttref import Random, trees
from bpttref.arrays import Array


def _left_out(trial: Trial) -> Iterator[Comparison]:
    states = trial.calls.started(trial.case)
    given = None if states is None else _another(trial, _perhaps_truncated(trial, replace(trial.case, initial=states)))
    if given is not None:
        yield from _or_not_taken(given, replace(given.case, initial=None), "no initial states are given")


def _one_for_all(trial: Trial) -> Iterator[Comparison]:
    """Rows of a view: code that writes to one row writes to all."""
    if trial.case.initial is None:
        return
    rows = trees.each(lambda states: np.repeat(states[:1], len(states), axis=0), trial.case.initial)
    given = _another(trial, replace(trial.case, initial=rows))
    if given is None:
        return
    shared = trees.each(_one_row_as_many, rows)
    before = trees.copy(shared)
    case = with_arrays(given.case, lambda _, array: array.copy())
    yield from _or_not_taken(given, replace(case, initial=shared), "one state is a view for all rows", copy=False)
    for was, now in zip(_arrays(before), _arrays(shared), strict=True):
        if not np.array_equal(was, now, equal_nan=True):
            raise Violation("an initial state that is one row, viewed as many, was written to")


def _pulled_once(trial: Trial) -> Iterator[Comparison]:
    outputs, pulling = trial.run(replace(trial.case, once=True))
    results = named(outputs) | trial.pull(pulling, trial.cotangents)
    yield from trial.compare(results, trial.returned, trial.measured, trial.measured)


def _outputs_alone(trial: Trial) -> Iterator[Comparison]:
    """Another problem of the same shapes, then this one, both only for their outputs; and then the usual call."""
    nothing = frozenset[str]() if trial.capabilities.selects else None
    expected = trial.returned
    trial.run(replace(other_problem(trial.case), wanted=nothing))
    outputs, _ = trial.run(replace(trial.case, wanted=nothing))
    yield from trial.compare(named(outputs), trial.outputs, trial.measured, trial.measured)
    yield from trial.compare(trial.results(trial.case, trial.cotangents), expected, trial.measured, trial.measured)


def _some_wanted(trial: Trial) -> Iterator[Comparison]:
    kinds = sorted({kind(name) for name in case_arrays(trial.case)} & {*trial.capabilities.gradients})
    choices = [frozenset(some) for n in range(1, len(kinds)) for some in combinations(kinds, n)]
    if choices:
        all_wanted = trial if trial.rng.random() < 0.5 else _another(trial, _perhaps_truncated(trial, trial.case))
        if all_wanted is not None:
            yield from _same(all_wanted, replace(all_wanted.case, wanted=trial.one_of(choices)))


def _perhaps_truncated(trial: Trial, case: Case) -> Case:
    """The case, half the time under a truncation that is declared, where truncation is defined."""
    rules = [rule for rule in trial.capabilities.truncations if rule is not Random]
    T = case.T
    if not rules or not trial.even or T < 3 or trial.rng.random() < 0.5:
        return case
    return replace(case, truncation=DRAWN[trial.one_of(rules)](trial.rng, T))


def _another(trial: Trial, case: Case) -> Trial | None:
    """The `Trial` of another case; None where rounding decides its results."""
    other = trial.beside(case)
    return None if near_kink(case) or not other.determined else other


def _or_not_taken(trial: Trial, case: Case, how: str, *, copy: bool = True) -> Iterator[Comparison]:
    """`_same`, where an implementation that raises is not tested with such a call: it need not support it."""
    trial.expect()
    try:
        yield from list(_same(trial, case, copy=copy))
    except AdapterError as error:
        cause = error.__cause__ or error
        raise Refused(f"where {how} the implementation raises {type(cause).__name__}: {cause}") from error


def _same(trial: Trial, case: Case, *, copy: bool = True) -> Iterator[Comparison]:
    """The call gives the same results as the ordinary call, through each interface of the implementation."""
    if isinstance(trial.subject, TwoPhase):
        outputs, pulling = trial.run(case, copy=copy)
        results = named(outputs)
        if trial.capabilities.gradients:
            results |= trial.pull(pulling, trial.cotangents)
        measured = Measured({}, _with_learned(trial, case, trial.measured.spread))
        yield from trial.compare(results, _with_learned(trial, case, trial.returned), measured, measured)
    if isinstance(trial.subject, OneShot) and case.objective is not None:
        measured = Measured({}, _with_learned(trial, case, trial.scored_measured.spread))
        expected = _with_learned(trial, case, trial.scored)
        yield from trial.compare(trial.score(case, copy=copy), expected, measured, measured)


def _with_learned(trial: Trial, case: Case, found: Named) -> Named:
    """Gradients, or their scales of error, for a case without initial states, from those at given ones: the parameter
    that such a state starts from gets its gradient, summed over the rows."""
    learned = trial.capabilities.default_initial
    if case.initial is not None or not isinstance(learned, Mapping):
        return found
    made = dict(found)
    for name in found:
        before, _, state = name.rpartition("initial.")
        if state in learned and f"initial.{state}" in name:
            parameter = before + learned[state]
            if parameter in made:
                made[parameter] = made[parameter].astype(np.float64) + found[name].sum(axis=0, dtype=np.float64)
    if "initial" not in trial.capabilities.gradients:
        made = {name: a for name, a in made.items() if name.rpartition(".")[2] not in learned.values()}
    return made


def _one_row_as_many(states: Array) -> Array:
    """A view whose rows are all the first row in memory; it is writable, so that code that writes to it is found."""
    row = states[0].copy()
    return as_strided(row, states.shape, (0, *row.strides))


def _arrays(states: Any) -> list[Array]:
    return [array for layer in states for leaf in layer for array in leaf.values()]


LAWS = (
    Law(
        "initial-left-out",
        "If no initial states are given, a run starts from zeros, or from the states that you declared.",
        "f(x) = f(x, 0)",
        "bpttcheck.contract",
        _left_out,
        (initial_states_left_out,),
        door=Implementation,
        voluntary=True,
    ),
    Law(
        "one-state-for-all-rows",
        "One initial state that is broadcast to all rows gives the same results as copies, and is not written to.",
        "f(x, s) = f(x, copy(s))",
        "bpttcheck.contract",
        _one_for_all,
        (initial_states,),
        {"B": 2},
        door=Implementation,
        voluntary=True,
    ),
    Law(
        "pulled-once",
        "A pullback that is announced to be called only once gives the same gradients as one that is kept.",
        "P(u) = P(u)",
        "bpttcheck.contract",
        _pulled_once,
        (gradients,),
    ),
    Law(
        "outputs-alone-before",
        "A call that wants only the outputs returns the same outputs, and does not change the next call.",
        "f(a) after y(b) = f(a)",
        "bpttcheck.contract",
        _outputs_alone,
        (gradients,),
    ),
    Law(
        "some-wanted",
        "A gradient is the same whether or not the other gradients are wanted.",
        "dw = dw of (dw, dx, dh)",
        "bpttcheck.contract",
        _some_wanted,
        (gradients, selects),
        door=Implementation,
    ),
)
