"""States of which some are taken and returned: an LSTM with h0 and without c0, and a user's own cell."""

from dataclasses import replace

import numpy as np
import pytest

from bpttcheck import LAWS, Capabilities, CustomCell, Gradients, Outputs, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.blocks import case_arrays, named
from bpttcheck.cases.case_file import CaseFile
from bpttcheck.cases.drawing import draw_case
from bpttcheck.cases.realising import realise
from bpttcheck.explaining.diagnosis import diagnose
from bpttcheck.explaining.explanation import explain
from bpttcheck.explaining.xray import xray
from bpttcheck.faults import FAULTS, Faulty
from bpttcheck.running.child import Here
from bpttcheck.running.oracle import reference_is_confirmed
from bpttcheck.running.question import Own, Question
from bpttcheck.running.time_limit import TimeLimit
from bpttref import LSTM, Regular, trees

from ..field.judging import alarms, red, statuses

OF_H = {
    "inputs": ("dense", "initial.h", "lengths"),
    "outputs": ("y", "final.h"),
    "gradients": ("x", "parameters", "initial.h"),
}


class WithoutC0:
    """An LSTM whose h is handed on, and whose c starts from zeros; c is nowhere. slip: its mistake."""

    name = "without-c0"

    def __init__(self, slip="", base=None, **declared):
        self.slip, self.base = slip, base or Reference()
        usual = {"cells": (LSTM(),), "dtypes": ("float64",), "truncations": (Regular,), **OF_H}
        self.declared = Capabilities(**usual | declared)

    def capabilities(self):
        return self.declared

    def vjp(self, case):
        h0 = None if case.initial is None else case.initial[0][0]
        assert h0 is None or [*h0] == ["h"]
        c0 = {"c": np.full_like(h0["h"], self.slip == "c0 = 1")} if h0 else {}
        outputs, pullback = self.base.vjp(replace(case, initial=(({**h0, **c0},),) if h0 else None))
        final = (({"h": outputs.final[0][0]["h"]},),)

        def of_h(cotangents):
            assert cotangents.final is None or [*cotangents.final[0][0]] == ["h"]
            found = pullback(cotangents._replace(final=None) if self.slip == "no dh" else cotangents)
            dh0 = {"h": found.initial[0][0]["h"] * (0 if self.slip == "dh0 = 0" else 1)}
            return found._replace(initial=((dh0,),) if h0 else None)

        return outputs._replace(final=final), of_h


def test_an_lstm_without_c0_is_green():
    found = statuses(WithoutC0(), examples=16)
    assert set(found.values()) == {"passed", "skipped"}
    assert found["pullback-reference"] == found["initial-left-out"] == found["regular-reference"] == "passed"
    assert found["split-resume-pullback"] == "skipped"  # c is lost where a sequence is split
    assert not alarms(WithoutC0(dtypes=("float32",)), "pullback-reference", "own-forward-derivative", examples=8)


@pytest.mark.parametrize(("slip", "law"), [
    ("c0 = 1", "forward-reference"),
    ("no dh", "pullback-reference"),
    ("dh0 = 0", "pullback-reference"),
])  # fmt: skip
def test_mistakes_in_the_declared_states_are_red(slip, law):
    assert law in red(WithoutC0(slip), "forward-reference", "pullback-reference", examples=8)


def test_a_state_that_is_taken_and_not_returned():
    declared = {"outputs": ("y", "final"), "inputs": ("dense", "initial")}

    class OnlyDh0(WithoutC0):
        def vjp(self, case):
            outputs, pullback = Reference().vjp(case)
            return outputs, lambda cotangents: pullback(cotangents)

    found = statuses(OnlyDh0(**declared), "pullback-reference", "split-resume-states", "tied-gradient-is-sum")
    assert [*found.values()] == ["passed", "passed", "skipped"]


def test_it_is_explained_and_its_case_is_read_again(tmp_path):
    subject = WithoutC0("dh0 = 0")
    laws = [law for law in LAWS if law.id == "pullback-reference"]
    failed = [result for result in judge(subject, laws, examples=8, seed=1) if result.status == "failed"]
    (explanation,) = explain(Here(subject), "without-c0", failed, tmp_path, Question(), TimeLimit(0))
    (file,) = explanation.files
    assert (
        "initial.h" in explanation.first.reason
        and "incorrect: initial.h" in diagnose(subject, LSTM(), "float64", faults=()).sentence()
    )
    assert "initial=(({'h': array(" in file.read_text()
    held = CaseFile(file.parent / "case.npz").holds(LSTM(), "float64", subject.capabilities())
    assert [*held.case.initial[0][0]] == [*held.cotangents.final[0][0]] == ["h"]
    assert reference_is_confirmed(held.case, held.cotangents)
    seen = xray(subject, LSTM(), Regular(2), 6)
    assert seen.shows(seen.declared)


