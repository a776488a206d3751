"""Every strategy is a weighting of the triangle of contributions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpttref import RNN, Blocks, Cotangents, Full, Last, Links, Random, Regular, Window, vjp, weights
from bpttref.oracles import contributions
from bpttref.oracles.contributions import flatten

from .problems import close, problems

STRATEGIES = st.one_of(
    st.just(Full()),
    st.builds(Regular, st.integers(1, 8)),
    st.builds(Random, st.floats(0.2, 1), st.integers(0, 99), st.booleans()),
    st.builds(Window, st.integers(1, 8)),
    st.integers(1, 4).flatmap(lambda k1: st.builds(Blocks, st.just(k1), st.integers(k1, 8))),
    st.builds(Last, st.integers(1, 8)),
)


def gradients(problem, strategy, cotangents):
    _, pullback = vjp(problem.cell, problem.parameters, problem.x, problem.initial, strategy=strategy)
    return pullback(cotangents)


@given(problems(layers=1), STRATEGIES)
def test_gradient_is_the_weighted_triangle(problem, strategy):
    (p,), (initial,) = problem.parameters[0], problem.initial[0]
    M = weights(strategy, len(problem.x))
    got = gradients(problem, strategy, Cotangents(problem.cotangents.y))
    expected = np.zeros(flatten(p).size)
    for b in range(problem.x.shape[1]):
        state = np.concatenate([initial[name][b] for name in problem.cell.states])
        C, C0 = contributions(problem.cell, p, problem.x[:, b], state, problem.cotangents.y[:, b])
        expected += np.einsum("ts,tsp->p", M[:, 1:], C)
        dh0 = np.concatenate([got.initial[0][0][name][b] for name in problem.cell.states])
        assert close(dh0, M[:, 0] @ C0, 10**6)
    assert close(flatten(got.parameters[0][0]), expected, 10**6)


@given(problems(layers=2), STRATEGIES, STRATEGIES, st.booleans(), st.data())
def test_a_pullback_takes_another_strategy(problem, first, second, ragged, data):
    """One forward pass serves all, cotangents of final states and rows of different lengths included."""
    T, B = problem.x.shape[:2]
    lengths = np.array(data.draw(st.lists(st.integers(0, T), min_size=B, max_size=B))) if ragged else None
    where = problem.cell, problem.parameters, problem.x, problem.initial
    (_, pullback), (_, alone) = (vjp(*where, lengths=lengths, strategy=s) for s in (first, second))
    got, expected = pullback(problem.cotangents, second), alone(problem.cotangents)
    for a, b in zip(flatten(got.parameters[0][0]), flatten(expected.parameters[0][0]), strict=True):
        assert a == b
    assert np.array_equal(got.x, expected.x) and np.array_equal(got.initial[0][0]["h"], expected.initial[0][0]["h"])


def test_a_strategy_that_is_not_defined_is_refused_by_the_pullback():
    x, cell = np.zeros((2, 1, 1)), RNN("tanh")
    leaf = {"W_hx": np.ones((1, 1)), "W_hh": np.ones((1, 1))}
    _, pullback = vjp(cell, ((leaf, leaf),), x)
    with pytest.raises(ValueError, match="reverse direction"):
        pullback(Cotangents(np.ones((2, 1, 2))), Regular(1))


@given(problems(layers=2), STRATEGIES)
def test_xray_of_a_stack(problem, strategy):
    """From only the loss at t, dx_s is M[t, s] times its value in full BPTT, in a stack of layers, too."""
    T = len(problem.x)
    M = weights(strategy, T)
    for t in range(T):
        dy = np.zeros_like(problem.cotangents.y)
        dy[t] = problem.cotangents.y[t]
        full, got = (gradients(problem, s, Cotangents(dy)) for s in (Full(), strategy))
        assert close(got.x, M[t, 1:][:, None, None] * full.x, 10**6)


@given(problems(least=2), st.floats(0.3, 0.9))
def test_reweighted_random_truncation_is_unbiased(problem, pi):
    """Exactly: the mean over all patterns of links, weighted by their probabilities, is the full gradient."""
    T = min(len(problem.x), 4)
    problem = type(problem)(problem.cell, problem.parameters, problem.x[:T], problem.initial, problem.cotangents)
    cotangents = Cotangents(problem.cotangents.y[:T], problem.cotangents.final)
    mean = 0
    for kept in itertools.product([0, 1], repeat=T - 1):
        probability = np.prod([pi if k else 1 - pi for k in kept])
        mean = mean + probability * gradients(problem, Links((1.0, *(k / pi for k in kept))), cotangents).x
    assert close(mean, gradients(problem, Full(), cotangents).x, 10**6)


@given(problems(), st.integers(1, 6))
def test_blocks_of_one_size_are_segments(problem, tau):
    T = len(problem.x) // tau * tau
    if T:
        problem = type(problem)(problem.cell, problem.parameters, problem.x[:T], problem.initial, problem.cotangents)
        cotangents = Cotangents(problem.cotangents.y[:T])
        blocks, regular = (gradients(problem, s, cotangents) for s in (Blocks(tau, tau), Regular(tau)))
        assert close(blocks.x, regular.x, 10**5)


@given(st.floats(0.1, 1), st.integers(0, 99), st.integers(0, 30), st.integers(0, 30))
def test_any_stretch_of_a_random_pattern(pi, seed, start, more):
    strategy = Random(pi, seed)
    np.testing.assert_array_equal(strategy.links(start + more, start), strategy.links(start + more)[start:])


@given(problems(least=2), st.data(), st.sampled_from([np.inf, -np.inf, np.nan]))
def test_losses_that_contribute_nothing_may_have_exploded(problem, data, exploded):
    T = len(problem.x)
    k = data.draw(st.integers(1, T - 1), label="k")
    cut, dy = (problem.cotangents.y.copy() for _ in range(2))
    cut[: T - k], dy[: T - k] = 0, exploded
    got, expected = (gradients(problem, Last(k), Cotangents(y)) for y in (dy, cut))
    np.testing.assert_array_equal(got.x, expected.x)


@pytest.mark.parametrize("make", [
    lambda: Regular(0), lambda: Regular(2.5), lambda: Window(1.5), lambda: Last(np.nan), lambda: Blocks(3, 2),
    lambda: Blocks(1, 2.5), lambda: Random(0, 1), lambda: Random(np.nan, 1), lambda: Links((0.0, 1.0)),
    lambda: Links((1.0, np.nan)), lambda: Links((1.0, -np.inf)),
])  # fmt: skip
def test_nonsense_is_refused(make):
    with pytest.raises(ValueError, match="must"):
        make()
