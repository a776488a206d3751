"""A readout without a bias: a training loop that has none is green, and its mistakes are red."""

import numpy as np
import pytest

from bpttcheck import Capabilities, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.explaining.diagnosis import diagnose
from bpttcheck.explaining.explanation import explain
from bpttcheck.laws import LAWS
from bpttcheck.running.child import Here
from bpttcheck.running.question import Question
from bpttcheck.running.time_limit import TimeLimit
from bpttref import RNN

from ..field.judging import alarms, red

OF_A_LOSS = [law.id for law in LAWS if law.family == "objective" or "loss" in law.id or "objective" in law.id]


class Unbiased:
    """Only ``loss_and_gradients``. slip: its mistake."""

    name = "unbiased"

    def __init__(self, slip=""):
        self.slip = slip

    def capabilities(self):
        kinds = ("cross-entropy", "squared-error", "linear")
        return Capabilities(cells=(RNN("tanh"),), dtypes=("float64",), objectives=kinds, readout_bias=False)

    def loss_and_gradients(self, case):
        assert case.objective.b_q is None
        outputs, found = Reference().loss_and_gradients(case)
        readout = dict(found.readout)
        if self.slip == "twice" and readout:
            readout["W_qh"] = 2 * readout["W_qh"]
        if self.slip == "a bias is returned" and readout:
            readout["b_q"] = np.zeros(len(readout["W_qh"]))
        return outputs, found._replace(readout=readout)


def test_a_readout_without_a_bias_is_green():
    assert not alarms(Unbiased(), examples=16)


@pytest.mark.parametrize(("slip", "law"), [
    ("twice", "objective-gradient-reference"),
    ("a bias is returned", "objective-complete"),
])  # fmt: skip
def test_mistakes_in_it_are_red(slip, law):
    assert law in red(Unbiased(slip), *OF_A_LOSS, examples=16)


def test_it_is_diagnosed_and_its_failure_is_on_file(tmp_path):
    subject = Unbiased("twice")
    laws = [law for law in LAWS if law.id == "objective-gradient-reference"]
    failed = [result for result in judge(subject, laws, examples=8, seed=1) if result.status == "failed"]
    (explanation,) = explain(Here(subject), "unbiased", failed, tmp_path, Question(), TimeLimit(0))
    (file,) = explanation.files
    assert "incorrect: W_qh (twice as large)" in diagnose(subject, RNN("tanh"), "float64", faults=()).sentence()
    assert "b_q=None" in file.read_text() and "W_qh is off by" in explanation.first.reason
