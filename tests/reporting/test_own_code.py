"""`check` in a test and in a script: its output, its errors; and losses without any other gradients."""

import re
from functools import partial

import numpy as np
import pytest

import bpttcheck
from bpttref import Regular

ZEROS = np.zeros
FEW = {"examples": 6, "sizes": {"T": range(1, 5)}}


def leaky(k, x, slip=1.0):
    h, hs = ZEROS(x.shape[1:]), []
    for x_t in x:
        hs.append(h)
        h = k * h + x_t

    def pullback(dy):
        dk, dx, dh = 0 * k, ZEROS(x.shape), 0
        for t in reversed(range(len(x))):
            dx[t] = dh = dy[t] + dh
            dk, dh = dk + slip * (dh * hs[t]).sum(axis=0), dh * k
        return dk, dx

    return np.array([*hs[1:], h]), pullback


LEAKY = {"parameters": ZEROS(3), "x": ZEROS((5, 4, 3)), **FEW}


def test_a_verdict_prints_as_verify_does():
    text = str(bpttcheck.check(leaky, **LEAKY))
    assert "leaky, float64: worst error / tolerance" in text and "own-forward-derivative" in text
    assert "split-resume" not in text  # skipped
    assert text.splitlines()[-2].startswith("ran 19 of ") and "19 passed" in text
    assert text.splitlines()[-1] == "Arrays: x (T, B, 3), y (T, B, 3). Gradients tested: parameters, inputs."


def test_a_law_that_fails_raises():
    with pytest.raises(AssertionError, match="FAILED own-forward-derivative on leaky float64: k is off by") as raised:
        bpttcheck.check(lambda k, x: leaky(k, x, 1.1), name="leaky", **LEAKY)
    assert "the same cases are drawn on every run: seed 0, 6 examples" in str(raised.value)
    verdict = bpttcheck.check(lambda k, x: leaky(k, x, 1.1), **LEAKY, raises=False)
    assert not verdict.passed and verdict.broken[0].law == "own-forward-derivative" and verdict.failure in str(verdict)
    assert verdict.case.x.shape == (2, 1, 3) and set(verdict.case.parameters[0][0]) == {"k"}


def test_a_verdict_in_which_nothing_was_proved_raises():
    with pytest.raises(AssertionError, match=r"Nothing was proved: no law proved anything: .*:\s+not"):
        bpttcheck.check(leaky, **LEAKY, refuses=lambda case: "not today")


@pytest.mark.parametrize("listed", [False, True], ids=["an array", "a list"])
def test_a_sequence_without_steps(listed):
    def run(k, x, h):
        start = h
        hs = [h := k * h + x_t for x_t in x]
        before = [start, *hs][: len(hs)]

        def pullback(dy, dh):
            dk, dx = 0 * k, list(dy)
            for t in reversed(range(len(dx))):
                dx[t] = dh = dx[t] + dh
                dk, dh = dk + (dh * before[t]).sum(axis=0), dh * k
            return dk, dx if listed else np.reshape(dx, x.shape), dh

        return hs if listed else np.reshape(hs, x.shape), h, pullback

    x = [ZEROS((4, 3))] * 5 if listed else ZEROS((5, 4, 3))
    found = bpttcheck.check(run, parameters=ZEROS(3), x=x, states=ZEROS((4, 3)), batch=1, empty=True, examples=20)
    assert {result.law: result.status for result in found.results}["empty-sequence"] == "passed"


def test_laws_of_rows_are_skipped_where_there_is_one():
    verdict = bpttcheck.check(lambda x: np.cumsum(x, axis=0), x=ZEROS((5, 3)), batch=None, examples=4)
    reasons = {result.law: result.reason for result in verdict.results if result.status == "skipped"}
    assert reasons["batch-independence"] == "the implementation supports no case with B = 2 or more"
    assert not {result.law for result in verdict.results if result.status == "vacuous"}


def test_only_a_forward_pass_says_so():
    verdict = bpttcheck.check(lambda k, x: leaky(k, x)[0], **LEAKY)
    assert verdict.passed and "There is no backward pass: nothing is said about gradients." in str(verdict)


def test_another_function_counts_as_correct():
    def twice(k, x):
        y, pullback = leaky(k, x)
        return 2 * y, lambda dy: pullback(2 * dy)

    assert bpttcheck.check(twice, **LEAKY).passed
    with pytest.raises(AssertionError, match="FAILED forward-reference on twice float64: y"):
        bpttcheck.check(twice, against=leaky, **LEAKY)
    assert bpttcheck.check(leaky, against=bpttcheck.own_arrays(leaky, **_without(LEAKY, "examples")), **LEAKY).passed


def _without(mapping, name):
    return {key: value for key, value in mapping.items() if key != name}


def of_rows(k, data, wrong=""):
    """A loss of a leaky integrator: squared error, the sum over rows unless it is a mean."""
    y, pullback = leaky(k, data["x"])
    error = y - data["target"]
    scale = {"mean": 1 / error.shape[1], "root": error.shape[1] ** -0.5}.get(wrong, 1)
    if wrong == "rows":
        error = error - 0.5 * error.mean(axis=1, keepdims=True)
    dk, _ = pullback(2 * scale * error * (0.9 if wrong == "factor" else 1))
    return scale * np.sum(error**2), {"dk": dk}


DATA = {"parameters": ZEROS(3), "x": {"x": ZEROS((5, 4, 3)), "target": ZEROS((5, 4, 3))}, **FEW}


def test_a_loss_and_its_gradients():
    verdict = bpttcheck.check(of_rows, **DATA)
    passed = {result.law for result in verdict.results if result.status == "passed"}
    ours = {"own-loss-derivative", "same-loss-again", "loss-adds-up-over-rows", "objective-complete"}
    assert passed == ours | {"ordinary-loss-is-finite"}
    assert bpttcheck.check(lambda k, data: of_rows(k, data, "mean"), **DATA).passed


