"""The diagnosis names mistakes that people make, in code that shares nothing with bpttcheck, and locates the others."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpttcheck import Gradients
from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.blocks import named
from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.realising import realise
from bpttcheck.explaining.diagnosis import diagnose, in_short
from bpttcheck.faults import FAULTS, Fault, Faulty
from bpttcheck.faults.equations import gates_taken_as
from bpttcheck.faults.planting import both
from bpttref import CELLS, GRU, LSTM, RNN, Full, trees

from ..field.hand_written import HandWritten
from ..field.test_lstm import WithLists
from ..field.test_slips import FirstStepDropped, InTheOrderOfTheLoop
from ..thorough import some

CAPABILITIES = Reference().capabilities()
BY_ID = {fault.id: fault for fault in FAULTS}


@pytest.mark.parametrize(("slip", "fault_id"), [
    ("the slope takes the value for its argument", "gate-primes-of-values"),
    ("the slope overflows", "sigmoid-prime-overflows"),
    ("c[t - 1] is the last of the list where t is 0", "c-before-wraps-round"),
    ("parameters have the gradient of a mean", "divided-by-steps-and-rows"),
])  # fmt: skip
def test_a_slip_in_a_hand_written_lstm_is_named(slip, fault_id):
    found = diagnose(WithLists("float64", slip), LSTM(), "float64")
    assert fault_id in found.names and not found.more


class RunsForward(HandWritten):
    """The loop backward goes from the first step to the last."""

    def pullback(self, case, valid, states):
        ahead = super().pullback(case, valid, states)

        def pull(cotangents):
            if case.lengths is not None or case.truncation != Full():
                return ahead(cotangents)
            p, x = case.parameters[0][0], case.x
            gradients, dx = {name: np.zeros_like(array) for name, array in p.items()}, np.zeros_like(x)
            dh = np.zeros_like(states[0]) if cotangents.final is None else cotangents.final[0][0]["h"]
            for t in range(len(x)):
                dy = 0 if cotangents.y is None else cotangents.y[t]
                da = (dh + dy) * (1 - states[t + 1] ** 2)
                gradients["W_hx"] += da.T @ x[t]
                gradients["W_hh"] += da.T @ states[t]
                gradients["b_hx"] += da.sum(axis=0)
                gradients["b_hh"] += da.sum(axis=0)
                dx[t] = da @ p["W_hx"]
                dh = da @ p["W_hh"]
            return Gradients(dx, ((gradients,),), (({"h": dh},),))

        return pull


class OneStateForAll(HandWritten):
    """The offset of the row is missing where the initial state is read."""

    def vjp(self, case):
        first = trees.each(lambda a: np.repeat(a[:1], len(a), axis=0), case.initial)
        return super().vjp(replace(case, initial=first))


@pytest.mark.parametrize(("slip", "fault_id"), [
    (InTheOrderOfTheLoop, "dx-in-backward-order"),
    (FirstStepDropped, "first-dx-dropped"),
    (RunsForward, "loop-runs-forward"),
    (OneStateForAll, "rows-take-row-0"),
])  # fmt: skip
def test_a_slip_in_a_hand_written_loop_is_named(slip, fault_id):
    found = diagnose(slip(), RNN("tanh"), "float64")
    assert fault_id in found.names and not found.more


class OfOneLayer(Faulty):
    """Stacks and two directions change nothing in how a rule of truncation, or an order of gates, is seen."""

    def capabilities(self):
        return replace(super().capabilities(), layers=1, bidirectional=False)


@pytest.mark.parametrize("cell", some([LSTM(), GRU("before"), RNN("identity")], LSTM()), ids=lambda cell: cell.name)
@pytest.mark.parametrize("fault_id", ["window-for-segments", "cells-or-transitions", "window-from-the-end",
                                      "parameters-not-truncated-blocks", "p-instead-of-1/p"])  # fmt: skip
def test_a_rule_of_truncation_is_named_on_any_cell(cell, fault_id):
    fault = replace(BY_ID[fault_id], cells=(cell,))
    assert fault_id in diagnose(OfOneLayer(fault), cell, "float64").names


@pytest.mark.parametrize(("cell", "order", "of", "where"), [
    (LSTM(), (0, 1, 3, 2), "W", "weights"),
    (GRU("after"), (1, 0, 2), "b", "biases"),
    pytest.param(LSTM(), (0, 1, 3, 2), "b", "biases", marks=pytest.mark.thorough),
    pytest.param(GRU("after"), (1, 0, 2), "W", "weights", marks=pytest.mark.thorough),
])  # fmt: skip
def test_an_order_of_gates_in_only_weights_or_biases_is_named(cell, order, of, where):
    fault = Fault("a secret", "", "", (), (cell,), partial(gates_taken_as, order, of))
    gates = "-".join(cell.gates[k] for k in order)
    assert diagnose(OfOneLayer(fault), cell, "float64").names == (f"gates-taken-as-{gates}-in-{where}",)


class Untruncated(Reference):
    """A mistake in every gradient is seen without truncation, too."""

    def capabilities(self):
        return replace(super().capabilities(), truncations=())


class Clipped(Untruncated):
    """Gradients that are clipped after the loop."""

    def __init__(self, how, bound):
        self.how, self.bound = how, bound

    def vjp(self, case):
        outputs, pullback = super().vjp(case)
        return outputs, lambda cotangents: self.clipped(pullback(cotangents))

    def clipped(self, gradients):
        if self.how == "value":
            return Gradients(*(trees.each(lambda a: np.clip(a, -self.bound, self.bound), part) for part in gradients))
        whole = sum(float(np.sum(np.square(a, dtype=float))) for a in named(gradients).values()) ** 0.5

        def shrunk(array):
            norm = whole if self.how == "norm" else float(np.linalg.norm(array.astype(float)))
            return (array * min(1.0, self.bound / norm) if norm else array).astype(array.dtype)

        return Gradients(*(trees.each(shrunk, part) for part in gradients))


@pytest.mark.parametrize(("how", "words", "bound", "dtype"), [
    ("value", "clipped by value at", 0.5, "float32"),
    pytest.param("value", "clipped by value at", 250.0, "float64", marks=pytest.mark.thorough),
    ("norm", "clipped by the norm of all together at", 5.0, "float64"),
    pytest.param("norm", "clipped by the norm of all together at", 250.0, "float32", marks=pytest.mark.thorough),
    ("array", "clipped by the norm of each array at", 0.5, "float64"),
])  # fmt: skip
def test_clipping_is_named_with_its_bound(how, words, bound, dtype):
    faults = FAULTS if bound < 100 else FAULTS[::4]  # with so few errors each fault takes long to try
    found = diagnose(Clipped(how, bound), LSTM(), dtype, faults)
    assert not found.names and found.clipped == f"{words} {bound:.4g}"
    assert f"gradients are {words} {bound:.4g}" in found.sentence()


TWO = [("di-uses-i", "second-bias-zero"), ("gates-swapped", "dx-in-backward-order")]  # equations, around the pullback
OTHER_TWO = [
    ("tanh-c-prime-missing", "times-rows"),
    ("rnn-no-carry", "second-bias-zero"),
    ("reset-gate-skipped", "divide-by-wrong-axis"),
]


@pytest.mark.parametrize(("one", "other"), some([*TWO, *OTHER_TWO], *TWO))
def test_of_two_mistakes_one_is_named_and_further_errors_are_reported(one, other):
    first, second = BY_ID[one], BY_ID[other]
    two = both(first, second)
    T = 2 if one == "rnn-no-carry" else 1  # with fewer it does not show
    smallest = realise(Draw(T, 1, 1, 1, 1, *[False] * 4, 0.5, seed=0), first.cells[0], "float64", CAPABILITIES)
    found = diagnose(Faulty(two), first.cells[0], "float64", failing=[smallest])
    assert found.more and set(found.names) & {one, other}
    assert "run again" in found.sentence()


def test_an_unknown_mistake_has_no_name():
    for exponent in (1.3, 2.7):

        class Odd(Untruncated):
            def vjp(self, case, exponent=exponent):
                outputs, pullback = super().vjp(case)

                def pull(cotangents):
                    gradients = pullback(cotangents)
                    bent = trees.each(lambda a: np.sign(a) * np.abs(a) ** exponent, gradients.parameters)
                    return gradients._replace(parameters=bent)

                return outputs, pull

        found = diagnose(Odd(), GRU("after"), "float64")
        assert not found.names and not found.clipped and "no planted fault gives these numbers" in found.sentence()


@settings(max_examples=50)
@given(st.sampled_from([cell for cell in CELLS if len(cell.gates) > 1]), st.data())
def test_blocks_are_listed_in_short(cell, data):
    gates = data.draw(st.lists(st.sampled_from(cell.gates), unique=True, min_size=1))
    said = in_short([f"W_hh[gate {gate}]" for gate in gates] + ["x"])
    if len(gates) == len(cell.gates):
        assert said == ["W_hh", "x"]
    else:
        assert said[0].startswith("W_hh[gate") and all(gate in said[0] for gate in gates) and said[1] == "x"
