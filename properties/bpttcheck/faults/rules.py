"""Truncation by another rule: another matrix M than the requested one."""

from dataclasses import replace
from functools import partial

import numpy as np

from bpttcheck.contract import Case, Cotangents, Gradients, Outputs, Pullback
from bpttcheck.faults.planting import Fault, Pulled, Remembering, Vjp, by_matrix
from bpttref import GRU, LSTM, RNN, Blocks, Full, Last, Links, Regular, Window, trees, weights
from bpttref.arrays import Array


def _triangle(T: int) -> tuple[Array, Array, Array]:
    """t, s and whether s <= t, for s from -1."""
    t, s = np.arange(T)[:, None], np.arange(-1, T)[None, :]
    return t, s, s <= t


def only_last_loss_travels(strategy: Window, T: int) -> Array:
    t, s, causal = _triangle(T)
    return np.where((t == T - 1) & causal, weights(strategy, T), (s == t) * 1.0)


def one_more(strategy: Window, T: int) -> Array:
    return weights(Window(strategy.tau + 1), T)


def one_less(strategy: Window, T: int) -> Array:
    return weights(Window(max(1, strategy.tau - 1)), T)


def last_steps_of_the_sequence(strategy: Regular, T: int) -> Array:
    return weights(Last(strategy.tau), T)


def window_for_segments(strategy: Regular, T: int) -> Array:
    return weights(Window(strategy.tau), T)


def segments_for_window(strategy: Window, T: int) -> Array:
    return weights(Regular(strategy.tau), T)


def segments_one_longer(strategy: Regular, T: int) -> Array:
    return weights(Regular(strategy.tau + 1), T)


def cuts_one_early(strategy: Regular, T: int) -> Array:
    """Cuts before steps tau - 1, 2 tau - 1, ..."""
    t = np.arange(T)
    return weights(Links(tuple(np.where((t > 0) & ((t + 1) % strategy.tau == 0), 0.0, 1.0).tolist())), T)


def from_the_loss(strategy: Blocks, T: int) -> Array:
    """k2 steps are counted from each loss instead of from its block's end."""
    return weights(Window(strategy.k2), T)


def early_losses_count(strategy: Last, T: int) -> Array:
    """The losses before the last k steps contribute their own step."""
    t, s, _ = _triangle(T)
    return np.where((t < T - strategy.k) & (s == t), 1.0, weights(strategy, T))


def initial_one_further(strategy: Window, T: int) -> Array:
    """Windows are correct, and those that end at the first step reach the initial state, too."""
    M = weights(strategy, T)
    M[:, 0] = weights(Window(strategy.tau + 1), T)[:, 0]
    return M


