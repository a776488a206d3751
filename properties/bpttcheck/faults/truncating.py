"""Faults of truncation: another matrix M than the one asked for, or a boundary that is not cut as it should be."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bpttcheck.contract import Case, Cotangents, Gradients, Outputs, Pullback
from bpttcheck.faults.planting import Fault, Vjp, correct, pulled
from bpttref import GRU, LSTM, RNN, Blocks, Full, Last, Links, Random, Regular, Window, trees, weights
from bpttref.arrays import Array


def by_matrix(kinds: type | tuple[type, ...], matrix: Callable[[Any, int], Array]) -> Callable[[], Vjp]:
    """The reference with ``matrix(strategy, T)`` for the M of strategies of some kinds, row by row.

    Each row must be a product of multipliers along its way back: nothing comes back after a zero.
    """

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        if not isinstance(case.truncation, kinds):
            return correct(case)
        T = len(case.x)
        M = matrix(case.truncation, T)
        outputs, _ = correct(replace(case, truncation=Full()))

        def pullback(cotangents: Cotangents) -> Gradients:
            total: Any = None
            for t in range(T):
                dy = None if cotangents.y is None else np.zeros_like(cotangents.y)
                if dy is not None and cotangents.y is not None:
                    dy[t] = M[t, t + 1] * cotangents.y[t]
                xi = np.ones(T)
                before, after = M[t, 1 : t + 1], M[t, 2 : t + 2]
                xi[1 : t + 1] = np.divide(before, after, out=np.zeros(t), where=after != 0)
                _, pull = correct(replace(case, truncation=Links(tuple(xi.tolist()))))
                row = pull(Cotangents(dy, cotangents.final if t == T - 1 else None))
                reached = M[t, 0] / M[t, 1] if M[t, 1] else 0.0
                row = row._replace(initial=trees.scale(row.initial, reached))
                total = row if total is None else Gradients(*(trees.add(a, b) for a, b in zip(total, row, strict=True)))
            found: Gradients = total if total is not None else correct(case)[1](cotangents)
            return found

        return outputs, pullback

    return lambda: faulty


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
    """Cuts before steps tau - 1, 2 tau - 1, .."""
    t = np.arange(T)
    return weights(Links(tuple(np.where((t > 0) & ((t + 1) % strategy.tau == 0), 0.0, 1.0).tolist())), T)


def from_the_loss(strategy: Blocks, T: int) -> Array:
    """k2 steps are counted from each loss instead of from its block's end."""
    return weights(Window(strategy.k2), T)


def early_losses_count(strategy: Last, T: int) -> Array:
    """The losses before the last k steps contribute their own step."""
    t, s, _ = _triangle(T)
    return np.where((t < T - strategy.k) & (s == t), 1.0, weights(strategy, T))


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


def new_pattern_each_call() -> Vjp:
    """The subject's generator is not seeded: every pullback draws a pattern of its own."""
    rng = np.random.default_rng(0)

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        if not isinstance(case.truncation, Random):
            return correct(case)
        return correct(replace(case, truncation=replace(case.truncation, seed=int(rng.integers(2**31)))))

    return faulty


