"""Randomized truncation: correct on average, for every pattern of links; an implementation's own patterns follow its
declaration."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from bpttcheck.cases.blocks import Named, together
from bpttcheck.cases.changes import only_y
from bpttcheck.cases.truncations import DRAWN
from bpttcheck.dtypes import FORMATS
from bpttcheck.laws.law import NO_REFERENCE, Law, fine_format, gradients, outputs, reusable, truncation
from bpttcheck.laws.xray import rows
from bpttcheck.measuring.calls import Pulling
from bpttcheck.measuring.comparisons import Comparison, Violation
from bpttcheck.measuring.trial import Trial
from bpttref import Links, Random, weights
from bpttref.arrays import Array

_SEEDS = 192  # runs of a statistical test
_STEPS = 7  # of the sequence in which a pattern is observed


def _affine(trial: Trial) -> Iterator[Comparison]:
    """g(xi_t = 2) + g(xi_t = 0) = 2 g(xi_t = 1), the other links as drawn."""
    T = trial.case.T
    if not trial.even:
        return
    xi, t = trial.rng.choice([0.0, 0.5, 1.0, 2.0], T), int(trial.rng.integers(1, T))
    xi[0] = 1
    total: Named = {}
    measures = []
    for value, sign in ((2.0, 1), (0.0, 1), (1.0, -2)):
        xi[t] = value
        case = trial.truncated(Links(tuple(xi.tolist())))
        measures += trial.measure(case, trial.cotangents) * abs(sign)
        pulled = trial.gradients_of(case, trial.cotangents)
        total = _plus(total, pulled, sign)
    zeros = {name: np.zeros_like(array) for name, array in total.items()}
    yield from trial.compare(total, zeros, *measures, alive=pulled)


def _unbiased(trial: Trial) -> Iterator[Comparison]:
    """The mean over all patterns of four links at most, weighted by their probabilities; in a large problem of two
    links."""
    T = trial.case.T
    if not trial.even:
        return
    links = sorted(trial.rng.permutation(np.arange(1, T))[: 2 if trial.large else 4].tolist())
    pi = trial.rng.choice([0.25, 0.5, 0.75], len(links))
    mean: Named = {}
    for kept in product((False, True), repeat=len(links)):
        xi = np.ones(T)
        xi[links] = np.where(kept, 1 / pi, 0)
        probability = float(np.prod(np.where(kept, pi, 1 - pi)))
        mean = _plus(
            mean, trial.gradients_of(trial.truncated(Links(tuple(xi.tolist()))), trial.cotangents), probability
        )
    chances = ", ".join(f"{chance:g} of that into step {t}" for t, chance in zip(links, pi, strict=True))
    for comparison in trial.compare(mean, trial.gradients, *[trial.measured] * (1 + 2 ** len(links) // 2)):
        yield replace(comparison, of=f", averaged over links that are kept with probability {chances},")


def _plus(total: Named, more: Named, factor: float) -> Named:
    return {name: total.get(name, 0) + factor * a.astype(np.float64) for name, a in more.items()}


def _own_pattern(trial: Trial) -> Iterator[Comparison]:
    """One call shows the pattern, link by link; a second one, with the same seed, must be truncated by its products.

    The pattern is seen through dx. Then all gradients are compared, where the correct ones are known or the
    implementation takes the links themselves. Only the first steps are run: too little passes through many links.
    """
    if not trial.even:
        return
    T = min(_STEPS, trial.case.T)
    trial = trial.of_first_steps(T)
    drawn = DRAWN[Random](trial.rng, T)
    assert isinstance(drawn, Random)
    drawn = replace(drawn, reweighted=bool(trial.rng.random() < 0.75))
    case = trial.truncated(drawn)
    value = np.broadcast_to(1 / np.asarray(drawn.pi) if drawn.reweighted else 1.0, T)
    _, pullback = trial.run(case)
    xi = np.ones(T)
    for t in range(1, T):
        through = _through_link(trial, t)
        if through is None:
            return
        xi[t] = value[t] * _kept(trial, t, through, pullback)
    links = Links(tuple(xi.tolist()))
    for comparison in rows(trial, case, weights(links, T), [T // 2, T - 1]):
        yield replace(comparison, case=case)
    as_links, got = trial.truncated(links), trial.pull(pullback, trial.cotangents)
    (measured,) = trial.measure(as_links, trial.cotangents)
    expected, full = measured.values, trial.measured.values
    if not expected and Links in trial.capabilities.truncations:  # by the implementation itself, if its cell is unknown
        expected, full = trial.gradients_of(as_links, trial.cotangents), trial.gradients
    changed = {name: array - full[name] for name, array in expected.items()}
    for comparison in trial.compare(got, expected, measured, measured, alive=changed):
        yield replace(comparison, case=case)


def _through_link(trial: Trial, t: int) -> Array | None:
    """The gradient that full BPTT sends from the loss at t through the link into step t; None where it is too small."""
    full = _flat(trial.by_step(trial.pull(trial.forward[1], only_y(trial.cotangents, slice(t, t + 1)))))
    least = 2**10 * FORMATS[trial.case.dtype].eps  # above the rounding of gradients that do not pass
    if full is None or not np.abs(full[t - 1]).max() > least * np.abs(full[t]).max():
        return None
    through: Array = full[t - 1]
    return through


def _flat(by_step: Named) -> Array | None:
    return together(by_step) if by_step else None


def _kept(trial: Trial, t: int, through: Array, pullback: Pulling | None) -> bool:
    """Whether a pullback lets the loss at t through that link."""
    got = _flat(trial.by_step(trial.pull(pullback, only_y(trial.cotangents, slice(t, t + 1)))))
    return got is not None and bool(np.vdot(got[t - 1], through) > np.vdot(through, through) / 2)


def _frequency(trial: Trial) -> Iterator[Comparison]:
    """Counts of a link, of a second one, and of both together, over many seeds.

    Six standard deviations are exceeded about once in 10^8 by chance.
    """
    T = trial.case.T
    if not trial.even:
        return
    pi, links = float(trial.rng.choice([0.4, 0.75])), trial.rng.permutation(np.arange(1, T))[:2].tolist()
    through = [(t, sent) for t in links if (sent := _through_link(trial, t)) is not None]
    kept: list[list[bool]] = []
    for seed in trial.rng.integers(2**31, size=_SEEDS).tolist():
        _, pullback = trial.run(trial.truncated(Random(pi, seed, reweighted=False)))
        kept.append([_kept(trial, t, sent, pullback) for t, sent in through])
    counts = [(f"the link into step {t} was kept", sum(k[i] for k in kept), pi) for i, (t, _) in enumerate(through)]
    if len(through) == 2:
        counts.append(("both links were kept", sum(map(all, kept)), pi**2))
    for what, count, p in counts:
        deviation = float(np.sqrt(_SEEDS * p * (1 - p)))
        if abs(count - _SEEDS * p) > 6 * deviation:
            expected = f"expected {_SEEDS * p:.0f} +- {deviation:.0f} (a statistical test)"
            raise Violation(f"with pi = {pi} {what} {count} times in {_SEEDS}: {expected}")
        yield Comparison(what, abs(count - _SEEDS * p), 6 * deviation)


LAWS = (
    Law(
        "links-affine",
        "Gradients are affine in the multiplier of each link.",
        "g(xi_t = 2) - 2 g(xi_t = 1) + g(xi_t = 0) = 0",
        "each path crosses each link at most once",
        _affine,
        (gradients, truncation(Links)),
        {"T": 2},
        kept=NO_REFERENCE,
    ),
    Law(
        "random-unbiased",
        "The mean of randomly truncated gradients over all patterns, weighted by probability, is the full gradient.",
        "E[xi_t] = pi * 1/pi = 1",
        "Dive into Deep Learning, 9.7.1.3; Tallec and Ollivier, 2017",
        _unbiased,
        (gradients, truncation(Links)),
        {"T": 2},
        kept=NO_REFERENCE,
    ),
    Law(
        "random-pattern",
        "An implementation that draws its own links uses one pattern per seed, and multiplies along each path.",
        "M[t, s] = product of xi over (s, t], xi = 1/pi or 0",
        "Tallec and Ollivier, 2017",
        _own_pattern,
        (gradients, outputs("y"), reusable, truncation(Random), fine_format),
        {"T": 3},
    ),
    Law(
        "random-frequency",
        "An implementation that draws its own links keeps each with probability pi, independently (statistically).",
        "P(xi_t > 0) = pi, P(xi_s > 0 and xi_t > 0) = pi^2",
        "binomial distribution, six standard deviations",
        _frequency,
        (gradients, outputs("y"), reusable, truncation(Random), fine_format),
        {"T": 2},
        cost=20,
    ),
)
