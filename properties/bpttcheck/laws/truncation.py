"""Truncation leaves the forward pass alone, and its gradients are those of the rule."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from bpttcheck.cases.blocks import Named, has_steps, named
from bpttcheck.cases.changes import of_steps, only_y, resets_far
from bpttcheck.cases.truncations import COVERING, DRAWN, NO_TEMPORAL_TERM, OF_STEPS, cuts
from bpttcheck.contract import Cotangents, Implementation, OneShot, TwoPhase
from bpttcheck.laws.law import (
    NO_REFERENCE,
    RIGHT_NUMBERS,
    Law,
    Need,
    carried_states,
    gradients,
    known_cell,
    outputs,
    right_numbers,
    truncation,
    truncations,
)
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.trial import Trial
from bpttref import Blocks, Last, Links, Random, Regular, Strategy, Window, trees

_STEPS = 7  # of which the pieces are cut out
_BY_PIECES = (Regular, Window, Blocks, Last)


def _covers(trial: Trial) -> Iterator[Comparison]:
    if not trial.one_way:
        return
    for kind in trial.capabilities.truncations:
        longer = 0 if kind is Links else int(trial.rng.integers(0, 3))
        case = trial.truncated(COVERING[kind](trial.case.T + longer))
        if isinstance(trial.subject, TwoPhase):
            got = trial.gradients_of(case, trial.cotangents)
            yield from trial.compare(got, trial.gradients, trial.measured, trial.measured)
        if isinstance(trial.subject, OneShot) and case.objective is not None:
            yield from trial.compare(trial.score(case), trial.scored, trial.scored_measured, trial.scored_measured)


def _leaves_states(trial: Trial) -> Iterator[Comparison]:
    for strategy in _drawn(trial, trial.capabilities.truncations):
        case = trial.truncated(strategy)
        if isinstance(trial.subject, TwoPhase):
            got = named(trial.run(case)[0])
            yield from trial.compare(got, trial.outputs, trial.measured, trial.measured)
        if isinstance(trial.subject, OneShot) and case.objective is not None:
            loss, expected = ({"loss": scored["loss"]} for scored in (trial.score(case), trial.scored))
            yield from trial.compare(loss, expected, trial.scored_measured, trial.scored_measured)


def _drawn(trial: Trial, kinds: Iterable[type[Strategy]], unit: int = 1) -> Iterator[Strategy]:
    """A truncation of each kind that is defined for the case and cuts something; at multiples of ``unit``, which those
    rules know that are numbers of steps."""
    T = trial.case.T
    for kind in kinds:
        if trial.even or (trial.one_way and kind in OF_STEPS):
            strategy = DRAWN[kind](trial.rng, T // unit)
            if unit > 1:
                strategy = replace(strategy, **{name: steps * unit for name, steps in vars(strategy).items()})
            if cuts(strategy, T):
                yield strategy


def _cut_away(truncated: Named, full: Named) -> Named:
    """How much a truncation changes: where that is below rounding, nothing is said of it."""
    return {name: array - full[name] for name, array in truncated.items() if name in full}


def _no_temporal_term(trial: Trial) -> Iterator[Comparison]:
    """The loss at t reaches x_t and no other input."""
    if not trial.one_way:
        return
    t = int(trial.rng.integers(1, trial.case.T))
    one = only_y(trial.cotangents, slice(t, t + 1))
    full = trial.by_step(trial.pull(trial.forward[1], one))
    for kind in trial.capabilities.truncations:
        if kind not in NO_TEMPORAL_TERM:
            continue
        case = trial.truncated(NO_TEMPORAL_TERM[kind](trial.case.T))
        early = {name: dx[:t] for name, dx in trial.by_step(trial.gradients_of(case, one)).items()}
        alive = {name: dx[:t] for name, dx in full.items()}
        for comparison in trial.compare(early, trees.scale(early, 0), alive=alive):
            yield replace(comparison, case=case)


def _reference(kind: type[Strategy]) -> Callable[[Trial], Iterator[Comparison]]:
    def check(trial: Trial) -> Iterator[Comparison]:
        for strategy in _drawn(trial, (kind,)):
            case = trial.truncated(strategy)
            (measured,) = trial.measure(case, trial.cotangents)
            got, alive = trial.gradients_of(case, trial.cotangents), _cut_away(measured.values, trial.measured.values)
            for comparison in trial.compare(got, measured.values, measured, alive=alive):
                yield replace(comparison, case=case)

    return check


def _objective(trial: Trial) -> Iterator[Comparison]:
    kinds = [kind for kind in trial.capabilities.truncations if kind is not Random]
    for strategy in _drawn(trial, kinds):
        case = trial.truncated(strategy)
        measured = trial.measure_objective(case)
        alive = _cut_away(measured.values, trial.scored_measured.values)
        unchanged = {"loss", *case.objective.readout} if case.objective else set()  # by no truncation
        alive |= {name: measured.values[name] for name in unchanged & measured.values.keys()}
        for comparison in trial.compare(trial.score(case), measured.values, measured, alive=alive):
            yield replace(comparison, case=case)


def _pieces(strategy: Strategy, T: int) -> list[tuple[int, int, int]]:
    """The pieces of time whose full gradients add up to a truncated one: first step, last step + 1, first loss."""
    if isinstance(strategy, Regular):
        return [(s, min(s + strategy.tau, T), s) for s in range(0, T, strategy.tau)]
    if isinstance(strategy, Last):
        return [(T - strategy.k, T, T - strategy.k)]
    k1, k2 = (1, strategy.tau) if isinstance(strategy, Window) else (strategy.k1, strategy.k2)  # type: ignore[union-attr]
    return [(max(0, min(b + k1, T) - k2), min(b + k1, T), b) for b in range(0, T, k1)]


def _pieces_alone(trial: Trial) -> Iterator[Comparison]:
    """Each piece starts from the states that the subject returns there. Gradients of initial states are left out: which
    windows reach them differs."""
    if not trial.even or trial.cotangents.y is None or resets_far(trial.case):
        return
    unit, allowed = trial.unit, trial.capabilities.sizes.get("T")
    trial = trial.of_first_steps(min(_STEPS, trial.case.T // unit) * unit)
    T, dy, states = trial.case.T, trial.cotangents.y, {0: trial.case.initial}
    assert dy is not None
    for t in range(0, T - unit, unit):
        piece = replace(of_steps(trial.case, slice(t, t + unit)), initial=states[t])
        states[t + unit] = trial.run(piece)[0].final
    kinds = [kind for kind in trial.capabilities.truncations if kind in _BY_PIECES]
    for strategy in _drawn(trial, kinds, unit):
        lengths = {stop - start for start, stop, _ in _pieces(strategy, T)}
        if allowed is not None and lengths - {*allowed}:
            continue
        total = {name: np.zeros(array.shape) for name, array in trial.gradients.items() if "initial." not in name}
        for start, stop, loss in _pieces(strategy, T):
            piece = replace(of_steps(trial.case, slice(start, stop)), initial=states[start])
            at_losses = dy[start:stop] * (np.arange(start, stop) >= loss)[:, None, None].astype(dy.dtype)
            final = trial.cotangents.final if stop == T else None
            for name, array in trial.gradients_of(piece, Cotangents(at_losses, final)).items():
                if name in total:
                    at = slice(start, stop) if has_steps(name) else slice(None)
                    total[name][at] += array
        case = trial.truncated(strategy)
        (measured,) = trial.measure(case, trial.cotangents)
        got, alive = trial.gradients_of(case, trial.cotangents), _cut_away(total, trial.gradients)
        for comparison in trial.compare(got, total, measured, measured, alive=alive):
            yield replace(comparison, case=case)


single_steps = Need(
    lambda asked: NO_TEMPORAL_TERM.keys() & {*asked.capabilities.truncations},
    "no truncation to single steps is declared",
)

by_pieces = Need(
    lambda asked: {*_BY_PIECES} & {*asked.capabilities.truncations},
    "neither regular, window, blocks nor last truncation is declared",
)

LAWS = (
    Law(
        "tau-covers-is-full",
        "A truncation that is longer than the sequence is full BPTT; so is a random one that keeps every link.",
        "M[t, s] = 1 for all s <= t",
        "Dive into Deep Learning, 9.7.1.2",
        _covers,
        (gradients, truncations),
        door=Implementation,
    ),
    Law(
        "truncation-leaves-states",
        "Truncation changes no output, no state and no loss.",
        "cuts act on cotangents only",
        "Dive into Deep Learning, 9.7.1.2",
        _leaves_states,
        (truncations,),
        {"T": 1},
        door=Implementation,
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
        "pieces-alone",
        "A truncated gradient is the sum of the full gradients of the pieces that the rule keeps, each run on its own.",
        "gradient = sum over pieces of full BPTT from the states where they begin",
        "Dive into Deep Learning, 9.7.1.2",
        _pieces_alone,
        (gradients, outputs("y"), carried_states, by_pieces),
        {"T": 3},
        cost=4,
        kept=NO_REFERENCE,
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
