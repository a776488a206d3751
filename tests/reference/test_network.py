"""Layers, directions, lengths, tokens, dtypes and edges of the reference."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpttref import CELLS, RNN, Cotangents, Regular, trees, vjp
from bpttref.oracles import paths

from .problems import close, gradient_at, make, problems


@given(problems(), st.data())
def test_ragged_batch_is_its_rows(problem, data):
    """Each row on its own, cut to its length, gives the same; garbage behind the ends changes nothing."""
    T, B = problem.x.shape[:2]
    lengths = np.array(data.draw(st.lists(st.integers(0, T), min_size=B, max_size=B)))
    garbage = problem.x.copy()
    garbage[np.arange(T)[:, None] >= lengths] = np.nan
    outputs, pullback = vjp(problem.cell, problem.parameters, garbage, problem.initial, lengths=lengths)
    got = pullback(problem.cotangents)
    total = 0
    for b, n in enumerate(lengths):
        state = tuple(({k: a[b : b + 1] for k, a in leaf.items()},) for (leaf,) in problem.initial)
        final = tuple(({k: a[b : b + 1] for k, a in leaf.items()},) for (leaf,) in problem.cotangents.final)
        row, pull = vjp(problem.cell, problem.parameters, problem.x[:n, b : b + 1], state)
        gradients = pull(Cotangents(problem.cotangents.y[:n, b : b + 1], final))
        assert close(outputs.y[:n, b], row.y[:, 0], 10**5) and not outputs.y[n:, b].any()
        assert close(got.x[:n, b], gradients.x[:, 0], 10**6) and not got.x[n:, b].any()
        assert close(got.initial[0][0]["h"][b], gradients.initial[0][0]["h"][0], 10**6)
        total = total + gradients.parameters[0][0]["W_hh"]
    assert close(got.parameters[0][0]["W_hh"], total, 10**6)


@given(problems(layers=1))
def test_reverse_is_flip_run_flip(problem):
    (p,), (s,) = problem.parameters[0], problem.initial[0]
    both, _ = vjp(problem.cell, ((p, p),), problem.x, ((s, s),))
    flipped, _ = vjp(problem.cell, ((p,),), problem.x[::-1], ((s,),))
    H = p["W_hh"].shape[-1]
    np.testing.assert_array_equal(both.y[..., H:], flipped.y[::-1])


@given(problems(), st.integers(0, 99))
def test_tokens_are_one_hot_vectors(problem, seed):
    T, B, D = problem.x.shape
    tokens = np.random.default_rng(seed).integers(0, D, (T, B))
    results = []
    for x in (tokens, np.eye(D)[tokens]):
        outputs, pullback = vjp(problem.cell, problem.parameters, x, problem.initial)
        results.append((outputs, pullback(problem.cotangents)))
    (a, ga), (b, gb) = results
    assert ga.x is None and close(a.y, b.y, 10**5)
    assert close(ga.parameters[0][0]["W_hx"], gb.parameters[0][0]["W_hx"], 10**5)


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", ["float32", "float64", "longdouble"])
def test_dtype_in_is_dtype_out(cell, dtype):
    problem = make(cell, 3, 2, 4, 5, 2, seed=1)
    cast = [tuple(({k: a.astype(dtype) for k, a in leaf.items()},) for (leaf,) in tree) for tree in
            (problem.parameters, problem.initial)]  # fmt: skip
    outputs, pullback = vjp(cell, cast[0], problem.x.astype(dtype), cast[1], strategy=Regular(2))
    gradients = pullback(problem.cotangents)
    arrays = [outputs.y, outputs.final[0][0]["h"]] + [gradient_at(gradients, path) for path in paths(problem)]
    assert {a.dtype for a in arrays} == {np.dtype(dtype)}


@pytest.mark.parametrize("cell", [c for c in CELLS if c.name not in ("rnn-relu", "rnn-identity")], ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_saturated_gates_are_finite(cell, dtype):
    """Pre-activations of +-1e4: no warning (pytest makes them errors), no infinity, forward and backward."""
    problem = make(cell, 4, 3, 2, 3, 1, seed=2)
    (p,) = problem.parameters[0]
    p = {k: a.astype(dtype) for k, a in p.items()}
    p["b_hx"] = np.where(p["b_hx"] > 0, 1e4, -1e4).astype(dtype)
    outputs, pullback = vjp(cell, ((p,),), problem.x.astype(dtype))
    assert np.isfinite(outputs.y).all()
    assert np.isfinite(pullback(problem.cotangents).x).all()


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)
@pytest.mark.parametrize(("T", "B"), [(0, 2), (3, 0), (1, 1)])
def test_empty_sequences_and_batches(cell, T, B):
    problem = make(cell, T, B, 2, 3, 2, seed=3)
    outputs, pullback = vjp(cell, problem.parameters, problem.x, problem.initial)
    gradients = pullback(problem.cotangents)
    assert outputs.y.shape == (T, B, 3) and gradients.x.shape == (T, B, 2)
    if T == 0:
        np.testing.assert_array_equal(gradients.initial[1][0]["h"], problem.cotangents.final[1][0]["h"])


def test_arguments_that_do_not_fit_are_named():
    problem = make(RNN(), 3, 2, 4, 5, 1, seed=4)
    with pytest.raises(ValueError, match=r"W_hx of layer 0 has shape \(5, 4\).*takes \(5, 3\)"):
        vjp(problem.cell, problem.parameters, problem.x[..., :3])
    with pytest.raises(ValueError, match="dtype float32"):
        vjp(problem.cell, problem.parameters, problem.x.astype(np.float32))
    with pytest.raises(ValueError, match="lengths must lie between"):
        vjp(problem.cell, problem.parameters, problem.x, lengths=np.array([4, 1]))
    both = replace(problem, parameters=(problem.parameters[0] * 2,), initial=(problem.initial[0] * 2,))
    with pytest.raises(ValueError, match="not defined for the reverse direction"):
        vjp(both.cell, both.parameters, both.x, both.initial, strategy=Regular(2))


@given(problems(), st.data())
def test_a_state_that_does_not_fit_is_named(problem, data):
    layer = data.draw(st.integers(0, len(problem.initial) - 1), label="layer")
    name = data.draw(st.sampled_from(problem.cell.states), label="name")
    change = data.draw(st.sampled_from([
        lambda a: a[:1].repeat(len(a) + 1, 0), lambda a: a[0], lambda a: np.c_[a, a],
        lambda a: a.astype(complex), lambda a: a.astype(int), lambda a: a.astype("float32"),
    ]))  # fmt: skip
    (state,) = problem.initial[layer]
    initial = list(problem.initial)
    initial[layer] = ({**state, name: change(state[name])},)
    with pytest.raises(ValueError, match=f"initial state {name} of layer {layer} has shape"):
        vjp(problem.cell, problem.parameters, problem.x, tuple(initial))


def test_one_state_for_all_rows_is_a_broadcast_view():
    problem = make(RNN(), 3, 2, 4, 5, 1, seed=4)
    one = problem.initial[0][0]["h"][:1]
    with pytest.raises(ValueError, match=r"initial state h of layer 0 has shape \(1, 5\)"):
        vjp(problem.cell, problem.parameters, problem.x, (({"h": one},),))
    vjp(problem.cell, problem.parameters, problem.x, (({"h": np.broadcast_to(one, (2, 5))},),))


@given(problems(), st.data())
def test_cotangents_that_do_not_fit_are_named(problem, data):
    _, pullback = vjp(problem.cell, problem.parameters, problem.x, problem.initial)
    change = data.draw(st.sampled_from([
        lambda a: np.stack([a, a]), lambda a: np.concatenate([a, a[:1]]), lambda a: np.concatenate([a, a], -1),
        lambda a: a.astype(complex),
    ]))  # fmt: skip
    y, final = problem.cotangents
    with pytest.raises(ValueError, match="the cotangent of y has shape"):
        pullback(Cotangents(change(y), final))
    with pytest.raises(ValueError, match="the cotangent of the final state h of layer 0 has shape"):
        pullback(Cotangents(y, trees.each(change, final)))
    with pytest.raises(ValueError, match="a cotangent of a final state H, not of"):
        pullback(Cotangents(y, (({"H": final[0][0]["h"]},),) + final[1:]))
    with pytest.raises(ValueError, match="cotangents of 2 final states, but 1 directions"):
        pullback(Cotangents(y, (final[0] * 2,) + final[1:]))


@given(problems(), st.data(), st.sampled_from([-1, -100, "D"]))
def test_tokens_outside_are_named_but_not_in_padding(problem, data, token):
    T, B, D = problem.x.shape
    tokens = np.zeros((T, B), int)
    t, b = data.draw(st.integers(0, T - 1)), data.draw(st.integers(0, B - 1))
    tokens[t, b] = D if token == "D" else token
    lengths = np.where(np.arange(B) == b, t, T)
    with pytest.raises(ValueError, match=f"tokens must lie between 0 and {D - 1}"):
        vjp(problem.cell, problem.parameters, tokens)
    with pytest.raises(ValueError, match="tokens must lie between"):
        vjp(problem.cell, problem.parameters, tokens, lengths=lengths + (np.arange(B) == b))
    vjp(problem.cell, problem.parameters, tokens, lengths=lengths)


def test_whole_numbers_with_three_axes_are_no_tokens():
    problem = make(RNN(), 3, 2, 4, 5, 1, seed=4)
    with pytest.raises(ValueError, match="tokens have two axes"):
        vjp(problem.cell, problem.parameters, problem.x.astype(int))


@pytest.mark.parametrize("lengths", [np.array([1]), np.array([1.5, 2]), np.ones((2, 2), int)], ids=str)
def test_lengths_are_one_whole_number_a_row(lengths):
    problem = make(RNN(), 3, 2, 4, 5, 1, seed=4)
    with pytest.raises(ValueError, match="lengths must be 2 whole numbers"):
        vjp(problem.cell, problem.parameters, problem.x, lengths=lengths)


def test_a_third_direction_is_refused():
    problem = make(RNN(), 3, 2, 4, 5, 1, seed=4)
    with pytest.raises(ValueError, match="layer 0 has 3 directions"):
        vjp(problem.cell, (problem.parameters[0] * 3,), problem.x, (problem.initial[0] * 3,))