def silent_if_short(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    short = isinstance(case.truncation, Regular) and case.truncation.tau > case.T
    return Gradients(*(trees.scale(g, 0) if g is not None else None for g in gradients)) if short else gradients


def setting_ignored(correct: Vjp) -> Vjp:
    return lambda case: correct(replace(case, truncation=Full()))


def one_means_none(correct: Vjp) -> Vjp:
    """tau = 1 is read as "no truncation"."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        return correct(replace(case, truncation=Full()) if case.truncation in (Regular(1), Window(1)) else case)

    return faulty


@Remembering
def shorter_after_a_short_call(correct: Vjp) -> Vjp:
    """A call on a short sequence lowers tau for the calls that follow."""
    longest: list[int] = []

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        longest.append(max(1, case.T))
        if isinstance(case.truncation, Full) and case.lengths is None and len(case.parameters[0]) == 1:
            case = replace(case, truncation=Window(min(longest[-2:]) + 1))
        return correct(case)

    return faulty


def ignored_with_lengths(correct: Vjp) -> Vjp:
    """Where rows have lengths full BPTT is run."""
    return lambda case: correct(case if case.lengths is None else replace(case, truncation=Full()))


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "noop-if-T-lt-k",
            "With tau > T there is no gradient at all.",
            "https://github.com/deeplearning4j/deeplearning4j/issues/2278",
            ("tau-covers-is-full",),
            (LSTM(),),
            Pulled(silent_if_short),
        ),
        (
            "setting-ignored",
            "The requested truncation is ignored: full BPTT runs.",
            "https://github.com/Lightning-AI/pytorch-lightning/issues/8802",
            ("tau-one-has-no-temporal-term", "xray-regular", "regular-reference"),
            (RNN("tanh"), LSTM()),
            setting_ignored,
        ),
        (
            "tau-one-means-none",
            "tau = 1 is treated as no truncation.",
            "https://github.com/rsokl/MyGrad/pull/7",
            ("tau-one-has-no-temporal-term",),
            (RNN("tanh"),),
            one_means_none,
        ),
        (
            "rho-set-by-eval",
            "After a call on a short sequence, the next call goes back less far.",
            "https://github.com/Element-Research/rnn/issues/19",
            ("shapes-interleaved",),
            (RNN("tanh"), LSTM()),
            shorter_after_a_short_call,
        ),
        (
            "only-last-loss-travels",
            "Of all losses only the last goes back over its window.",
            "https://github.com/rsokl/MyGrad/pull/4",
            ("xray-window", "window-reference"),
            (RNN("tanh"), GRU("after")),
            partial(by_matrix, Window, only_last_loss_travels),
        ),
        (
            "bp-lim-bounds",
            "Windows are one step too short.",
            "https://github.com/rsokl/MyGrad/pull/7",
            ("xray-window", "window-reference"),
            (RNN("tanh"),),
            partial(by_matrix, Window, one_less),
        ),
        (
            "cells-or-transitions",
            "A window is counted in transitions where it was declared in cells.",
            "https://github.com/rsokl/MyGrad",
            ("xray-window", "window-reference"),
            (GRU("after"),),
            partial(by_matrix, Window, one_more),
        ),
        (
            "window-reaches-initial",
            "A window that ends at the first step also reaches the initial state.",
            "",
            ("window-reference", "pieces-alone"),
            (RNN("tanh"), LSTM()),
            partial(by_matrix, Window, initial_one_further),
        ),
        (
            "window-from-the-end",
            "Segments were requested; the last tau steps of the sequence are differentiated.",
            "https://github.com/tensorflow/tensorflow/issues/107",
            ("xray-regular", "regular-reference"),
            (RNN("tanh"),),
            partial(by_matrix, Regular, last_steps_of_the_sequence),
        ),
        (
            "window-for-segments",
            "Segments were requested; every loss gets a window of its own.",
            "https://github.com/tensorflow/tensorflow/issues/107",
            ("xray-regular", "regular-reference"),
            (LSTM(),),
            partial(by_matrix, Regular, window_for_segments),
        ),
        (
            "segments-for-window",
            "Windows were requested; the sequence is cut into segments.",
            "https://github.com/tensorflow/tensorflow/issues/107",
            ("xray-window", "window-reference"),
            (LSTM(),),
            partial(by_matrix, Window, segments_for_window),
        ),
        (
            "k2-from-the-loss",
            "k2 is counted from each loss instead of from its block's end.",
            "",
            ("xray-blocks", "blocks-reference"),
            (RNN("tanh"),),
            partial(by_matrix, Blocks, from_the_loss),
        ),
        (
            "early-losses-count",
            "Losses before the last k steps contribute, although only those steps were requested.",
            "",
            ("xray-last", "last-reference"),
            (RNN("tanh"),),
            partial(by_matrix, Last, early_losses_count),
        ),
        (
            "segments-one-longer",
            "Segments have tau + 1 steps.",
            "",
            ("xray-regular", "regular-reference", "tau-one-has-no-temporal-term"),
            (LSTM(), GRU("before")),
            partial(by_matrix, Regular, segments_one_longer),
        ),
        (
            "cuts-one-early",
            "Cuts lie one step early: before steps tau - 1, 2 tau - 1, ...",
            "",
            ("xray-regular", "regular-reference"),
            (RNN("tanh"),),
            partial(by_matrix, Regular, cuts_one_early),
        ),
        (
            "truncation-ignored-with-lengths",
            "If rows have lengths, the requested truncation is ignored.",
            "",
            ("regular-reference", "links-reference"),
            (RNN("tanh"), LSTM()),
            ignored_with_lengths,
        ),
    )
)
