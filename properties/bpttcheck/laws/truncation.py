"""Truncation keeps exactly the contributions that its rule names, and leaves the forward pass alone."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from bpttcheck.blocks import Named, named
from bpttcheck.cases import only_y
from bpttcheck.contract import Case, OneShot
from bpttcheck.laws.law import Law, gradients, known_cell, loss_weights, outputs, reusable, truncation, truncations
from bpttcheck.tolerance import Measured
from bpttcheck.trial import Comparison, Trial, Violation
from bpttref import Blocks, Last, Links, Random, Regular, Strategy, Window, weights
from bpttref.arrays import Array
from bpttref.inputs import is_tokens


def _not_dividing(rng: np.random.Generator, T: int) -> int:
    """A tau that does not divide T where there is one: a remainder is where segments go wrong."""
    return int(rng.choice([tau for tau in range(2, T) if T % tau] or [min(2, T)]))


def _blocks(rng: np.random.Generator, T: int) -> Blocks:
    """Short blocks and short ways back: the two ends of both lie inside the sequence."""
    k1 = int(rng.integers(2, 4))
    return Blocks(k1, k1 + int(rng.integers(0, 3)))


def _links(rng: np.random.Generator, T: int) -> Links:
    return Links((1.0, *rng.choice([0.0, 0.5, 1.0, 2.0], T - 1).tolist()) if T else ())


DRAWN: dict[type, Callable[[np.random.Generator, int], Strategy]] = {
    Regular: lambda rng, T: Regular(_not_dividing(rng, T)),
    Window: lambda rng, T: Window(int(rng.integers(2, max(3, T)))),
    Blocks: _blocks,
    Last: lambda rng, T: Last(int(rng.integers(1, T + 1))),
    Links: _links,
}

_COVERING: dict[type, Callable[[int], Strategy]] = {  # for a sequence of T steps
    Regular: Regular,
    Window: lambda T: Window(T + 1),
    Blocks: lambda T: Blocks(T, T + 1),
    Last: lambda T: Last(T + 1),
    Links: lambda T: Links((1.0,) * T),
    Random: lambda T: Random(1.0, seed=T),
}


def _truncated(trial: Trial, strategy: Strategy) -> Case:
    return trial.with_case(truncation=strategy)


def _covers(trial: Trial) -> Iterator[Comparison]:
    if not trial.one_way:
        return
    T = len(trial.case.x)
    for kind in trial.capabilities.truncations:
        if kind in _COVERING:
            longer = 0 if kind is Links else int(trial.rng.integers(0, 3))
            got = trial.gradients_of(_truncated(trial, _COVERING[kind](T + longer)), trial.cotangents)
            yield from trial.compare(got, trial.gradients, trial.measured, trial.measured)


def _leaves_states(trial: Trial) -> Iterator[Comparison]:
    if not trial.one_way:
        return
    for kind in trial.capabilities.truncations:
        drawn = Random(0.5, 1) if kind is Random else DRAWN[kind](trial.rng, len(trial.case.x))
        got = named(trial.vjp(_truncated(trial, drawn))[0])
        yield from trial.compare(got, trial.outputs, trial.measured, trial.measured)


def _no_temporal_term(trial: Trial) -> Iterator[Comparison]:
    """tau = 1: the loss at t reaches x_t and no other input."""
    if not trial.one_way:
        return
    t = int(trial.rng.integers(1, len(trial.case.x)))
    one = only_y(trial.cotangents, slice(t, t + 1))
    dx = _by_step(trial.case, trial.gradients_of(_truncated(trial, Regular(1)), one))
    if dx is not None:
        yield from trial.compare({"x": dx[:t]}, {"x": np.zeros_like(dx[:t])})


def _by_step(case: Case, arrays: Named) -> Array | None:
    """The gradients (or their scales) of single steps: dx, or for tokens that are all distinct columns of dW_hx."""
    if not is_tokens(case.x):
        return arrays.get("x")
    if "W_hx" not in arrays or len(np.unique(case.x)) < case.x.size:
        return None
    columns: Array = arrays["W_hx"].T[case.x]
    return columns


def _rows(trial: Trial, case: Case, M: Array, losses: list[int]) -> Iterator[Comparison]:
    """Rows of the matrix M, seen through the inputs: M[t, s] times what full BPTT sends from t to x_s."""
    _, truncated = trial.vjp(case)
    for t in losses:
        one = only_y(trial.cotangents, slice(t, t + 1))
        full = _by_step(case, trial.pull(trial.forward[1], one))
        got = _by_step(case, trial.pull(truncated, one))
        scale = _by_step(case, trial.measure(one).spread)
        if full is None or got is None or scale is None:
            return
        row = M[t, 1:][:, None, None]
        yield from trial.compare({"x": got}, {"x": row * full}, Measured({}, {"x": 2 * row * scale}))


def _xray(kind: type) -> Callable[[Trial], Iterator[Comparison]]:
    def check(trial: Trial) -> Iterator[Comparison]:
        T = len(trial.case.x)
        if trial.one_way:
            strategy = DRAWN[kind](trial.rng, T)
            losses = sorted({T - 1, *trial.rng.integers(1, T, 2).tolist()})
            yield from _rows(trial, _truncated(trial, strategy), weights(strategy, T), losses)

    return check


def _reference(kind: type) -> Callable[[Trial], Iterator[Comparison]]:
    def check(trial: Trial) -> Iterator[Comparison]:
        if trial.one_way:
            case = _truncated(trial, DRAWN[kind](trial.rng, len(trial.case.x)))
            measured = trial.measure(trial.cotangents, case)
            yield from trial.compare(trial.gradients_of(case, trial.cotangents), measured.values, measured)

    return check


def _affine(trial: Trial) -> Iterator[Comparison]:
    """g(xi_t = 2) + g(xi_t = 0) = 2 g(xi_t = 1), the other links as drawn."""
    T = len(trial.case.x)
    if not trial.one_way:
        return
    xi, t = list(_links(trial.rng, T).xi), int(trial.rng.integers(1, T))
    total: Named = {}
    measures = []
    for value, sign in ((2.0, 1), (0.0, 1), (1.0, -2)):
        xi[t] = value
        case = _truncated(trial, Links(tuple(xi)))
        measures += [trial.measure(trial.cotangents, case)] * abs(sign)
        total = _plus(total, trial.gradients_of(case, trial.cotangents), sign)
    zeros = {name: np.zeros_like(array) for name, array in total.items()}
    yield from trial.compare(total, zeros, *measures)


def _unbiased(trial: Trial) -> Iterator[Comparison]:
    """The mean over all patterns of four links at most, weighted by their probabilities."""
    T = len(trial.case.x)
    if not trial.one_way:
        return
    links = sorted(trial.rng.permutation(np.arange(1, T))[:4].tolist())
    pi = trial.rng.choice([0.25, 0.5, 0.75], len(links))
    mean: Named = {}
    for kept in product((False, True), repeat=len(links)):
        xi = np.ones(T)
        xi[links] = np.where(kept, 1 / pi, 0)
        probability = float(np.prod(np.where(kept, pi, 1 - pi)))
        case = _truncated(trial, Links(tuple(xi.tolist())))
        mean = _plus(mean, trial.gradients_of(case, trial.cotangents), probability)
    yield from trial.compare(mean, trial.gradients, *[trial.measured] * 8)


def _plus(total: Named, more: Named, factor: float) -> Named:
    return {name: total.get(name, 0) + factor * a.astype(np.float64) for name, a in more.items()}


def _own_pattern(trial: Trial) -> Iterator[Comparison]:
    """One call shows the pattern, link by link; a second one, with the same seed, must be truncated by its product."""
    T = len(trial.case.x)
    if not trial.one_way:
        return
    pi = float(trial.rng.choice([0.25, 0.5, 0.75]))
    strategy = Random(pi, int(trial.rng.integers(2**31)), reweighted=bool(trial.rng.integers(2)))
    case = _truncated(trial, strategy)
    kept_value = 1 / pi if strategy.reweighted else 1.0
    _, pullback = trial.vjp(case)
    xi = np.ones(T)
    for t in range(1, T):
        one = only_y(trial.cotangents, slice(t, t + 1))
        full, got = (_by_step(case, trial.pull(p, one)) for p in (trial.forward[1], pullback))
        if full is None or got is None:
            return
        if not _passes(full, t):
            return
        xi[t] = kept_value if np.vdot(got[t - 1], full[t - 1]) > np.vdot(full[t - 1], full[t - 1]) / 2 else 0
    yield from _rows(trial, case, weights(Links(tuple(xi.tolist())), T), [T - 1])


def _passes(full: Array, t: int) -> bool:
    """Whether enough comes through the link into step t to tell whether it was kept."""
    return bool(np.abs(full[t - 1]).max() > 1e-3 * np.abs(full[t]).max())


def _frequency(trial: Trial) -> Iterator[Comparison]:
    """A statistical test on some of the cases. Six standard deviations are exceeded once in 10^9 by chance."""
    if not trial.one_way or trial.rng.random() > 0.4:
        return
    pi, seeds = float(trial.rng.choice([0.25, 0.75])), 128
    one = only_y(trial.cotangents, slice(1, 2))
    full = _by_step(trial.case, trial.pull(trial.forward[1], one))
    if full is None or not _passes(full, 1):
        return
    kept = 0
    for seed in trial.rng.integers(2**31, size=seeds).tolist():
        got = _by_step(trial.case, trial.gradients_of(_truncated(trial, Random(pi, seed, False)), one))
        assert got is not None
        kept += np.vdot(got[0], full[0]) > np.vdot(full[0], full[0]) / 2
    deviation = np.sqrt(seeds * pi * (1 - pi))
    if abs(kept - seeds * pi) > 6 * deviation:
        raise Violation(
            f"with pi = {pi} a link was kept {kept} times in {seeds} (a statistical test, at six deviations)"
        )
    yield Comparison("links kept", abs(kept - seeds * pi), 6 * deviation)


def _objective(trial: Trial) -> Iterator[Comparison]:
    if not trial.one_way:
        return
    kinds = [kind for kind in trial.capabilities.truncations if kind in DRAWN]
    if kinds:
        chosen: Any = kinds[int(trial.rng.integers(len(kinds)))]
        case = _truncated(trial, DRAWN[chosen](trial.rng, len(trial.case.x)))
        measured = trial.measure_objective(case)
        yield from trial.compare(trial.loss_and_gradients(case), measured.values, measured)


def _weighted_losses(trial: Trial) -> Iterator[Comparison]:
    """Weights that are zero but at t show row t of M."""
    objective, T = trial.case.objective, len(trial.case.x)
    kinds = [kind for kind in trial.capabilities.truncations if kind in DRAWN]
    if not trial.one_way or objective is None or not kinds:
        return
    strategy = DRAWN[kinds[int(trial.rng.integers(len(kinds)))]](trial.rng, T)
    t = int(trial.rng.integers(1, T))
    single = trial.with_case(objective=replace(objective, weights=np.eye(T)[t]))
    full = _by_step(single, trial.loss_and_gradients(single))
    got = _by_step(single, trial.loss_and_gradients(replace(single, truncation=strategy)))
    scale = _by_step(single, trial.measure_objective(single).spread)
    if full is None or got is None or scale is None:
        return
    row = weights(strategy, T)[t, 1:][:, None, None]
    yield from trial.compare({"x": got}, {"x": row * full}, Measured({}, {"x": 2 * row * scale}))


_MEANS = {
    Regular: "cuts before steps tau, 2 tau, .. and nowhere else, also where tau does not divide T",
    Window: "lets the loss at t reach back to step t - tau + 1 and no further",
    Blocks: "takes losses in blocks of k1 and goes back over k2 steps from each block's end",
    Last: "differentiates the last k steps alone",
    Links: "multiplies what crosses each link by the number given for it",
}

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
    ),
    Law(
        "tau-one-has-no-temporal-term",
        "With tau = 1 a loss reaches the input of its own step alone.",
        "M = identity",
        "Dive into Deep Learning, 9.7.1.2",
        _no_temporal_term,
        (gradients, outputs("y"), truncation(Regular)),
        {"T": 2},
    ),
    *(
        Law(
            f"xray-{kind.__name__.lower()}",
            f"{kind.__name__} truncation {meaning}.",
            "dx_s from the loss at t = M[t, s] times its value in full BPTT",
            "bpttref.strategies",
            _xray(kind),
            (gradients, outputs("y"), reusable, truncation(kind)),
            {"T": 3},
        )
        for kind, meaning in _MEANS.items()
    ),
    *(
        Law(
            f"{kind.__name__.lower()}-reference",
            f"Every gradient of {kind.__name__.lower()} truncation is that of the reference.",
            "gradient = sum of M[t, s] C[t, s]",
            "bpttref.strategies",
            _reference(kind),
            (gradients, known_cell, truncation(kind)),
            {"T": 2},
        )
        for kind in _MEANS
    ),
    Law(
        "links-affine",
        "Gradients are affine in the multiplier of each link.",
        "g(xi_t = 2) - 2 g(xi_t = 1) + g(xi_t = 0) = 0",
        "each path crosses each link at most once",
        _affine,
        (gradients, truncation(Links)),
        {"T": 2},
    ),
    Law(
        "random-unbiased",
        "The mean of randomly truncated gradients over all patterns, by their probabilities, is the full gradient.",
        "E[xi_t] = pi * 1/pi = 1",
        "Dive into Deep Learning, 9.7.1.3; Tallec and Ollivier, 2017",
        _unbiased,
        (gradients, truncation(Links)),
        {"T": 2},
    ),
    Law(
        "random-pattern",
        "A subject that draws its own links uses one pattern per seed, and the products of its multipliers.",
        "M[t, s] = product of xi over (s, t], xi = 1/pi or 0",
        "Tallec and Ollivier, 2017",
        _own_pattern,
        (gradients, outputs("y"), reusable, truncation(Random)),
        {"T": 3},
    ),
    Law(
        "random-frequency",
        "A subject that draws its own links keeps each with probability pi (a statistical test).",
        "P(xi_t > 0) = pi",
        "binomial distribution, six standard deviations",
        _frequency,
        (gradients, outputs("y"), reusable, truncation(Random)),
        {"T": 2},
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
    ),
    Law(
        "xray-losses",
        "The gradient of the loss at t alone is M[t, s] times its value in full BPTT.",
        "dx_s from the loss at t = M[t, s] times its value in full BPTT",
        "bpttref.strategies",
        _weighted_losses,
        (gradients, loss_weights, truncations),
        {"T": 3},
        door=OneShot,
    ),
)
