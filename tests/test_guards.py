"""Guards: input that makes no sense is refused, with a sentence about input that would."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bpttcheck import LAWS, Capabilities, CustomCell, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.explaining.diagnosis import diagnose
from bpttcheck.measuring.comparisons import Violation
from bpttcheck.studies.gradients import Setting, analyse, problem
from bpttcheck.targets import TargetError, load
from bpttcheck.workers import workers
from bpttref import GRU, LSTM, RNN, Links, Objective, Regular, checkpointed_vjp, vjp, zero_states


class WithoutBiases(Reference):
    def capabilities(self):
        return replace(super().capabilities(), biases=0)


BARE = CustomCell("bare", parameters=lambda D, H: {}, states=lambda H: {"h": (H,)})
X = np.zeros((3, 2, 4))
LAYER = {"W_hx": np.zeros((5, 4)), "W_hh": np.zeros((5, 5))}
LSTM_LAYER = {"W_hx": np.zeros((20, 4)), "W_hh": np.zeros((20, 5))}
STACK, TWO_WAYS = ((LAYER,),), ((LAYER, LAYER),)
TANH = (RNN("tanh"),)


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda: GRU("middle"), "reset must be 'after' or 'before'"),
    (lambda: RNN("sigmoid"), "activation must be 'tanh', 'relu' or 'identity'"),
    (lambda: Objective("squared-error", X)(X), "needs a readout"),
    (lambda: Links((1.0,)).links(3), "has 1 entries, but the sequence has 3 steps"),
    (lambda: vjp(LSTM(), ((LSTM_LAYER,),), X, zero_states(RNN("tanh"), STACK, 2)), "has initial states"),
    (lambda: checkpointed_vjp(*TANH, TWO_WAYS, X, zero_states(*TANH, TWO_WAYS, 2)), "a reverse direction cannot be"),
    (lambda: Capabilities(cells=RNN("tanh")), "cells must be a tuple"),
    (lambda: Capabilities(cells=(RNN("tanh"),), truncations=(Regular(2),)), "must hold classes such as Regular"),
    (lambda: Capabilities(cells=TANH, sizes={"T": (3,)}).at({"T": (4,)}), "T = 4 is not among the declared sizes"),
    (lambda: Setting(units=0), "at least one unit and one input"),
    (lambda: Setting(scale=0), "scale must be above 0 and at most 1000, not 0"),
    (lambda: Setting(gate_bias=1001), "gate bias must lie between -1000 and 1000, not 1001"),
    (lambda: problem(WithoutBiases(), LSTM(), Setting(8)), "has no biases: choose --gate-bias 0"),
    (lambda: problem(WithoutBiases(), BARE, Setting(8)), "cannot be analysed: bare has no parameters"),
])  # fmt: skip
def test_it_is_refused_in_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(")):
        call()


@pytest.mark.parametrize(("method", "returned", "sentence"), [
    ("jvp", lambda *_: 1.5, "jvp returned float; expected Outputs"),
    ("vjp", lambda subject, case: (vjp(case.cell, case.parameters, case.x)[0], None), "vjp returned no pullback"),
    ("vjp", lambda subject, case: (vjp(case.cell, case.parameters, case.x)[0], lambda c: None),
     "the pullback returned NoneType; expected Gradients"),
])  # fmt: skip
def test_an_adapter_that_returns_something_else(method, returned, sentence):
    class Odd(Reference):
        def capabilities(self):
            return replace(
                super().capabilities(), cells=(RNN("tanh"),), layers=1, bidirectional=False, inputs=("dense",)
            )

    setattr(Odd, method, returned)
    reasons = {
        r.reason for r in judge(Odd(), LAWS, dtypes=["float64"], examples=8, shrink=False) if r.status == "error"
    }
    assert any(sentence in reason for reason in reasons)


TARGETS = """
from types import SimpleNamespace
from bpttcheck.adapters.reference import Reference

right = Reference()
silent = SimpleNamespace(name="silent", vjp=right.vjp)
doorless = SimpleNamespace(name="doorless", capabilities=right.capabilities)
nameless = SimpleNamespace(capabilities=right.capabilities, vjp=right.vjp)
odd = SimpleNamespace(name="odd", capabilities=lambda: {}, vjp=right.vjp)
raising = SimpleNamespace(name="raising", capabilities=lambda: 1 / 0, vjp=right.vjp)
"""


@pytest.mark.parametrize(("target", "sentence"), [
    ("mine.py:silent", "mine.py:silent has no method capabilities"),
    ("mine.py:doorless", "mine.py:doorless has neither vjp nor loss_and_gradients"),
    ("mine.py:nameless", "mine.py:nameless has no name"),
    ("mine.py:odd", "capabilities of mine.py:odd are a dict; expected bpttcheck.Capabilities"),
    ("mine.py:raising", "capabilities of mine.py:raising raised ZeroDivisionError"),
    ("mine.py", "mine.py needs the name of an object in it: mine.py:MyRNN"),
    ("exec:", "exec:: it names no program"),
])  # fmt: skip
def test_an_object_that_is_no_implementation_is_no_target(target, sentence, tmp_path):
    (tmp_path / "mine.py").write_text(TARGETS)
    with pytest.raises(TargetError, match=sentence):
        load(target, tmp_path)


@pytest.mark.parametrize(("spoil", "sentence"), [
    (lambda initial: None, "the gradient of initial.h is missing"),
    (lambda initial: (({"h": initial[0][0]["h"][:, 1:]},),), r"initial.h has shape \(1, 15\); expected \(1, 16\)"),
], ids=["missing", "smaller"])  # fmt: skip
def test_a_target_that_cannot_be_analysed_says_why(spoil, sentence):
    class Spoilt(Reference):
        def vjp(self, case):
            outputs, pullback = super().vjp(case)

            def spoilt(cotangents):
                gradients = pullback(cotangents)
                return gradients._replace(initial=spoil(gradients.initial))

            return outputs, spoilt

    with pytest.raises(Violation, match=sentence):
        analyse(Spoilt(), RNN("tanh"), Setting(8))


def test_an_implementation_that_raises_is_not_diagnosed():
    class Raising(Reference):
        def vjp(self, case):
            raise RuntimeError("no driver")

    assert diagnose(Raising(), RNN("tanh"), "float64") is None


@pytest.mark.parametrize(("threads", "sentence"), [
    ({}, "the scheduler at tcp://somewhere has no workers; start one"),
    ({"a": 1, "b": 2}, "workers must have one thread each"),
], ids=["none", "two"])  # fmt: skip
def test_unsuitable_workers(threads, sentence, monkeypatch):
    class Client:
        def __init__(self, address, timeout):
            self.nthreads = lambda: threads

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Client=Client))
    with pytest.raises(ValueError, match=sentence), workers(1, "tcp://somewhere"):
        pass