def test_a_loss_of_only_parameters():
    x, target = np.random.default_rng(0).standard_normal((2, 5, 4, 3))
    loss = {"x": x, "target": target}
    assert bpttcheck.check(lambda k: of_rows(k, loss), parameters=ZEROS(3), examples=6).passed
    with pytest.raises(AssertionError, match="own-loss-derivative on .* k is off by"):
        bpttcheck.check(lambda k: of_rows(k, loss, "factor"), parameters=ZEROS(3), examples=6, name="loss")


@pytest.mark.parametrize(("wrong", "said"), [
    ("factor", "own-loss-derivative on loss float64: k is off by"),
    ("rows", "loss-adds-up-over-rows on loss float64: loss is off by"),
])  # fmt: skip
def test_an_incorrect_loss(wrong, said):
    with pytest.raises(AssertionError, match=said):
        bpttcheck.check(lambda k, data: of_rows(k, data, wrong), **DATA, name="loss")


def test_rows_of_a_loss_that_is_neither_sum_nor_mean_stay_as_many():
    verdict = bpttcheck.check(lambda k, data: of_rows(k, data, "root"), **DATA)
    assert verdict.implementation.capabilities().sizes["B"] == (4,) and verdict.passed
    assert "loss-adds-up-over-rows" not in {r.law for r in verdict.results if r.status == "passed"}


def test_rows_that_affect_each_other():
    """Its gradients fit the loss, which is the sum over rows where there are two of each."""

    def loss(k, data):
        value, gradients = of_rows(k, data)
        first = 1.5 if len(set(data["x"][0, :, 0])) > 1 else 1
        return first * value, {"dk": first * gradients["dk"]}

    with pytest.raises(AssertionError, match="loss-adds-up-over-rows"):
        bpttcheck.check(loss, **DATA)


def test_gradients_that_add_up_over_calls():
    kept = ZEROS(3)

    def loss(k, data):
        value, gradients = of_rows(k, data)
        kept[...] += gradients["dk"]
        return value, {"dk": kept.copy()}

    with pytest.raises(AssertionError, match="loss-adds-up-over-rows on .* k is off by"):
        bpttcheck.check(loss, **DATA)


def stepped(k, data, rate, back, clip=np.inf):
    value, gradients = of_rows(k, data)
    after = k - rate * np.clip(gradients["dk"], -clip, clip)
    if back:
        return value, after
    k[...] = after
    return value


@pytest.mark.parametrize("back", [True, False], ids=["returned", "in place"])
def test_the_gradient_is_read_from_a_step_of_an_optimiser(back):
    assert bpttcheck.check(lambda k, data: stepped(k, data, 0.1, back), **DATA, rate=0.1).passed
    with pytest.raises(AssertionError, match="own-loss-derivative"):
        bpttcheck.check(lambda k, data: stepped(k, data, 0.1, back), **DATA, rate=0.2)


def test_a_clipped_gradient_is_left_out_where_the_bound_is_declared():
    def clipped(k, data):
        return stepped(k, data, 1.0, True, clip=5)

    assert bpttcheck.check(clipped, **DATA, rate=1.0, clip=5).passed
    with pytest.raises(AssertionError, match="own-loss-derivative"):
        bpttcheck.check(clipped, **DATA, rate=1.0)


def truncated(k, data, tau=None, weights=None, wrong=""):
    """The loss of a leaky integrator, carried states cut every tau steps on the way back."""
    x, hs, h = data["x"], [], ZEROS(data["x"].shape[1:])
    for x_t in x:
        hs.append(h)
        h = k * h + x_t
    error = np.array([*hs[1:], h]) - data["target"]
    weights = np.ones(len(x)) if weights is None else weights
    dk, dx, dh = 0 * k, ZEROS(x.shape), 0
    for t in reversed(range(len(x))):
        dx[t] = dh = dh + 2 * weights[t] * error[t]
        dk = dk + (dh * hs[t]).sum(axis=0)
        cut = tau is not None and (t + (wrong == "early")) % tau == 0
        dh = dh * k * (not cut) if wrong != "ignored" else dh * k
    loss = np.sum(weights[:, None, None] * error**2)
    return loss * (1.5 if wrong == "loss" and tau is not None else 1), {"dk": dk, "dx": dx}


@pytest.mark.parametrize(("wrong", "said"), [
    ("", ""),
    ("early", "xray-losses|tau-covers-is-full"),
    ("ignored", "xray-losses"),
    ("loss", "truncation-leaves-states"),
])  # fmt: skip
def test_the_truncation_of_a_loss(wrong, said):
    """By weights of the steps, if it takes them; else the value, and truncations that cover the sequence."""
    loss, knobs = partial(truncated, wrong=wrong), {"truncation": {"tau": Regular}, "examples": 10, "name": "loss"}
    verdict = bpttcheck.check(loss, **{**DATA, **knobs}, loss_weights="weights", raises=False)
    assert verdict.passed if not wrong else re.search(said, verdict.failure)
    if wrong in ("early", "loss"):
        without = bpttcheck.check(loss, **{**DATA, **knobs}, raises=False)
        assert re.search("tau-covers-is-full|truncation-leaves-states", without.failure)


@pytest.mark.parametrize(("function", "said"), [
    (lambda k, data: 3.0, "only a value came back"),
    (lambda k, data: (3.0, {"da": 3}), "returned no gradient of its parameters but da"),
])  # fmt: skip
def test_a_loss_that_says_too_little_is_one_sentence(function, said):
    with pytest.raises(ValueError, match=said):
        bpttcheck.check(function, **DATA, batch=1)
