"""Calls as people make them: without a state, with one for all rows, once, under no-grad, with only some gradients.

Each mistake is made in the middle of a correct network, at a random place, and must be found; and a correct network
must pass, however it is called.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpttcheck import LAWS, Capabilities, Case, CustomCell, Gradients, Outputs, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.drawing import draw_case
from bpttcheck.cases.realising import realise
from bpttcheck.measuring.calls import Calls
from bpttcheck.measuring.trial import Trial
from bpttref import CELLS, GRU, LSTM, RNN, trees, zero_states

from ..thorough import some

CALLING = [law for law in LAWS if law.family == "calling"]
FEW = settings(max_examples=12, deadline=None)


class Own(Reference):
    """The reference under other capabilities."""

    def __init__(self, **declared):
        self.declared = declared

    def capabilities(self):
        return replace(super().capabilities(), **self.declared)


def found(subject, laws=CALLING, examples=24, seed=1, **options):
    """The statuses of laws, by id."""
    results = judge(subject, laws, examples=examples, seed=seed, shrink=False, **options)
    statuses = {}
    for result in results:
        statuses.setdefault(result.law, set()).add(result.status)
    return statuses


class Layer:
    """A tanh RNN by hand, in one of many correct ways to take a call. slip: its mistake."""

    def __init__(self, slip="", **declared):
        self.name, self.slip, self.declared = slip or "right", slip, declared
        self.kept = []

    def capabilities(self):
        return Capabilities(cells=(RNN("tanh"),), **{"selects": True, **self.declared})

    def begin(self, case):
        rows, H = case.x.shape[1], case.parameters[0][0]["W_hh"].shape[1]
        if case.initial is None:
            return np.zeros((rows, H), case.x.dtype)
        return case.initial[0][0]["h"]

    def vjp(self, case):
        slip, given = self.slip, case.initial is not None
        p, h = case.parameters[0][0], [self.begin(case)]
        if slip == "kept after no-grad" and self.kept and self.kept[0].shape == h[0].shape:
            h = [self.kept.pop().astype(case.x.dtype)]
        for t, x in enumerate(case.x):
            a = x @ p["W_hx"].T + p["b_hx"]
            if given or t or slip != "no state, no recurrent bias":
                a = a + h[-1] @ p["W_hh"].T + p["b_hh"]
            h.append(np.tanh(a))
        if case.wanted == frozenset():
            self.kept = [h[-1]]
            return Outputs(np.stack(h[1:]), (({"h": h[-1]},),)), None
        wanted = {"x", "parameters", "initial"} if case.wanted is None else case.wanted

        def pullback(c):
            dp, dx = {k: np.zeros_like(a) for k, a in p.items()}, np.zeros_like(case.x)
            dh = np.zeros_like(h[0]) if c.final is None else c.final[0][0]["h"]
            for t in reversed(range(len(dx))):
                da = (1 - h[t + 1] ** 2) * (dh + (0 if c.y is None else c.y[t]))
                dp["W_hx"] += da.T @ case.x[t]
                dp["b_hx"] += da.sum(axis=0)
                dx[t], dh = da @ p["W_hx"], da @ p["W_hh"]
                if t or not (slip == "zero unless dh0 is wanted" and "initial" not in wanted):
                    dp["W_hh"] += da.T @ h[t]
                if given or t or slip != "no state, no recurrent bias":
                    dp["b_hh"] += da.sum(axis=0)
            if slip == "freed before dx" and case.once:
                dx[-1] = 0
            return Gradients(
                dx if "x" in wanted else None,
                ((dp,),) if "parameters" in wanted else None,
                (({"h": dh},),) if given and "initial" in wanted else None,
            )

        outputs = Outputs(np.stack(h[1:]), (({"h": h[-1].copy()},),))
        if slip == "the state in place" and given and case.initial[0][0]["h"].strides[0] == 0:
            case.initial[0][0]["h"][...] = h[-1]
        return outputs, pullback


SLIPS = {
    "no state, no recurrent bias": "initial-left-out",
    "the state in place": "one-state-for-all-rows",
    "freed before dx": "pulled-once",
    "kept after no-grad": "outputs-alone-before",
    "zero unless dh0 is wanted": "some-wanted",
}


def test_a_correct_layer_passes_however_it_is_called():
    assert found(Layer()) == {law.id: {"passed"} for law in CALLING}


@pytest.mark.parametrize("seed", some([1, 2], 1))
@pytest.mark.parametrize("slip", SLIPS)
def test_only_its_law_finds_a_slip(slip, seed):
    statuses = found(Layer(slip), LAWS, seed=seed)
    assert {law for law, seen in statuses.items() if "failed" in seen} == {SLIPS[slip]}
    assert not any("error" in seen for seen in statuses.values())


@pytest.mark.parametrize("family", ["NumPy", "no y", "no final", "no dh0", "dparameters alone", "no states", "lengths"])
def test_undeclared_calls_are_not_made(family):
    """Whatever an implementation lacks, its other parts are correct: none of these laws gives a false alarm."""
    lacks = {
        "NumPy": {},
        "no y": {"outputs": ("final",)},
        "no final": {"outputs": ("y",)},
        "no dh0": {"gradients": ("x", "parameters")},
        "dparameters alone": {"gradients": ("parameters",)},
        "no states": {"inputs": ("dense",), "gradients": ("x", "parameters")},
        "lengths": {"inputs": ("dense", "tokens", "initial", "lengths"), "padding": "anything"},
    }
    subject = Own(**{"cells": (LSTM(), RNN("relu")), "dtypes": ("float32",), **lacks[family]})
    statuses = found(subject, examples=16)
    assert {status for seen in statuses.values() for status in seen} <= {"passed", "skipped", "vacuous"}
    asked = {law for law, seen in statuses.items() if "passed" in seen}
    assert "outputs-alone-before" in asked
    assert ("initial-left-out" in asked) == (family != "no states")
    assert ("some-wanted" in asked) == (family != "dparameters alone")


@st.composite
def problems(draw, **declared):
    """A drawn problem of any kind, for the reference."""
    subject = Own(**declared)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cell, dtype = draw(st.sampled_from(CELLS)), draw(st.sampled_from(("float32", "float64")))
    drawn = draw_case(rng, subject.capabilities(), draw(st.integers(0, 7)))
    return (drawn, *realise(drawn, cell, dtype, subject.capabilities()))


class Begins(Own):
    """Without states it begins from ``by`` times a number for each state."""

    def __init__(self, by, **declared):
        self.by = by
        super().__init__(default_initial=self.states, **declared)

    def states(self, case):
        zeros = zero_states(case.cell, case.parameters, case.x.shape[1])
        return trees.each(lambda array: np.full(array.shape, self.by), zeros)

    def vjp(self, case):
        return super().vjp(case if case.initial is not None else replace(case, initial=self.states32(case)))

    def loss_and_gradients(self, case):
        case = case if case.initial is not None else replace(case, initial=self.states32(case))
        return super().loss_and_gradients(case)

    def states32(self, case):
        return trees.each(lambda array: array.astype(case.dtype), self.states(case))


@pytest.mark.parametrize("by", [0.5, -1.0])
def test_another_start_may_be_declared(by):
    options = {"cells": (GRU("after"),), "layers": 2}
    law = [law for law in LAWS if law.id == "initial-left-out"]
    assert found(Begins(by, **options), law) == {"initial-left-out": {"passed"}}
    undeclared = Begins(by, **options)
    undeclared.declared["default_initial"] = "zeros"
    assert found(undeclared, law) == {"initial-left-out": {"failed"}}


def test_an_implementation_that_needs_states_declares_it_or_raises():
    law = [law for law in LAWS if law.id == "initial-left-out"]

    class Given(Layer):
        def begin(self, case):
            return case.initial[0][0]["h"]

    (result, *_) = judge(Given(), law, examples=8, seed=1, shrink=False)
    assert result.status == "skipped"
    assert result.reason.startswith("where no initial states are given the implementation raises TypeError: 'NoneType'")
    (result, *_) = judge(Layer(default_initial="none"), law, examples=8, seed=1, shrink=False)
    assert (result.status, result.reason) == (
        "skipped",
        "the implementation takes no initial states, or needs them in every call",
    )


def test_an_objective_is_scored_without_states_and_with_some_gradients_wanted():
    """Only of a training loop."""

    class Loop(Own):
        vjp = None

        def __init__(self, wrong):
            super().__init__(cells=(LSTM(),), dtypes=("float64",))
            self.wrong, self.right = wrong, Reference()

        def loss_and_gradients(self, case):
            outputs, gradients = self.right.loss_and_gradients(case)
            if self.wrong(case):
                gradients = gradients._replace(readout=trees.scale(gradients.readout, 0.5))
            return outputs, gradients

    for law, wrong in (
        ("initial-left-out", lambda case: case.initial is None),
        ("some-wanted", lambda case: case.wanted is not None and "parameters" in case.wanted),
        ("", lambda case: False),
    ):
        statuses = found(Loop(wrong))
        assert {law for law, seen in statuses.items() if "failed" in seen} == ({law} if law else set())


@FEW
@given(problems(), st.sets(st.sampled_from(("x", "parameters", "initial"))))
def test_wanted_gradients_must_come_and_others_need_not(problem, wanted):
    _, case, cotangents = problem
    subject = Own()
    case = replace(case, wanted=frozenset(wanted), objective=None)
    trial = Trial(subject, subject.capabilities(), case, cotangents)
    _, pulling = trial.run(case)
    names = trial.pull(pulling, cotangents)
    expected = {
        "x": {"x"} & names.keys(),
        "initial": {name for name in names if "initial." in name},
        "parameters": {name for name in names if name != "x" and "initial." not in name},
    }
    assert {kind for kind, there in expected.items() if there} == {k for k in wanted if k != "x" or case.x.ndim == 3}


@FEW
@given(problems())
def test_biases_of_zero_are_a_kind_of_case(problem):
    drawn, case, cotangents = problem
    for unbiased in (False, True):
        case, _ = realise(replace(drawn, unbiased=unbiased), case.cell, case.dtype, Reference().capabilities())
        biases = [p[name] for layer in case.parameters for p in layer for name in ("b_hx", "b_hh")]
        assert all(bias.any() != unbiased for bias in biases)
        assert all(p["W_hh"].any() for layer in case.parameters for p in layer)
    assert ("biases of zero" in str(replace(drawn, unbiased=True))) and "biases" not in str(
        replace(drawn, unbiased=False)
    )


def test_biases_of_zero_are_drawn_in_a_default_run():
    for seed in range(20):
        drawn = [draw_case(np.random.default_rng([seed, k]), Reference().capabilities(), k) for k in range(40)]
        assert 1 <= sum(draw.unbiased for draw in drawn) <= 18


def test_vectors_of_an_unknown_cell_become_zero_only_if_they_are_biases():
    """A decay, say, must perhaps not be zero."""
    cell = CustomCell("own", lambda D, H: {"V/bias": (H,), "b_h": (H,), "decay": (H,)}, lambda H: {"h": (H,)})
    declared = Capabilities(cells=(cell,))
    drawn = replace(draw_case(np.random.default_rng(0), declared, 0), unbiased=True)
    case, _ = realise(drawn, cell, "float64", declared)
    assert {n for n, a in case.parameters[0][0].items() if not a.any()} == {"V/bias", "b_h"}


def test_a_default_that_makes_no_sense_is_one_sentence():
    with pytest.raises(
        ValueError, match="default_initial must be 'zeros', 'none', a mapping or a function; it is 'ones'"
    ):
        Capabilities(cells=(LSTM(),), default_initial="ones")


def test_the_reference_takes_one_row_for_all_and_refuses_a_batch_of_one():
    """A view of one row as many is a state ``(B, H)``; one row is not."""
    p = {"W_hx": np.ones((2, 3)), "W_hh": np.ones((2, 2))}
    row = np.full((1, 2), 0.5)
    case = Case(RNN("tanh"), "float64", ((p,),), np.ones((4, 5, 3)), (({"h": np.broadcast_to(row, (5, 2))},),))
    outputs, _ = Calls(Reference()).run(case, copy=False)
    assert outputs.y.shape == (4, 5, 2) and np.array_equal(row, [[0.5, 0.5]])
    with pytest.raises(Exception, match=r"\(5, 2\)"):
        Calls(Reference()).run(replace(case, initial=(({"h": row},),)))
