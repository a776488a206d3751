"""Objectives with weights of steps and rows: their value, their derivatives, and arguments that do not fit."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpttref import Cotangents, Full, Objective, Regular, streamed_gradients, vjp
from bpttref.oracles import paths

from .problems import close, gradient_at, problems

KINDS = ("cross-entropy", "squared-error", "linear")


def make(rng, kind, T, B, H, Q=3):
    """An objective with weights ``(T, B)``, some of them zero, and a scale for each row."""
    readout = {} if kind == "linear" else {"W_qh": rng.normal(size=(Q, H)), "b_q": rng.normal(size=Q)}
    if rng.random() < 0.3:
        readout.pop("b_q", None)
    targets = rng.integers(0, Q, (T, B)) if kind == "cross-entropy" else rng.normal(size=(T, B, Q if readout else H))
    weights = rng.normal(size=(T, B)) * rng.integers(0, 2, (T, B))
    return Objective(kind, targets, **readout, weights=weights, scale=rng.normal(size=B))


@st.composite
def weighted(draw, kinds=KINDS):
    """An objective, and outputs ``(T, B, H)`` for it."""
    T, B, H = (draw(st.integers(1, 5), label=name) for name in ("T", "B", "H"))
    rng = np.random.default_rng(draw(st.integers(0, 9999), label="seed"))
    return make(rng, draw(st.sampled_from(kinds)), T, B, H), rng.normal(size=(T, B, H))


@given(weighted())
def test_weights_of_rows_equal_weights_of_steps_row_by_row(drawn):
    objective, y = drawn
    whole = objective(y)
    total, readout = 0.0, {name: 0.0 for name in objective.readout}
    for b in range(y.shape[1]):
        row = replace(
            objective,
            targets=objective.targets[:, b : b + 1],
            weights=objective.weights[:, b],
            scale=float(objective.scale[b]),
        )
        alone = row(y[:, b : b + 1])
        total += alone.loss
        readout = {name: sums + alone.readout[name] for name, sums in readout.items()}
        assert close(whole.dy[:, b : b + 1], alone.dy)
        assert close(objective.factors[:, b : b + 1], row.factors)
    assert close(whole.loss, total) and all(close(whole.readout[name], array) for name, array in readout.items())


@given(weighted(), st.integers(0, 9999))
def test_cotangents_and_gradients_of_the_readout_are_derivatives(drawn, seed):
    objective, y = drawn
    rng, step = np.random.default_rng(seed), 2.0**-10
    at = {"y": y, **objective.readout}
    along = {name: rng.normal(size=array.shape) for name, array in at.items()}

    def loss(by):
        moved = {name: array + by * along[name] for name, array in at.items()}
        return objective.with_readout(moved)(moved["y"]).loss

    found = objective(y)
    slope = sum(float((g * along[name]).sum()) for name, g in {"y": found.dy, **found.readout}.items())
    differences = [(loss(h) - loss(-h)) / (2 * h) for h in (step, step / 2)]
    extrapolated = (4 * differences[1] - differences[0]) / 3
    assert abs(extrapolated - slope) < 1e-7 * (1 + abs(slope) + y.size)


@given(weighted(), st.data())
def test_the_whole_is_the_sum_of_its_pieces(drawn, data):
    objective, y = drawn
    edge = data.draw(st.integers(0, len(y)))
    whole, left, right = objective(y), objective(y[:edge]), objective(y[edge:], edge)
    assert close(whole.loss, left.loss + right.loss) and close(whole.dy, np.concatenate([left.dy, right.dy]))


@given(weighted(), st.integers(1, 3))
def test_replicates_share_the_weights(drawn, replicates):
    objective, y = drawn
    many = {name: np.stack([array] * replicates) for name, array in objective.readout.items()}
    found, one = objective.with_readout(many)(np.stack([y] * replicates, 1)), objective(y)
    assert np.shape(found.loss) == (replicates,) and close(found.loss, one.loss)
    assert all(close(found.dy[:, r], one.dy) for r in range(replicates))


@given(weighted(("cross-entropy",)))
def test_a_weight_of_zero_leaves_out_an_infinite_loss(drawn):
    """Of a class that is masked by a bias of -inf."""
    objective, y = drawn
    masked = replace(objective, b_q=np.array([0.5, -0.5, -np.inf]), weights=np.where(objective.targets == 2, 0, 1.5))
    plain = replace(masked, targets=np.minimum(masked.targets, 1))
    found, expected = masked(y), plain(y)
    assert close(found.loss, expected.loss) and close(found.dy, expected.dy)
    assert all(close(found.readout[name], array) for name, array in expected.readout.items())


@given(problems(), st.sampled_from([Full(), Regular(2)]), st.sampled_from(KINDS), st.data())
def test_a_stream_takes_weights_of_rows(problem, strategy, kind, data):
    T, B, H = problem.cotangents.y.shape
    objective = make(np.random.default_rng(data.draw(st.integers(0, 9999))), kind, T, B, H)
    chunks = np.split(problem.x, [data.draw(st.integers(0, T))])
    arguments = problem.cell, problem.parameters
    loss, got, _ = streamed_gradients(
        *arguments, chunks, objective, problem.initial, strategy, lambda start, piece: None
    )
    outputs, pullback = vjp(*arguments, problem.x, problem.initial, strategy=strategy)
    expected = objective(outputs.y)
    assert close(loss, expected.loss, 10**5)
    assert all(close(got.readout[name], array, 10**5) for name, array in expected.readout.items())
    gradients = pullback(Cotangents(expected.dy))
    for path in paths(problem):
        if path != ("x",):
            assert close(gradient_at(got, path), gradient_at(gradients, path), 10**6), path


@given(weighted(), st.integers(1, 3))
def test_weights_and_scales_that_do_not_fit_are_refused(drawn, more):
    objective, y = drawn
    T, B = y.shape[:2]
    for weights in (np.ones((T, B + more)), np.ones((T, B, 1)), np.ones(T + more)[: T - 1]):
        with pytest.raises(ValueError, match="the loss takes weights"):
            replace(objective, weights=weights)(y)
    with pytest.raises(ValueError, match="a number for its scale, or one for each of"):
        replace(objective, scale=np.ones(B + more))(y)
