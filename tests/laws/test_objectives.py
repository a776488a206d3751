"""The interface ``loss_and_gradients``: a training loop in the style of a lecture, with its own loss and no
cotangents."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpttcheck import LAWS, Capabilities, Gradients, Outputs, judge
from bpttcheck.explaining.diagnosis import diagnose
from bpttref import RNN, Objective, Regular


class Lecture:
    """A character model: tokens in, cross-entropy summed over everything out, segments of tau steps."""

    name = "lecture"

    def __init__(self, scale=1.0, carry=1.0):
        self.scale, self.carry = scale, carry

    def capabilities(self):
        return Capabilities(
            cells=(RNN("tanh"),),
            biases=1,
            inputs=("tokens", "initial"),
            gradients=("parameters",),
            truncations=(Regular,),
            objectives=("cross-entropy",),
            reduction="sum",
        )

    def loss_and_gradients(self, case):
        p, objective = case.parameters[0][0], case.objective
        T, tau = len(case.x), case.truncation.tau if isinstance(case.truncation, Regular) else len(case.x)
        h, loss = {-1: case.initial[0][0]["h"]}, 0.0
        grads = {k: np.zeros_like(a) for k, a in {**p, "W_qh": objective.W_qh, "b_q": objective.b_q}.items()}
        for start in range(0, T, tau):
            steps, probs = range(start, min(start + tau, T)), {}
            for t in steps:
                h[t] = np.tanh(p["W_hx"][:, case.x[t]].T + h[t - 1] @ p["W_hh"].T + p["b_hx"])
                o = h[t] @ objective.W_qh.T + objective.b_q
                e = np.exp(o - o.max(axis=1, keepdims=True))
                probs[t] = e / e.sum(axis=1, keepdims=True)
                loss -= np.log(probs[t][np.arange(len(o)), objective.targets[t]]).sum()
            carried = np.zeros_like(h[-1])
            for t in reversed(steps):
                do = probs[t]
                do[np.arange(len(do)), objective.targets[t]] -= 1
                grads["W_qh"] += do.T @ h[t]
                grads["b_q"] += do.sum(axis=0)
                da = (do @ objective.W_qh + carried) * (1 - h[t] ** 2)
                np.add.at(grads["W_hx"].T, case.x[t], da)
                grads["W_hh"] += da.T @ h[t - 1]
                grads["b_hx"] += da.sum(axis=0)
                carried = self.carry * da @ p["W_hh"]
        readout = {name: np.asarray(self.scale * grads.pop(name), case.dtype) for name in ("W_qh", "b_q")}
        return Outputs(None, None, loss), Gradients(None, ((grads,),), None, readout)


def statuses(subject):
    return {r.law: r.status for r in judge(subject, LAWS, examples=25, seed=3, dtypes=["float64"], shrink=False)}


def test_a_correct_loop_passes_and_vjp_is_listed_as_absent():
    found = statuses(Lecture())
    assert {law for law, status in found.items() if status == "passed"} == {
        "objective-complete",
        "own-loss-derivative",
        "loss-reference",
        "objective-gradient-reference",
        "same-loss-again",
        "objective-truncated-reference",
        "loss-adds-up-over-rows",
        "tau-covers-is-full",
        "truncation-leaves-states",
        "one-state-for-all-rows",
        "ordinary-loss-is-finite",
    }
    assert set(found.values()) == {"passed", "skipped"}


def test_an_incorrect_readout_is_caught():
    found = statuses(Lecture(scale=1.01))
    assert found["objective-gradient-reference"] == found["own-loss-derivative"] == "failed"


def test_a_fault_of_the_recursion_is_named_from_its_loss_too():
    found = diagnose(Lecture(carry=0), RNN("tanh"), "float64")
    assert found.names == ("rnn-no-carry", "flux-tau1")


def test_a_loop_that_clips_at_a_bound_which_few_gradients_reach():
    class Clipping(Lecture):
        def loss_and_gradients(self, case):
            outputs, gradients = super().loss_and_gradients(case)
            clipped = {name: np.clip(a, -50, 50) for name, a in gradients.parameters[0][0].items()}
            return outputs, gradients._replace(parameters=((clipped,),))

    assert statuses(Clipping())["objective-gradient-reference"] == "failed"


@pytest.mark.parametrize(("returned", "sentence"), [
    ((Outputs(None, None), Gradients(None, None, None)), "without the loss"),
    (1.5, "loss_and_gradients returned float"),
])  # fmt: skip
def test_malformed_losses_are_the_adapters_fault(returned, sentence):
    subject = Lecture()
    subject.loss_and_gradients = lambda case: returned
    reasons = [r.reason for r in judge(subject, LAWS, examples=3, seed=1) if r.status == "error"]
    assert reasons and all(sentence in reason for reason in reasons)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="objectives must be a collection of cross-entropy"):
        Capabilities(cells=(RNN(),), objectives=("hinge",))
    with pytest.raises(ValueError, match="reduction must be one of given, sum, .*; it is 'average'"):
        Capabilities(cells=(RNN(),), reduction="average")
    with pytest.raises(ValueError, match="outputs must be"):
        Capabilities(cells=(RNN(),), outputs="y")


@st.composite
def objectives(draw, kinds=("cross-entropy", "squared-error", "linear")):
    """An objective and outputs ``(T, B, H)`` for it."""
    T, B, H, Q = (draw(st.integers(2, 5), label=name) for name in ("T", "B", "H", "Q"))
    rng, kind = np.random.default_rng(draw(st.integers(0, 999), label="seed")), draw(st.sampled_from(kinds))
    y, readout = rng.normal(size=(T, B, H)), {"W_qh": rng.normal(size=(Q, H)), "b_q": rng.normal(size=Q)}
    if kind == "cross-entropy":
        return Objective(kind, rng.integers(0, Q, (T, B)), **readout), y
    targets = rng.normal(size=(T, B, H if kind == "linear" else Q))
    return Objective(kind, targets, **({} if kind == "linear" else readout)), y


@given(objectives(), st.integers(0, 2))
def test_targets_that_broadcast_are_refused(drawn, axis):
    objective, y = drawn
    axis = min(axis, objective.targets.ndim - 1)
    with pytest.raises(ValueError, match=f"the {objective.kind} objective takes targets"):
        replace(objective, targets=objective.targets.take([0], axis))(y)


@given(objectives(("cross-entropy",)), st.data(), st.sampled_from([-100, -1, "Q", 0.5]))
def test_targets_that_are_no_class_are_refused(drawn, data, target):
    objective, y = drawn
    place, Q = tuple(data.draw(st.integers(0, n - 1)) for n in objective.targets.shape), len(objective.b_q)
    targets = objective.targets.astype(float if target == 0.5 else int)
    targets[place] = Q if target == "Q" else target
    with pytest.raises(ValueError, match=f"targets must be classes from 0 to {Q - 1}; a weight of 0"):
        replace(objective, targets=targets)(y)


@given(objectives(("cross-entropy",)))
def test_a_class_that_is_masked_is_as_if_it_were_not_there(drawn):
    """A bias of -inf gives it the probability 0."""
    objective, y = drawn
    more = replace(objective, W_qh=np.r_[objective.W_qh, objective.W_qh[:1]], b_q=np.r_[objective.b_q, -np.inf])
    expected, got = objective(y), more(y)
    np.testing.assert_allclose(got.loss, expected.loss, rtol=1e-12)
    np.testing.assert_allclose(got.dy, expected.dy, atol=1e-12)
    assert not got.readout["W_qh"][-1].any() and got.readout["b_q"][-1] == 0
