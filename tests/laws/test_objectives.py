"""The second door: a training loop in the style of a lecture, which owns its loss and knows nothing of cotangents."""

import numpy as np
import pytest

from bpttcheck import LAWS, Capabilities, Gradients, Outputs, judge
from bpttcheck.explaining.diagnosis import diagnose
from bpttref import RNN, Regular


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
    return {r.law: r.status for r in judge(subject, LAWS, examples=25, seed=3, dtypes=["float64"])}


def test_a_right_loop_passes_and_the_first_door_is_listed_as_absent():
    found = statuses(Lecture())
    assert {law for law, status in found.items() if status == "passed"} == {
        "objective-complete",
        "own-loss-derivative",
        "loss-reference",
        "objective-gradient-reference",
        "same-loss-again",
        "objective-truncated-reference",
    }
    assert set(found.values()) == {"passed", "skipped"}


def test_a_wrong_readout_is_caught():
    found = statuses(Lecture(scale=1.01))
    assert found["objective-gradient-reference"] == found["own-loss-derivative"] == "failed"


def test_a_fault_of_the_recursion_is_named_behind_the_second_door_too():
    found = diagnose(Lecture(carry=0), RNN("tanh"), "float64")
    assert found.names == ("rnn-no-carry",)


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
    with pytest.raises(ValueError, match="outputs must be"):
        Capabilities(cells=(RNN(),), outputs="y")
