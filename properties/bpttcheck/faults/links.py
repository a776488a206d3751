"""Random truncation: links weighted wrongly, patterns drawn wrongly."""

from dataclasses import replace
from functools import partial

import numpy as np

from bpttcheck.contract import Case, Outputs, Pullback
from bpttcheck.faults.planting import Fault, Remembering, Vjp, by_matrix
from bpttref import GRU, LSTM, RNN, Links, Random, weights
from bpttref.arrays import Array


def reweighted_once(strategy: Links, T: int) -> Array:
    """Only the first link that is crossed on the way back is reweighted."""
    xi = strategy.links(T)
    M = weights(Links(tuple(np.where(xi != 0, 1.0, 0.0).tolist())), T) if T else weights(strategy, T)
    for t in range(1, T):
        M[t, : t + 1] *= xi[t] if xi[t] else 1.0
    return M


def inverse_weights(strategy: Links, T: int) -> Array:
    xi = strategy.links(T)
    return weights(Links(tuple(np.divide(1, xi, out=np.zeros(T), where=xi != 0).tolist())), T)


def no_reweighting(strategy: Links, T: int) -> Array:
    return weights(Links(tuple((strategy.links(T) != 0).astype(float).tolist())), T)


def applied_twice(strategy: Links, T: int) -> Array:
    return weights(Links(tuple((strategy.links(T) ** 2).tolist())), T)


@Remembering
def new_pattern_each_call(correct: Vjp) -> Vjp:
    """The implementation's generator is not seeded: every pullback draws a pattern of its own."""
    rng = np.random.default_rng(0)

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        if not isinstance(case.truncation, Random):
            return correct(case)
        return correct(replace(case, truncation=replace(case.truncation, seed=int(rng.integers(2**31)))))

    return faulty


def cut_with_probability_pi(correct: Vjp) -> Vjp:
    """Links are cut with probability pi instead of kept."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        rule = case.truncation
        if isinstance(rule, Random) and isinstance(rule.pi, float) and rule.pi < 1:
            xi = rule.links(case.T)
            kept = (xi == 0) / rule.pi if rule.reweighted else (xi == 0) * 1.0
            return correct(replace(case, truncation=Links((1.0, *kept[1:].tolist()))))
        return correct(case)

    return faulty


def all_links_together(correct: Vjp) -> Vjp:
    """One draw decides about all links of a sequence."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        rule, T = case.truncation, case.T
        if not isinstance(rule, Random) or T == 0:
            return correct(case)
        pi = np.broadcast_to(rule.pi, T)
        kept = np.random.default_rng(rule.seed).random() < pi
        xi = kept / pi if rule.reweighted else 1.0 * kept
        return correct(replace(case, truncation=Links((1.0, *xi[1:].tolist()))))

    return faulty


def own_links_weighted_by_pi(correct: Vjp) -> Vjp:
    """An implementation that draws its own links weights those that it keeps by pi instead of 1/pi."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        rule, T = case.truncation, case.T
        if not isinstance(rule, Random) or not rule.reweighted or T == 0:
            return correct(case)
        xi = rule.links(T) * np.broadcast_to(rule.pi, T) ** 2
        return correct(replace(case, truncation=Links((1.0, *xi[1:].tolist()))))

    return faulty


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "reweight-once",
            "1/pi is applied at the first link that is crossed, not at each.",
            "",
            ("xray-links", "links-reference", "random-unbiased"),
            (RNN("tanh"), LSTM()),
            partial(by_matrix, Links, reweighted_once),
        ),
        (
            "no-reweight",
            "Links are cut at random and never reweighted.",
            "https://arxiv.org/abs/1705.08209",
            ("xray-links", "links-reference", "random-unbiased"),
            (RNN("tanh"),),
            partial(by_matrix, Links, no_reweighting),
        ),
        (
            "p-instead-of-1/p",
            "Kept links are weighted by pi.",
            "",
            ("xray-links", "links-reference", "random-unbiased", "links-affine"),
            (RNN("tanh"),),
            partial(by_matrix, Links, inverse_weights),
        ),
        (
            "reweight-twice",
            "1/pi is applied to the state and again to the step.",
            "",
            ("xray-links", "links-reference", "random-unbiased", "links-affine"),
            (GRU("after"),),
            partial(by_matrix, Links, applied_twice),
        ),
        (
            "unseeded-pattern",
            "The seed has no effect: every call draws a new pattern.",
            "",
            ("random-pattern",),
            (RNN("tanh"),),
            new_pattern_each_call,
        ),
        (
            "cut-with-probability-pi",
            "pi is used as the probability of a cut.",
            "",
            ("random-frequency",),
            (RNN("tanh"),),
            cut_with_probability_pi,
        ),
        (
            "links-drawn-together",
            "One draw decides about all links of a sequence.",
            "https://github.com/salesforce/awd-lstm-lm/issues/33",
            ("random-frequency",),
            (RNN("tanh"),),
            all_links_together,
        ),
        (
            "own-links-weighted-by-pi",
            "Links that the implementation draws by itself are weighted by pi instead of 1/pi.",
            "",
            ("random-pattern",),
            (GRU("after"), LSTM()),
            own_links_weighted_by_pi,
        ),
    )
)