def cut_with_probability_pi() -> Vjp:
    """Links are cut with probability pi instead of kept."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        rule = case.truncation
        if isinstance(rule, Random) and isinstance(rule.pi, float) and rule.pi < 1:
            xi = rule.links(len(case.x))
            kept = (xi == 0) / rule.pi if rule.reweighted else (xi == 0) * 1.0
            return correct(replace(case, truncation=Links((1.0, *kept[1:].tolist()))))
        return correct(case)

    return faulty


def in_segments(boundary: Callable[[str, int, Array], Array]) -> Callable[[], Vjp]:
    """Regular truncation as a loop over segments, in which ``boundary(name, layer, cotangent)`` crosses each cut."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        if not isinstance(case.truncation, Regular) or case.lengths is not None or len(case.x) == 0:
            return correct(case)
        tau = case.truncation.tau
        starts = range(0, len(case.x), tau)
        runs, state = [], case.initial
        for start in starts:
            outputs, pull = correct(replace(case, x=case.x[start : start + tau], initial=state, truncation=Full()))
            runs.append((outputs, pull))
            state = outputs.final

        def pullback(cotangents: Cotangents) -> Gradients:
            final, total, pieces = cotangents.final, None, []
            for start, (_, pull) in zip(reversed(starts), reversed(runs), strict=True):
                dy = None if cotangents.y is None else cotangents.y[start : start + tau]
                found = pull(Cotangents(dy, final))
                pieces.append(found.x)
                total = trees.add(total, found.parameters)
                final = tuple(
                    tuple({k: boundary(k, layer, a) for k, a in leaf.items()} for leaf in directions)
                    for layer, directions in enumerate(found.initial or ())
                )
            dx = None if pieces[0] is None else np.concatenate([p for p in pieces[::-1] if p is not None])
            return Gradients(dx, total, found.initial)

        y = np.concatenate([outputs.y for outputs, _ in runs if outputs.y is not None])
        return Outputs(y, state), pullback

    return lambda: faulty


def cell_state_not_cut(name: str, layer: int, cotangent: Array) -> Array:
    return cotangent if name == "c" else 0 * cotangent


def upper_layer_not_cut(name: str, layer: int, cotangent: Array) -> Array:
    return cotangent if layer > 0 else 0 * cotangent


