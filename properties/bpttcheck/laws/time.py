"""Time: a sequence may be split and resumed, and nothing depends on later steps."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, starmap

import numpy as np

from bpttcheck.cases.blocks import Named, has_steps, named
from bpttcheck.cases.changes import handed_back, of_steps, only_ends, resets_far, with_other_steps
from bpttcheck.contract import Case, Cotangents, Gradients
from bpttcheck.laws.law import (
    NO_REFERENCE,
    Law,
    carried_cotangents,
    carried_states,
    each_output,
    gradients,
    several_chunks,
)
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.completeness import wanted
from bpttcheck.measuring.tolerance import Measured
from bpttcheck.measuring.trial import Trial
from bpttref import trees

_CALLS = 32


def _split(trial: Trial) -> tuple[Case, Case, int] | None:
    """The case up to a step that no row ends before, and the rest, for the states between; None if there is none."""
    case = trial.case
    shortest = case.T if case.lengths is None else int(case.lengths.min(initial=case.T))
    if not trial.one_way or shortest < 2:
        return None
    places = _places(trial, shortest)
    if not places:
        return None
    k = trial.one_of(places)
    lengths = None if case.lengths is None else case.lengths - k
    head, tail = of_steps(case, slice(k)), of_steps(case, slice(k, None))
    if resets_far(tail):
        return None
    return replace(head, lengths=None), replace(tail, lengths=lengths), k


def _places(trial: Trial, shortest: int) -> Sequence[int]:
    """Where a sequence may be split: into sizes that are declared, and, half of the time, at the edge of a chunk."""
    T, sizes, chunk = trial.case.T, trial.capabilities.sizes.get("T"), trial.case.chunk
    places: Sequence[int] = range(1, shortest)
    if sizes is not None:
        places = [k for k in places if k in sizes and T - k in sizes]
    if chunk and (edges := [k for k in places if k % chunk == 0]) and trial.rng.random() < 0.5:
        return edges
    return places


def _states(trial: Trial) -> Iterator[Comparison]:
    if not (split := _split(trial)):
        return
    head, tail, _ = split
    first = trial.run(head)[0]
    second = trial.run(replace(tail, initial=first.final))[0]
    joined = named(second)
    if first.y is not None and second.y is not None:
        joined["y"] = np.concatenate([first.y, second.y])
    if "last" in trial.capabilities.outputs and "y" in joined:
        joined["y"] = only_ends(trial.case, joined["y"])
    yield from trial.compare(joined, trial.outputs, trial.measured, trial.measured)


def _pullbacks(trial: Trial) -> Iterator[Comparison]:
    dy = trial.cotangents.y
    if not (split := _split(trial)) or dy is None:
        return
    head, tail, k = split
    first, pull_first = trial.run(head)
    _, pull_second = trial.run(replace(tail, initial=first.final))
    second = trial.calls.pull(pull_second, Cotangents(dy[k:], trial.cotangents.final))
    between = handed_back(trial.case, second.initial, first.final)
    g1, g2 = trial.pull(pull_first, Cotangents(dy[:k], between)), named(second)
    joined: Named = {}
    for name in g1.keys() & g2.keys():
        if has_steps(name):
            joined[name] = np.concatenate([g1[name], g2[name]])
        else:
            joined[name] = g1[name] if "initial." in name else g1[name].astype(np.float64) + g2[name]
    yield from trial.compare(joined, trial.gradients, trial.measured, trial.measured)


def _tied(trial: Trial) -> Iterator[Comparison]:
    """One call for each step, or for the least declared number of steps; the gradients of the parameters add up.

    In a large problem each call except the first has more steps, and there are `_CALLS` at most.
    """
    case, dy = trial.case, trial.cotangents.y
    if not trial.even or dy is None:
        return
    state, pieces = case.initial, []
    if case.T % trial.unit or resets_far(case):
        return
    for steps in _steps_apart(trial):
        outputs, pullback = trial.run(replace(of_steps(case, steps), initial=state))
        state = outputs.final
        pieces.append((steps, pullback))
    final, total = trial.cotangents.final, None
    for steps, pullback in reversed(pieces):
        gradients = trial.calls.pull(pullback, Cotangents(dy[steps], final))
        total = trees.add(total, gradients.parameters)
        final = handed_back(case, gradients.initial, trial.cotangents.final)
    summed = wanted(named(Gradients(None, total, final)), case)
    yield from trial.compare(summed, trial.gradients, trial.measured, trial.measured)


def _steps_apart(trial: Trial) -> Iterator[slice]:
    """All steps in order, a unit of steps at a time, or more where the problem is large."""
    places = np.arange(trial.unit, trial.case.T, trial.unit)
    if trial.large and "T" not in trial.capabilities.sizes:
        later = trial.rng.permutation(places[1:])[: _CALLS - 2]
        places = np.sort(np.append(places[:1], later))
    return starmap(slice, pairwise([0, *places.tolist(), trial.case.T]))


def _causality(trial: Trial) -> Iterator[Comparison]:
    """Later inputs do not move earlier outputs; a cotangent does not reach later inputs."""
    if not (split := _split(trial)):
        return
    *_, k = split
    moved = named(trial.run(with_other_steps(trial.case, k))[0])
    if "y" in trial.outputs:
        before = {"y": moved["y"][:k]}
        yield from trial.compare(before, {"y": trial.outputs["y"][:k]}, _first(trial, k))
    dy = trial.cotangents.y
    if "x" in trial.capabilities.gradients and dy is not None:
        early = Cotangents(np.where(np.arange(len(dy))[:, None, None] < k, dy, 0).astype(dy.dtype))
        late = {n: dx[k:] for n, dx in trial.gradients_of(trial.case, early).items() if has_steps(n)}
        alive = {n: trial.gradients[n][k:] for n in late}
        yield from trial.compare(late, trees.scale(late, 0), alive=alive)


def _other_chunks(trial: Trial) -> Iterator[Comparison]:
    """Chunks of another size give the same numbers."""
    if others := [chunk for chunk in sorted(trial.capabilities.chunks) if chunk != trial.case.chunk]:
        got = trial.results(replace(trial.case, chunk=trial.one_of(others)), trial.cotangents)
        yield from trial.compare(got, trial.returned, trial.measured, trial.measured)


def _first(trial: Trial, k: int) -> Measured:
    return Measured({}, {"y": trial.measured.spread["y"][:k]})


LAWS = (
    Law(
        "split-resume-states",
        "Two halves, the second started from the final states of the first, give the outputs of the whole.",
        "f(x[0:T], s) = f(x[k:T], f(x[0:k], s))",
        "composition of the steps",
        _states,
        (carried_states,),
        {"T": 2},
        kept=NO_REFERENCE,
    ),
    Law(
        "split-resume-pullback",
        "The pullbacks of two halves, chained through the state between them, give the gradients of the whole.",
        "P_whole = P_first after P_second",
        "chain rule",
        _pullbacks,
        (gradients, carried_cotangents),
        {"T": 2},
        kept=NO_REFERENCE,
    ),
    Law(
        "tied-gradient-is-sum",
        "The gradients of single steps, or of pieces that pass on the state, add up to the gradient of the whole.",
        "dw = sum over t of dw_t",
        "Dive into Deep Learning, 9.7.2: the parameters are shared by all steps",
        _tied,
        (gradients, carried_cotangents),
        {"T": 2},
        kept=NO_REFERENCE,
    ),
    Law(
        "causality",
        "No output depends on a later input, and no cotangent reaches a later input.",
        "d y_t / d x_s = 0 for s > t",
        "definition of a recurrence",
        _causality,
        (each_output,),
        smallest={"T": 2},
        kept=NO_REFERENCE,
    ),
    Law(
        "chunk-size-does-not-matter",
        "The number of steps that are computed at once changes nothing.",
        "f(x; C) = f(x; C')",
        "composition of the steps",
        _other_chunks,
        (several_chunks,),
        {"T": 2},
        kept=NO_REFERENCE,
    ),
)
