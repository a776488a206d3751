"""A missing or extra array, or another shape or dtype, is an error of the call that returned it, in any case."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpttcheck import LAWS, Capabilities, CustomCell, Gradients, Outputs, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.changes import of_steps
from bpttcheck.cases.drawing import draw_case
from bpttcheck.cases.realising import realise
from bpttcheck.cases.truncations import DRAWN
from bpttcheck.measuring.comparisons import Violation
from bpttcheck.measuring.trial import Trial
from bpttref import CELLS, Full, Links, Regular, trees

from ..ending import results_unless

PARTS = ("x", "parameters", "initial")


def other(array):
    return array.astype("float16")


SPOILT = {
    "is missing": lambda part: None,
    "has shape": lambda part: trees.each(lambda array: np.stack([array, array]), part),
    "has dtype": lambda part: trees.each(other, part),
}


class Spoilt(Reference):
    """The reference, with one part of the gradients spoilt where ``when(case)``."""

    def __init__(self, part, how, when):
        self.part, self.how, self.when = part, how, when

    def spoil(self, case, gradients):
        if not self.when(case) or getattr(gradients, self.part) is None:
            return gradients
        return gradients._replace(**{self.part: SPOILT[self.how](getattr(gradients, self.part))})

    def vjp(self, case):
        outputs, pullback = super().vjp(case)
        return outputs, lambda cotangents: self.spoil(case, pullback(cotangents))

    def loss_and_gradients(self, case):
        outputs, gradients = super().loss_and_gradients(case)
        return outputs, self.spoil(case, gradients)


@st.composite
def trials(draw, subject):
    """A `Trial` of a drawn case of any kind, and another case that a law might make of it: a shorter one, a
    truncated."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cell, dtype = draw(st.sampled_from(CELLS)), draw(st.sampled_from(("float32", "float64")))
    capabilities = subject.capabilities()
    drawn = replace(draw_case(rng, capabilities, draw(st.integers(0, 7))), tokens=False)
    trial = Trial(subject, capabilities, *realise(drawn, cell, dtype, capabilities))
    steps = len(trial.case.x)
    if trial.case.lengths is None and draw(st.booleans()):
        return trial, of_steps(trial.case, slice(int(rng.integers(0, steps))))
    if len(trial.case.parameters[0]) == 1:
        return trial, trial.truncated(DRAWN[draw(st.sampled_from((Regular, Links)))](rng, steps))
    return trial, trial.case


@given(st.data(), st.sampled_from(PARTS), st.sampled_from(sorted(SPOILT)))
def test_gradients_are_complete_in_each_call(data, part, how):
    subject = Spoilt(part, how, lambda case: True)
    trial, case = data.draw(trials(subject))
    with pytest.raises(Violation, match=f"the gradient of .* {how}"):
        trial.gradients_of(case, trial.cotangents._replace(y=None))
    with pytest.raises(Violation, match=f"the gradient of .* {how}"):
        trial.score(trial.case)


@given(st.data())
def test_complete_results_pass(data):
    subject = Reference()
    trial, case = data.draw(trials(subject))
    outputs, pullback = trial.run(case)
    assert trial.pull(pullback, trial.cotangents._replace(y=None)).keys() == trial.expected().keys()
    assert trial.score(trial.case).keys() > trial.expected().keys()


@given(st.data(), st.sampled_from(("y", "final")), st.sampled_from(sorted(SPOILT)))
def test_outputs_are_complete_in_each_call(data, part, how):
    class Spoiling(Reference):
        def vjp(self, case):
            outputs, pullback = super().vjp(case)
            return outputs._replace(**{part: SPOILT[how](getattr(outputs, part))}), pullback

    trial, case = data.draw(trials(Spoiling()))
    with pytest.raises(Violation, match=f"the output .* {how}"):
        trial.run(case)


@given(st.data())
def test_a_gradient_of_a_layer_that_is_not_there_is_superfluous(data):
    class Superfluous(Reference):
        def vjp(self, case):
            outputs, pullback = super().vjp(case)

            def pulled(cotangents):
                gradients = pullback(cotangents)
                return gradients._replace(parameters=(*gradients.parameters, gradients.parameters[-1]))

            return outputs, pulled

    trial, case = data.draw(trials(Superfluous()))
    with pytest.raises(Violation, match="there is a gradient of layer.*, which the case does not have"):
        trial.gradients_of(case, trial.cotangents._replace(y=None))


@pytest.mark.parametrize("when", [
    lambda case: case.truncation != Full(), lambda case: len(case.x) == 0, lambda case: case.x.shape[1] == 1,
], ids=["truncated", "no steps", "one row"])  # fmt: skip
@pytest.mark.parametrize("part", PARTS)
def test_no_verdict_is_green_where_a_call_is_incomplete(part, when):
    def seen(result):
        return result.status == "failed" and "is missing" in result.reason

    one = {"cells": ["lstm"], "dtypes": ["float64"]}
    assert results_unless(seen, Spoilt(part, "is missing", when), LAWS, examples=8, seed=1, **one) is None


class OnlyY:
    """A correct cell that declares only y; the final state that it returns is no state."""

    name = "y alone"

    def capabilities(self):
        cell = CustomCell("mine", lambda D, H: {"U": (H, D)}, lambda H: {"h": (H,)})
        return Capabilities(cells=(cell,), dtypes=("float64",), outputs=("y",), gradients=("x", "parameters"))

    def vjp(self, case):
        U = case.parameters[0][0]["U"]

        def pullback(cotangents):
            dx = cotangents.y @ U
            return Gradients(dx, (({"U": np.einsum("tbh,tbd->hd", cotangents.y, case.x)},),), (({"h": "nothing"},),))

        return Outputs(case.x @ U.T, (({"h": np.zeros(3)},),)), pullback


def test_an_output_that_is_not_declared_is_not_tested(monkeypatch):
    subject = OnlyY()
    vjp = subject.vjp

    def without_odd_gradients(case):
        outputs, pullback = vjp(case)
        return outputs, lambda cotangents: pullback(cotangents)._replace(initial=None)

    monkeypatch.setattr(subject, "vjp", without_odd_gradients)
    results = list(judge(subject, LAWS, seed=1, examples=24))
    assert {result.status for result in results} <= {"passed", "skipped", "vacuous"}