def tail_dropped(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    if isinstance(case.truncation, Regular) and cotangents.y is not None:
        whole = len(case.x) // case.truncation.tau * case.truncation.tau
        dy = cotangents.y.copy()
        dy[whole:] = 0
        cotangents = cotangents._replace(y=dy)
    return pullback(cotangents)


def silent_if_short(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    short = isinstance(case.truncation, Regular) and case.truncation.tau > len(case.x)
    return Gradients(*(trees.scale(g, 0) if g is not None else None for g in gradients)) if short else gradients


def setting_ignored() -> Vjp:
    return lambda case: correct(replace(case, truncation=Full()))


def state_not_carried() -> Vjp:
    """Every segment of a truncated run starts from the initial state."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        if not isinstance(case.truncation, Regular) or len(case.x) == 0:
            return correct(case)
        tau = case.truncation.tau
        starts = range(0, len(case.x), tau)
        runs = [correct(replace(case, x=case.x[s : s + tau], truncation=Full())) for s in starts]
        y = np.concatenate([outputs.y for outputs, _ in runs if outputs.y is not None])

        def pullback(cotangents: Cotangents) -> Gradients:
            total: Gradients | None = None
            pieces = []
            for s, (_, pull) in zip(starts, runs, strict=True):
                dy = None if cotangents.y is None else cotangents.y[s : s + tau]
                gradients = pull(Cotangents(dy))
                pieces.append(gradients.x)
                total = (
                    gradients
                    if total is None
                    else total._replace(
                        parameters=trees.add(total.parameters, gradients.parameters),
                        initial=trees.add(total.initial, gradients.initial),
                    )
                )
            assert total is not None
            return total._replace(x=np.concatenate([p for p in pieces if p is not None]))

        return Outputs(y, runs[-1][0].final), pullback

    return faulty


def parameters_not_truncated(kind: type) -> Callable[[], Vjp]:
    """dx is truncated; the gradients of the parameters are those of full BPTT."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        if not isinstance(case.truncation, kind):
            return outputs, pullback
        _, full = correct(replace(case, truncation=Full()))
        return outputs, lambda c: pullback(c)._replace(parameters=full(c).parameters)

    return lambda: faulty


def one_means_none() -> Vjp:
    """tau = 1 is taken for "no truncation"."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        return correct(replace(case, truncation=Full()) if case.truncation in (Regular(1), Window(1)) else case)

    return faulty


def hidden_state_not_cut(name: str, layer: int, cotangent: Array) -> Array:
    return cotangent if name == "h" else 0 * cotangent


def all_links_together() -> Vjp:
    """One draw decides about all links of a sequence."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        rule, T = case.truncation, len(case.x)
        if not isinstance(rule, Random) or T == 0:
            return correct(case)
        pi = np.broadcast_to(rule.pi, T)
        kept = np.random.default_rng(rule.seed).random() < pi
        xi = kept / pi if rule.reweighted else 1.0 * kept
        return correct(replace(case, truncation=Links((1.0, *xi[1:].tolist()))))

    return faulty


def shorter_after_a_short_call() -> Vjp:
    """A call on a short sequence lowers tau for the calls that follow."""
    longest: list[int] = []

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        longest.append(max(1, len(case.x)))
        if isinstance(case.truncation, Full) and case.lengths is None and len(case.parameters[0]) == 1:
            case = replace(case, truncation=Window(min(longest[-2:]) + 1))
        return correct(case)

    return faulty


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "tail-chunk-dropped",
            "The last T mod tau steps get no gradient.",
            "",
            ("regular-reference", "xray-regular"),
            (RNN("tanh"), LSTM()),
            pulled(tail_dropped),
        ),
        (
            "noop-if-T-lt-k",
            "With tau > T there is no gradient at all.",
            "https://github.com/deeplearning4j/deeplearning4j/issues/2278",
            ("tau-covers-is-full",),
            (LSTM(),),
            pulled(silent_if_short),
        ),
        (
            "setting-ignored",
            "The truncation asked for is ignored: full BPTT is run.",
            "https://github.com/Lightning-AI/pytorch-lightning/issues/8802",
            ("tau-one-has-no-temporal-term", "xray-regular", "regular-reference"),
            (RNN("tanh"), LSTM()),
            setting_ignored,
        ),
        (
            "state-not-carried",
            "Every segment of a truncated run starts from the initial state.",
            "https://github.com/OpenNMT/OpenNMT-py/pull/1171",
            ("truncation-leaves-states",),
            (RNN("tanh"),),
            state_not_carried,
        ),
        (
            "only-last-loss-travels",
            "Of all losses only the last goes back over its window.",
            "https://github.com/rsokl/MyGrad/pull/4",
            ("xray-window", "window-reference"),
            (RNN("tanh"), GRU("after")),
            by_matrix(Window, only_last_loss_travels),
        ),
        (
            "bp-lim-bounds",
            "Windows are one step too short.",
            "https://github.com/rsokl/MyGrad/pull/7",
            ("xray-window", "window-reference"),
            (RNN("tanh"),),
            by_matrix(Window, one_less),
        ),
        (
            "cells-or-transitions",
            "A window is counted in transitions where it was declared in cells.",
            "https://github.com/rsokl/MyGrad",
            ("xray-window", "window-reference"),
            (GRU("after"),),
            by_matrix(Window, one_more),
        ),
        (
            "window-from-the-end",
            "Segments were asked for; the last tau steps of the sequence are differentiated.",
            "https://github.com/tensorflow/tensorflow/issues/107",
            ("xray-regular", "regular-reference"),
            (RNN("tanh"),),
            by_matrix(Regular, last_steps_of_the_sequence),
        ),
        (
            "window-for-segments",
            "Segments were asked for; every loss gets a window of its own.",
            "https://github.com/tensorflow/tensorflow/issues/107",
            ("xray-regular", "regular-reference"),
            (LSTM(),),
            by_matrix(Regular, window_for_segments),
        ),
        (
            "segments-for-window",
            "Windows were asked for; the sequence is cut into segments.",
            "https://github.com/tensorflow/tensorflow/issues/107",
            ("xray-window", "window-reference"),
            (LSTM(),),
            by_matrix(Window, segments_for_window),
        ),
        (
            "k2-from-the-loss",
            "k2 is counted from each loss instead of from its block's end.",
            "",
            ("xray-blocks", "blocks-reference"),
            (RNN("tanh"),),
            by_matrix(Blocks, from_the_loss),
        ),
        (
            "early-losses-count",
            "Losses before the last k steps contribute, although those steps alone were asked for.",
            "",
            ("xray-last", "last-reference"),
            (RNN("tanh"),),
            by_matrix(Last, early_losses_count),
        ),
        (
            "reweight-once",
            "1/pi is applied at the first link that is crossed, not at each.",
            "",
            ("xray-links", "links-reference", "random-unbiased"),
            (RNN("tanh"), LSTM()),
            by_matrix(Links, reweighted_once),
        ),
        (
            "no-reweight",
            "Links are cut at random and never reweighted.",
            "https://arxiv.org/abs/1705.08209",
            ("xray-links", "links-reference", "random-unbiased"),
            (RNN("tanh"),),
            by_matrix(Links, no_reweighting),
        ),
        (
            "p-instead-of-1/p",
            "Kept links are weighted by pi.",
            "",
            ("xray-links", "links-reference", "random-unbiased", "links-affine"),
            (RNN("tanh"),),
            by_matrix(Links, inverse_weights),
        ),
        (
            "reweight-twice",
            "1/pi is applied to the state and again to the step.",
            "",
            ("xray-links", "links-reference", "random-unbiased", "links-affine"),
            (GRU("after"),),
            by_matrix(Links, applied_twice),
        ),
        (
            "unseeded-pattern",
            "The seed has no effect: every call draws a pattern of its own.",
            "",
            ("random-pattern",),
            (RNN("tanh"),),
            new_pattern_each_call,
        ),
        (
            "cut-with-probability-pi",
            "pi is taken for the probability of a cut.",
            "",
            ("random-frequency",),
            (RNN("tanh"),),
            cut_with_probability_pi,
        ),
        (
            "not-detached",
            "The cell state crosses the cut with its gradient; only h is detached.",
            "https://github.com/Lightning-AI/pytorch-lightning/pull/8145",
            ("tau-one-has-no-temporal-term", "xray-regular", "regular-reference"),
            (LSTM(),),
            in_segments(cell_state_not_cut),
        ),
        (
            "layer-not-detached",
            "In a stack the states of the first layer alone are cut.",
            "https://github.com/NeuroTorch/NeuroTorch/pull/137",
            ("xray-regular", "regular-reference"),
            (RNN("tanh"), GRU("after")),
            in_segments(upper_layer_not_cut),
        ),
        (
            "segments-one-longer",
            "Segments have tau + 1 steps.",
            "",
            ("xray-regular", "regular-reference", "tau-one-has-no-temporal-term"),
            (LSTM(), GRU("before")),
            by_matrix(Regular, segments_one_longer),
        ),
        (
            "cuts-one-early",
            "Cuts lie one step early: before steps tau - 1, 2 tau - 1, ..",
            "",
            ("xray-regular", "regular-reference"),
            (RNN("tanh"),),
            by_matrix(Regular, cuts_one_early),
        ),
        *(
            (
                f"parameters-not-truncated-{kind.__name__.lower()}",
                f"Under {kind.__name__.lower()} truncation dx is truncated and the parameters' gradients are not.",
                "https://github.com/Theano/Theano/issues/4652",
                (f"{kind.__name__.lower()}-reference",),
                (RNN("tanh"),),
                parameters_not_truncated(kind),
            )
            for kind in (Regular, Window, Blocks, Last, Links)
        ),
        (
            "tau-one-means-none",
            "tau = 1 is taken for no truncation.",
            "https://github.com/rsokl/MyGrad/pull/7",
            ("tau-one-has-no-temporal-term",),
            (RNN("tanh"),),
            one_means_none,
        ),
        (
            "hidden-state-not-detached",
            "The hidden state crosses the cut with its gradient; only the cell state is detached.",
            "https://github.com/pytorch/pytorch/issues/2198",
            ("xray-regular", "regular-reference"),
            (LSTM(),),
            in_segments(hidden_state_not_cut),
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
            "rho-set-by-eval",
            "A call on a short sequence shortens how far the next one goes back.",
            "https://github.com/Element-Research/rnn/issues/19",
            ("shapes-interleaved",),
            (RNN("tanh"), LSTM()),
            shorter_after_a_short_call,
        ),
    )
)
