"""Truncation does not change the forward pass, and its gradients follow the rule."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bpttcheck.cases.blocks import Named, has_rows, has_steps, named
from bpttcheck.cases.changes import of_steps, only_y, resets_far
from bpttcheck.cases.truncations import COVERING, DRAWN, NO_TEMPORAL_TERM, OF_STEPS, cuts
from bpttcheck.contract import Cotangents, Implementation, OneShot, TwoPhase
from bpttcheck.laws.batch import take
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
from bpttref import Blocks, Last, Links, Random, Regular, Strategy, Window, trees, weights
from bpttref.arrays import Array
from bpttref.network import States

_STEPS = 7  # of which the pieces are cut out
_OF_PIECES = (Regular, Window, Blocks, Last)


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
    """A truncation of each kind that is defined for the case and cuts something. Its numbers of steps are multiples of
    ``unit``; above 1 all kinds must have such numbers."""
    T = trial.case.T
    for kind in kinds:
        if trial.even or (trial.one_way and kind in OF_STEPS):
            strategy = DRAWN[kind](trial.rng, T // unit)
            if unit > 1:
                strategy = replace(strategy, **{name: steps * unit for name, steps in vars(strategy).items()})
            if cuts(strategy, T):
                yield strategy


def _cut_away(truncated: Named, full: Named) -> Named:
    """How much a truncation changes the gradients: where this is below rounding, nothing is proved."""
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


class Piece(NamedTuple):
    """steps: of the piece. losses: ``(T,)``, whether it has the loss of each step of the whole. of_initial: whether it
    goes back to the initial states of the whole, and not only to the first step."""

    steps: slice
    losses: Array
    of_initial: bool


def pieces_of(strategy: Strategy, T: int) -> list[Piece]:
    """The pieces of time whose full gradients add up to a truncated one: losses that go back equally far share a piece.

    In each row of M zeros are followed by ones: the rule drops all contributions before some step, and keeps the
    others.
    """
    M = weights(strategy, T)
    counts, back = M.any(axis=1), M.argmax(axis=1)
    found = []
    for column in np.unique(back[counts]):
        losses = counts & (back == column)
        steps = slice(max(int(column) - 1, 0), int(np.flatnonzero(losses)[-1]) + 1)
        found.append(Piece(steps, losses, column == 0))
    return found


def _by_pieces(trial: Trial) -> Iterator[tuple[Strategy, list[Piece]]]:
    """Truncations of the case, and their pieces. Links are only kept or cut: another law shows that gradients are
    affine in each multiplier, so these two values are enough."""
    unit, T, sizes = trial.unit, trial.case.T, trial.capabilities.sizes.get("T")
    strategies = [*_drawn(trial, [kind for kind in trial.capabilities.truncations if kind in _OF_PIECES], unit)]
    if Links in trial.capabilities.truncations:
        xi = np.ones(T)
        xi[unit::unit] = trial.rng.integers(0, 2, len(xi[unit::unit]))
        strategies += [Links(tuple(xi.tolist()))] * (not xi.all())
    for strategy in strategies:
        pieces = pieces_of(strategy, T)
        places = {piece.steps.start % unit for piece in pieces}
        if places == {0} and (sizes is None or {len(range(T)[piece.steps]) for piece in pieces} <= {*sizes}):
            yield strategy, pieces


def _pieces_alone(trial: Trial) -> Iterator[Comparison]:
    """Each piece starts from the states that the implementation returns there, in the rows that have not ended."""
    case, unit = trial.case, trial.unit
    if not trial.one_way or resets_far(case) or (case.lengths is not None and not case.lengths.all()):
        return
    trial = trial.of_first_steps(min(_STEPS, case.T // unit) * unit)
    states = {0: case.initial}
    for t in range(0, trial.case.T - unit, unit):
        step = replace(of_steps(case, slice(t, t + unit)), initial=states[t], lengths=None)
        states[t + unit] = trial.run(step)[0].final
    for strategy, pieces in _by_pieces(trial):
        total = {name: np.zeros(array.shape) for name, array in trial.gradients.items()}
        for piece in pieces:
            add_piece(total, trial, piece, states[piece.steps.start])
        truncated = trial.truncated(strategy)
        (measured,) = trial.measure(truncated, trial.cotangents)
        got, alive = trial.gradients_of(truncated, trial.cotangents), _cut_away(total, trial.gradients)
        for comparison in trial.compare(got, total, measured, measured, alive=alive):
            yield replace(comparison, case=truncated)


def add_piece(total: Named, trial: Trial, piece: Piece, initial: States | None) -> None:
    """Add the full gradients of the losses of a piece that starts from ``initial``."""
    case, (dy, final), steps = trial.case, trial.cotangents, piece.steps
    lengths = np.full(case.B, case.T) if case.lengths is None else case.lengths
    rows, ends_here = np.flatnonzero(lengths > steps.start), piece.losses[lengths - 1]
    if not rows.size:
        return
    left = None if case.lengths is None else np.minimum(lengths, steps.stop) - steps.start
    whole = replace(of_steps(case, steps), initial=initial, lengths=left)
    given = Cotangents(
        None if dy is None else (dy.T * piece.losses).T[steps],
        trees.each(lambda a: (a.T * ends_here).T, final),
    )
    for name, array in trial.gradients_of(*take(whole, given, rows)).items():
        if has_steps(name):
            total[name][steps][:, rows] += array
        elif not has_rows(name):
            total[name] += array
        elif piece.of_initial:
            total[name][rows] += array


single_steps = Need(
    lambda asked: NO_TEMPORAL_TERM.keys() & {*asked.capabilities.truncations},
    "no truncation to single steps is declared",
)

of_pieces = Need(
    lambda asked: {*_OF_PIECES, Links} & {*asked.capabilities.truncations},
    "no truncation whose pieces are known beforehand is declared",
)

LAWS = (
    Law(
        "tau-covers-is-full",
        "Truncation longer than the sequence is full BPTT; so is random truncation that keeps every link.",
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
        "With tau = 1, a loss reaches only the input of its own step.",
        "M = identity",
        "Dive into Deep Learning, 9.7.1.2",
        _no_temporal_term,
        (gradients, outputs("y"), truncations, single_steps),
        {"T": 2},
    ),
    *(
        Law(
            f"{kind.__name__.lower()}-reference",
            f"Every gradient under {kind.__name__.lower()} truncation equals the reference's.",
            "gradient = sum of M[t, s] C[t, s]",
            "bpttref.strategies",
            _reference(kind),
            (gradients, truncation(kind), right_numbers(kind)),
            {"T": 2},
            direct=True,
            kept="it checks the gradients of parameters and states; an X-ray checks the gradients of the inputs",
        )
        for kind in (Regular, Window, Blocks, Last, Links)
    ),
    Law(
        "pieces-alone",
        "A truncated gradient is the sum of the full gradients of the pieces that the rule keeps, each run on its own; "
        "an initial state gets the gradients of the pieces that reach back to it.",
        "gradient = sum over pieces of full BPTT from the states where they begin",
        "Dive into Deep Learning, 9.7.1.2",
        _pieces_alone,
        (gradients, carried_states, of_pieces),
        {"T": 3},
        cost=4,
        kept=NO_REFERENCE,
    ),
    Law(
        "objective-truncated-reference",
        "Truncation changes no loss, and every truncated gradient of the objective equals the reference's.",
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
