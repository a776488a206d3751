"""Faults of truncation: another matrix M than the one asked for, or a boundary that is not cut as it should be."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bpttcheck.contract import Case, Cotangents, Gradients, Outputs, Pullback
from bpttcheck.faults.planting import Vjp, correct
from bpttref import Blocks, Full, Last, Links, Random, Regular, Window, trees, weights
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
