"""Streaming and checkpointing give the plain gradient, in the memory that they promise."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpttref import (
    LSTM,
    RNN,
    Blocks,
    Cotangents,
    Full,
    Last,
    Links,
    Objective,
    Random,
    Regular,
    Window,
    checkpointed_vjp,
    streamed_gradients,
    vjp,
    zero_states,
)
from bpttref.oracles import paths

from .problems import close, gradient_at, make, problems

LINKS = st.sampled_from([Full(), Regular(1), Regular(2), Regular(3), Random(0.5, 7), Random(0.7, 3, False)])


@given(problems(), LINKS, st.lists(st.integers(0, 6), max_size=3))
def test_any_chunks_give_the_plain_gradient(problem, strategy, edges):
    objective = Objective("linear", problem.cotangents.y)
    chunks = np.split(problem.x, sorted(min(e, len(problem.x)) for e in edges))
    dx = np.zeros_like(problem.x)

    def receive(start, piece):
        dx[start : start + len(piece)] = piece

    loss, got, final = streamed_gradients(
        problem.cell, problem.parameters, chunks, objective, problem.initial, strategy, receive
    )
    outputs, pullback = vjp(problem.cell, problem.parameters, problem.x, problem.initial, strategy=strategy)
    expected = pullback(Cotangents(problem.cotangents.y))
    assert close(loss, objective(outputs.y).loss)
    assert close(final[0][0]["h"], outputs.final[0][0]["h"], 10**5)
    for path in paths(problem):
        assert close(gradient_at(got._replace(x=dx), path), gradient_at(expected, path), 10**6), path


@given(problems(), LINKS, st.integers(1, 7))
def test_checkpoints_give_the_plain_gradient(problem, strategy, piece):
    arguments = (problem.cell, problem.parameters, problem.x, problem.initial)
    plain, pullback = vjp(*arguments, strategy=strategy)
    outputs, checkpointed = checkpointed_vjp(*arguments, strategy=strategy, piece=piece)
    assert close(outputs.y, plain.y, 10**5)
    expected, got, again = pullback(problem.cotangents), checkpointed(problem.cotangents), None
    again = checkpointed(problem.cotangents)
    for path in paths(problem):
        assert close(gradient_at(got, path), gradient_at(expected, path), 10**6), path
        np.testing.assert_array_equal(gradient_at(got, path), gradient_at(again, path))


@given(problems(), st.data(), st.integers(1, 7))
def test_checkpoints_give_the_plain_gradient_of_rows_of_different_lengths(problem, data, piece):
    """A link behind a row's end does not change its final cotangent, whatever the link's multiplier."""
    T, B = problem.x.shape[:2]
    xi = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=T - 1, max_size=T - 1), label="xi")
    lengths = np.array(data.draw(st.lists(st.integers(0, T), min_size=B, max_size=B), label="lengths"))
    arguments = (problem.cell, problem.parameters, problem.x, problem.initial)
    options = {"lengths": lengths, "strategy": Links((1.0, *xi))}
    expected = vjp(*arguments, **options)[1](problem.cotangents)
    got = checkpointed_vjp(*arguments, **options, piece=piece)[1](problem.cotangents)
    for path in paths(problem):
        assert close(gradient_at(got, path), gradient_at(expected, path), 10**6), path


@given(problems(least=0), st.booleans())
def test_checkpoints_without_steps(problem, with_final):
    problem = type(problem)(problem.cell, problem.parameters, problem.x[:0], problem.initial, problem.cotangents)
    arguments = (problem.cell, problem.parameters, problem.x, problem.initial)
    cotangents = Cotangents(problem.cotangents.y[:0], problem.cotangents.final if with_final else None)
    expected, got = (f(*arguments)[1](cotangents) for f in (vjp, checkpointed_vjp))
    for path in paths(problem):
        np.testing.assert_array_equal(gradient_at(got, path), gradient_at(expected, path))


@pytest.mark.parametrize("strategy", [Last(2), Window(2), Blocks(1, 2)], ids=repr)
def test_strategies_that_do_not_cut_links_are_refused(strategy):
    problem = make(RNN(), 3, 2, 2, 2, 1, seed=0)
    objective = Objective("linear", problem.cotangents.y)
    with pytest.raises(ValueError, match="does not cut links"):
        checkpointed_vjp(problem.cell, problem.parameters, problem.x, problem.initial, strategy=strategy)
    with pytest.raises(ValueError, match="does not cut links"):
        streamed_gradients(problem.cell, problem.parameters, [problem.x], objective, problem.initial, strategy)


@given(problems(), LINKS, st.integers(1, 4))
def test_a_chunk_may_be_refilled(problem, strategy, size):
    """As a reader does that reads every chunk into one buffer."""
    T, B, D = problem.x.shape
    buffer = np.empty((size, B, D))

    def refilled():
        for start in range(0, T, size):
            part = buffer[: len(problem.x[start : start + size])]
            part[...] = problem.x[start : start + size]
            yield part

    def run(chunks):
        objective = Objective("linear", problem.cotangents.y)
        return streamed_gradients(problem.cell, problem.parameters, chunks, objective, problem.initial, strategy)

    _, got, _ = run(refilled())
    _, expected, _ = run([problem.x[start : start + size] for start in range(0, T, size)])
    for path in paths(problem)[1:]:
        np.testing.assert_array_equal(gradient_at(got, path), gradient_at(expected, path))


def peak(run):
    """The least of a few runs, because the memory of other threads counts, too."""
    run()
    peaks = []
    for _ in range(2):
        tracemalloc.start()
        run()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return min(peaks)


def stream(T, strategy):
    problem = make(LSTM(), 1, 2, 3, 64, 1, seed=0)
    state = zero_states(problem.cell, problem.parameters, 2)
    rng = np.random.default_rng(0)
    chunks = (rng.normal(size=(32, 2, 3)) for _ in range(T // 32))

    def objective(y, start):
        return Objective("linear", y)(y)

    streamed_gradients(problem.cell, problem.parameters, chunks, objective, state, strategy)


@pytest.mark.parametrize(("strategy", "least", "most"), [(Regular(32), 0.9, 1.2), (Full(), 3.0, 4.5)])
def test_memory_of_a_stream_follows_its_segments(strategy, least, most):
    """Four times as many steps: the same memory where there are cuts, four times as much where there are none."""
    ratio = peak(lambda: stream(2048, strategy)) / peak(lambda: stream(512, strategy))
    assert least < ratio < most


def test_memory_of_a_random_stream_follows_its_longest_segment():
    """The longest segment grows like log T: the memory is compared with regular segments of the same length."""
    for seed in range(2):
        strategy = Random(0.95, seed)
        edges = np.flatnonzero(np.concatenate([[True], strategy.links(2048)[1:] == 0, [True]]))
        longest = Regular(int(np.diff(edges).max()))
        assert peak(lambda s=strategy: stream(2048, s)) < 1.25 * peak(lambda s=longest: stream(2048, s))


def test_memory_of_checkpoints_grows_like_the_root():
    def run(T):
        problem = make(LSTM(), T, 2, 1, 32, 1, seed=0)

        def measured():
            _, pullback = checkpointed_vjp(problem.cell, problem.parameters, problem.x, problem.initial)
            pullback(Cotangents(None, problem.cotangents.final))

        outputs = problem.x.size * 32 * 8
        return peak(measured) - outputs

    assert run(4096) / run(1024) < 2.6


@given(problems(), LINKS)
def test_the_gradient_of_the_inputs_need_not_be_made(problem, strategy):
    arguments = (problem.cell, problem.parameters, problem.x, problem.initial)
    expected = vjp(*arguments, strategy=strategy)[1](problem.cotangents)
    got = vjp(*arguments, strategy=strategy, pull_inputs=False)[1](problem.cotangents)
    assert got.x is None
    for path in paths(problem):
        if path[0] != "x":
            np.testing.assert_array_equal(gradient_at(got, path), gradient_at(expected, path))


def test_an_exploded_gradient_is_cut_between_checkpoints():
    """It is infinite at the cut: 0 times it would be no number."""
    layer = {"W_hx": np.ones((1, 1)), "W_hh": np.full((1, 1), 1e200)}
    x, h0 = np.zeros((6, 1, 1)), (({"h": np.zeros((1, 1))},),)
    _, pullback = checkpointed_vjp(RNN("identity"), ((layer,),), x, h0, strategy=Regular(3), piece=3)
    with np.errstate(over="ignore", invalid="ignore"):
        dx = pullback(Cotangents(np.ones((6, 1, 1)))).x.ravel()
    assert dx[2] == 1 and not np.isnan(dx).any()


def test_a_final_state_does_not_keep_the_tape():
    problem = make(LSTM(), 1, 2, 3, 16, 1, seed=1)
    outputs, _ = vjp(problem.cell, problem.parameters, problem.x, problem.initial)
    assert all(state.base is None for state in outputs.final[0][0].values())