def test_another_implementation_that_takes_all_states_is_a_correct_one():
    assert red(WithoutC0("dh0 = 0"), "pullback-reference", own=Own(against=Reference()), examples=8)
    assert not alarms(WithoutC0(), "pullback-reference", "regular-reference", own=Own(against=Reference()), examples=8)


def test_a_planted_fault_is_named():
    fault = next(fault for fault in FAULTS if fault.id == "dW-without-h0")
    subject = WithoutC0(truncations=(), inputs=("dense", "initial.h"), base=Faulty(fault))
    assert diagnose(subject, LSTM(), "float64", faults=[fault]).names == (fault.id,)


def test_one_that_declares_fewer_arrays_is_refused():
    """It is refused before anything is run."""
    of_h, everything = WithoutC0().declared, Reference().capabilities()
    assert of_h.lacks(everything, LSTM()) == "the initial state c"
    assert Capabilities(cells=(LSTM(),), outputs=("last",)).lacks(of_h, LSTM()) == "y of each step"
    assert everything.lacks(of_h, LSTM()) is None


class TwoSums:
    """A user's own cell with two states, of which the second stays inside: y = a + b."""

    cell = CustomCell("two-sums", lambda D, H: {"W": (D, H)}, lambda H: {"a": (H,), "b": (H,)})
    name = "two-sums"

    def __init__(self, slip=""):
        self.slip = slip

    def capabilities(self):
        return Capabilities(
            cells=(self.cell,),
            inputs=("dense", "initial.a"),
            outputs=("y", "final.a"),
            gradients=("x", "parameters", "initial.a"),
        )

    def vjp(self, case):
        W, x = case.parameters[0][0]["W"], case.x
        a, b = [case.initial[0][0]["a"]], [np.zeros_like(case.initial[0][0]["a"])]
        for now in x:
            a.append(np.tanh(a[-1] + now @ W))
            b.append(b[-1] / 2 + a[-1])
        a, b = np.array(a), np.array(b)

        def pullback(cotangents):
            da, db = np.zeros_like(a[0]), np.zeros_like(a[0])
            dx, dW = np.zeros_like(x), np.zeros_like(W)
            if cotangents.final is not None and self.slip != "no final":
                da = da + cotangents.final[0][0]["a"]
            for t in reversed(range(len(x))):
                dy = 0 if cotangents.y is None else cotangents.y[t]
                db = db + dy
                da = (da + dy + (0 if self.slip == "b is dropped" else db)) * (1 - a[t + 1] ** 2)
                dx[t], dW, db = da @ W.T, dW + x[t].T @ da, db / 2
            return Gradients(dx, (({"W": dW},),), (({"a": da},),))

        return Outputs(a[1:] + b[1:], (({"a": a[-1]},),)), pullback


@pytest.mark.parametrize("slip", ["", "no final", "b is dropped"])
def test_some_states_of_a_users_own_cell(slip):
    found = red(TwoSums(slip), "own-forward-derivative", "batch-independence", dtypes=["float64"], examples=16)
    assert found == ({"own-forward-derivative"} if slip else set())


@pytest.mark.parametrize("cell", [LSTM(), TwoSums.cell], ids=lambda cell: cell.name)
def test_a_case_has_what_is_declared_and_a_name_that_no_cell_has_is_refused(cell):
    name = "c" if cell == LSTM() else "b"
    declared = Capabilities(cells=(cell,), inputs=("dense", f"initial.{name}"), outputs=("y",))
    case, cotangents = realise(draw_case(np.random.default_rng(0), declared, 0), cell, "float64", declared)
    assert [n for n in case_arrays(case) if "initial" in n] == [f"initial.{name}"]
    assert [*named(cotangents)] == ["y"] and trees.copy(cotangents.final) is None
    with pytest.raises(ValueError, match="initial.z is declared, and no cell has such a state"):
        Capabilities(cells=(cell,), inputs=("dense", "initial.z"))
    for field, odd in (("gradients", "x.h"), ("outputs", "initial.h")):
        with pytest.raises(ValueError, match=f"{field} must be a collection"):
            Capabilities(cells=(cell,), **{field: (odd,)})
