"""Rows that start anew inside a sequence: as if each stretch between two resets were a row on its own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpttref import (
    CELLS,
    LSTM,
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
    trees,
    vjp,
    weights,
)

from .problems import close, make, problems

flags = st.integers(0, 2**30)
where = st.sampled_from(["zeros", "initial"])


def drawn(problem, seed):
    return np.random.default_rng(seed).random(problem.x.shape[:2]) < 0.4


def stretches(resets, b):
    """From where to where a row runs without a reset, those without steps left out."""
    edges = sorted({0, *np.flatnonzero(resets[:, b]).tolist(), len(resets)})
    return list(zip(edges, edges[1:], strict=False))


def of_row(tree, b):
    return trees.each(lambda a: a[b : b + 1], tree)


def apart(problem, resets, reset_to):
    """Outputs and gradients from each stretch of each row, run on its own."""
    T, B, _ = problem.x.shape
    dy, dfinal = problem.cotangents
    y, dx = np.zeros_like(dy), np.zeros_like(problem.x)
    final = trees.copy(problem.initial)
    dinitial, dparameters = trees.scale(problem.initial, 0), None
    for b in range(B):
        for start, stop in stretches(resets, b):
            anew = resets[start, b] and reset_to == "zeros"
            state = trees.scale(of_row(problem.initial, b), 0.0 if anew else 1.0)
            outputs, pull = vjp(problem.cell, problem.parameters, problem.x[start:stop, b : b + 1], state)
            ends = of_row(dfinal, b) if stop == T else None
            found = pull(Cotangents(dy[start:stop, b : b + 1], ends))
            y[start:stop, b], dx[start:stop, b] = outputs.y[:, 0], found.x[:, 0]
            dparameters = trees.add(dparameters, found.parameters)
            for k, (layer,) in enumerate(found.initial):
                for name, d in layer.items():
                    dinitial[k][0][name][b] += 0 if anew else d[0]
                    final[k][0][name][b] = outputs.final[k][0][name][0]
    return y, final, dx, dparameters, dinitial


def same(a, b):
    if isinstance(a, dict):
        return all(same(a[name], b[name]) for name in a)
    if isinstance(a, tuple | list):
        return all(map(same, a, b))
    return close(a, b, 3000)


@given(problems(), flags, where)
def test_a_reset_row_is_separate_rows(problem, seed, reset_to):
    resets = drawn(problem, seed)
    arguments = problem.cell, problem.parameters, problem.x, problem.initial
    outputs, pull = vjp(*arguments, resets=resets, reset_to=reset_to)
    found = pull(problem.cotangents)
    got = (outputs.y, outputs.final, found.x, found.parameters, found.initial)
    assert same(got, apart(problem, resets, reset_to))


@given(problems(least=2), flags, where, st.integers(0, 4))
def test_truncation_and_resets(problem, seed, reset_to, rule):
    """M[t, s, b] = M[t, s] unless a reset of row b lies in (s, t]; steps count from the first of the call."""
    T, B, _ = problem.x.shape
    rng = np.random.default_rng(seed)
    resets = drawn(problem, seed)
    xi = (1.0, *rng.choice([0.0, 0.5, 1, 2], T - 1))
    strategy = (Regular(2), Links(xi), Window(2), Blocks(2, 3), Last(2))[rule]
    arguments = problem.cell, problem.parameters, problem.x, problem.initial
    full = vjp(*arguments, resets=resets, reset_to=reset_to)[1]
    cut = vjp(*arguments, resets=resets, reset_to=reset_to, strategy=strategy)[1]
    M, total = weights(strategy, T), 0
    for t in range(T):
        one = np.zeros_like(problem.cotangents.y)
        one[t] = problem.cotangents.y[t]
        whole, part = full(Cotangents(one)), cut(Cotangents(one))
        for b in range(B):
            since = max(np.flatnonzero(resets[: t + 1, b]), default=0)
            kept = np.where(np.arange(T) >= since, M[t, 1:], 0)
            assert close(part.x[:, b], kept[:, None] * whole.x[:, b], 3000)
        total = total + part.x
    assert close(cut(Cotangents(problem.cotangents.y)).x, total, 3000)


@given(problems(), flags, where, st.integers(1, 4))
def test_checkpoints_and_streams(problem, seed, reset_to, size):
    """They give the same, at pieces and chunks of any length."""
    resets, T = drawn(problem, seed), len(problem.x)
    options = {"resets": resets, "reset_to": reset_to}
    arguments = problem.cell, problem.parameters, problem.x, problem.initial
    for strategy in (Full(), Regular(2), Random(0.5, seed)):
        outputs, pull = vjp(*arguments, strategy=strategy, **options)
        again, pull_again = checkpointed_vjp(*arguments, strategy=strategy, piece=size, **options)
        assert same((outputs.y, outputs.final), (again.y, again.final))
        assert same(pull(problem.cotangents)[:3], pull_again(problem.cotangents)[:3])
        objective = Objective("linear", problem.cotangents.y)
        chunks = [problem.x[t : t + size] for t in range(0, T, size)]
        dx = np.zeros_like(problem.x)

        def receive(start, piece, dx=dx):
            dx[start : start + len(piece)] = piece

        loss, streamed, final = streamed_gradients(
            *arguments[:2], chunks, objective, problem.initial, strategy, receive, **options
        )
        found = pull(Cotangents(problem.cotangents.y))
        assert same((outputs.final, found.parameters, found.initial, found.x),
                    (final, streamed.parameters, streamed.initial, dx))  # fmt: skip
        assert close(loss, np.sum(outputs.y * problem.cotangents.y), 3000)


@given(problems(), flags, where)
def test_resets_behind_the_end_of_a_row_are_none(problem, seed, reset_to):
    rng, (T, B, _) = np.random.default_rng(seed), problem.x.shape
    lengths, resets = rng.integers(0, T + 1, B), drawn(problem, seed)
    inside = resets & (np.arange(T)[:, None] < lengths)
    arguments = problem.cell, problem.parameters, problem.x, problem.initial
    for strategy in (Full(), Window(2)):
        (a, pull_a), (b, pull_b) = (
            vjp(*arguments, resets=r, reset_to=reset_to, lengths=lengths, strategy=strategy) for r in (resets, inside)
        )
        assert same((a.y, a.final), (b.y, b.final))
        assert same(pull_a(problem.cotangents)[:3], pull_b(problem.cotangents)[:3])


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_no_reset_is_full_and_one_at_each_step_is_rows_of_one_step(cell):
    problem = make(cell, 4, 2, 3, 5, 2, seed=1)
    T, B, D = problem.x.shape
    arguments = problem.cell, problem.parameters, problem.x, problem.initial
    none, full = (vjp(*arguments, resets=r) for r in (np.zeros((T, B), bool), None))
    assert same(none[1](problem.cotangents)[:3], full[1](problem.cotangents)[:3])
    outputs, pull = vjp(*arguments, resets=np.ones((T, B), bool))
    rows, pull_rows = vjp(problem.cell, problem.parameters, problem.x.reshape(1, T * B, D))
    found, apart = (
        pull(Cotangents(problem.cotangents.y)),
        pull_rows(Cotangents(problem.cotangents.y.reshape(1, T * B, -1))),
    )
    assert close(outputs.y.reshape(rows.y.shape), rows.y) and close(found.x.reshape(apart.x.shape), apart.x)
    assert same(found.parameters, apart.parameters) and not np.any(found.initial[0][0]["h"])


@pytest.mark.parametrize(("options", "said"), [
    ({"resets": np.zeros((4, 3), bool)}, "flags of shape"),
    ({"resets": np.zeros((4, 2))}, "flags of shape"),
    ({"resets": np.zeros((4, 2), bool), "reset_to": "ones"}, "reset_to must be"),
])  # fmt: skip
def test_nonsense_is_one_sentence(options, said):
    problem = make(LSTM(), 4, 2, 3, 5, 1, seed=1)
    for door in (vjp, checkpointed_vjp):
        with pytest.raises(ValueError, match=said):
            door(problem.cell, problem.parameters, problem.x, problem.initial, **options)


def test_two_directions_have_no_resets():
    problem = make(LSTM(), 4, 2, 3, 5, 1, seed=1)
    (layer,), (states,) = problem.parameters[0], problem.initial[0]
    with pytest.raises(ValueError, match="not defined for the reverse direction"):
        vjp(problem.cell, ((layer, layer),), problem.x, ((states, states),), resets=np.zeros((4, 2), bool))
