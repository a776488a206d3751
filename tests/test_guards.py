"""Guards: what makes no sense is refused, with a sentence that says what would."""

from dataclasses import replace

import numpy as np
import pytest

from bpttcheck import LAWS, Capabilities, judge
from bpttcheck.adapters.reference import Reference
from bpttref import GRU, LSTM, RNN, Links, Objective, Regular, checkpointed_vjp, vjp, zero_states

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
    (lambda: Capabilities(cells=TANH, sizes={"T": (3,)}).at({"T": 4}), "T = 4 is not among the declared sizes"),
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
        r.reason for r in judge(Odd(), LAWS, dtypes=["float64"], examples=2, shrink=False) if r.status == "error"
    }
    assert any(sentence in reason for reason in reasons)
