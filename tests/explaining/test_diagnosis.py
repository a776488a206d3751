"""On failure: the fault is named, the failure is written and replayed, the reference is checked before the
implementation."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from bpttcheck import LAWS, Gradients, Outputs, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.realising import realise
from bpttcheck.explaining.diagnosis import diagnose
from bpttcheck.explaining.explanation import explain
from bpttcheck.explaining.failure import write_failure
from bpttcheck.explaining.matrix_in_words import in_words
from bpttcheck.explaining.xray import xray
from bpttcheck.faults import FAULTS, Faulty
from bpttcheck.measuring.scales import measure
from bpttcheck.running.child import Here
from bpttcheck.running.oracle import reference_is_confirmed
from bpttcheck.running.question import Question
from bpttcheck.running.time_limit import TimeLimit
from bpttref import GRU, LSTM, RNN, Blocks, Cotangents, Full, Last, Links, Regular, Window, weights

from ..programs import command
from ..thorough import some

BY_ID = {fault.id: fault for fault in FAULTS}
SOME_NAMED = ("rnn-no-carry", "di-uses-i", "loss-not-over-T")
NAMED = (*SOME_NAMED, "clip-in-time-loop", "last-state-at-T", "not-detached", "stale-packed-weights")


@pytest.mark.parametrize("fault_id", some(NAMED, *SOME_NAMED))
def test_a_fault_is_named_and_never_by_another_name(fault_id):
    fault = BY_ID[fault_id]
    found = diagnose(Faulty(fault), fault.cells[0], "float64")
    assert fault_id in found.names
    others = [other for other in FAULTS if other.id not in found.names]
    found = diagnose(Faulty(fault), fault.cells[0], "float64", others)
    assert found.more or not found.names


def test_where_the_error_sits():
    found = diagnose(Faulty(BY_ID["di-uses-i"]), LSTM(), "float64", ())
    assert found.names == () and found.level.startswith("one step")
    assert "W_hx[gate i]" in found.wrong and "W_hx[gate g]" in found.right


@pytest.mark.parametrize(("cell", "taken"), [(LSTM(), "f i o g"), (LSTM(), "i o f g"), (GRU("after"), "z n r")])
def test_the_order_of_gates_is_named(cell, taken):
    """For blocks in another order the diagnosis names the order."""
    H = np.arange(3)

    class Permuted(Reference):
        def capabilities(self):
            few = {"outputs": ("y",), "gradients": ("parameters",), "layers": 1, "bidirectional": False}
            return replace(super().capabilities(), **few, sizes={"H": (3,)})

        def vjp(self, case):
            def change(leaf, move):
                return (({n: move(a) for n, a in leaf.items()},),)

            rows = np.concatenate([3 * taken.split().index(gate) + H for gate in cell.gates])
            outputs, pullback = super().vjp(replace(case, parameters=change(case.parameters[0][0], lambda a: a[rows])))

            def pull(cotangents):
                gradients = pullback(cotangents)
                back = np.argsort(rows)
                return Gradients(None, change(gradients.parameters[0][0], lambda a: a[back]), None)

            return Outputs(outputs.y, None), pull

    found = diagnose(Permuted(), cell, "float64")
    assert found.names == ("gates-taken-as-" + taken.replace(" ", "-"),)


@pytest.mark.parametrize(("fault_id", "block", "factor"), [
    ("times-steps", "W_hh", "T times as large"),
    ("divide-by-wrong-axis", "W_hx", "1/B times as large"),
    ("two-bias-double-step", "b_hh[gate f]", "twice as large"),
    ("negated", "x", "of the opposite sign"),
    ("second-bias-zero", "b_hh", "zero"),
])  # fmt: skip
def test_a_simple_factor_is_named_without_the_fault(fault_id, block, factor):
    fault = BY_ID[fault_id]
    found = diagnose(Faulty(fault), fault.cells[0], "float64", ())
    assert found.factors[block] == factor and f"({factor})" in found.sentence()


@pytest.mark.parametrize(("fault_id", "words"), [
    ("stops-after-16-steps", "zero from lag 16 on"),
    ("rnn-no-carry", "zero from lag 1 on"),
    ("second-bias-zero", "correct at every lag up to 23"),
])  # fmt: skip
def test_from_which_lag_on(fault_id, words):
    fault = BY_ID[fault_id]
    assert words in diagnose(Faulty(fault), fault.cells[0], "float64", ()).sentence()


@pytest.mark.parametrize("fault_id", ["dWh-uses-h_t", "di-uses-i", "z-vs-1-minus-z"])
def test_a_fault_that_needs_a_cotangent_of_y_is_named(fault_id):
    """No law leaves it out, so implementations need not handle its absence."""

    class Unguarded(Faulty):
        def vjp(self, case):
            outputs, pullback = super().vjp(case)
            return outputs, lambda cotangents: pullback(cotangents._replace(y=cotangents.y + 0))

    fault = BY_ID[fault_id]
    assert diagnose(Unguarded(fault), fault.cells[0], "float64").names == (fault_id,)


@pytest.mark.parametrize("fault_id", ["dy-overwritten-by-dx", "dropped-weight-written-back"])
def test_the_case_that_failed_comes_first_and_stays_as_it_was_and_flags_are_no_arrays(fault_id):
    fault = BY_ID[fault_id]
    problem = realise(CASE, fault.cells[0], "float64", Reference().capabilities())
    before = [array.copy() for array in (problem[0].parameters[0][0]["W_hh"], problem[1].y)]
    found = diagnose(Faulty(fault), fault.cells[0], "float64", (), failing=[problem])
    assert found.level == "the case that failed" and found.flags == ("arguments overwritten",)
    assert not {"arguments overwritten"} & {*found.wrong, *found.right} and "arguments overwritten" in found.sentence()
    for array, was in zip((problem[0].parameters[0][0]["W_hh"], problem[1].y), before, strict=True):
        np.testing.assert_array_equal(array, was)


def test_a_declared_output_that_is_not_returned_is_incorrect():
    class Silent(Reference):
        def vjp(self, case):
            outputs, pullback = super().vjp(case)
            return outputs._replace(y=None), pullback

    assert diagnose(Silent(), RNN("tanh"), "float64").wrong == ("y",)


def test_a_correct_implementation_has_no_incorrect_arrays():
    assert diagnose(Reference(), GRU("before"), "float32").wrong == ()


CASE = Draw(3, 2, 2, 3, 1, False, False, False, True, 0.5, seed=4)


def one_failure(law_id):
    """A failure of a law on a small case, as `judge` finds it."""
    laws = [law for law in LAWS if law.id == law_id]
    fault = Faulty(BY_ID["not-detached" if law_id == "xray-regular" else "dW-overwrite"])
    results = judge(fault, laws, examples=30, seed=1, cells=["lstm"], dtypes=["float32"])
    return next(result for result in results if result.status == "failed")


@pytest.mark.parametrize("law_id", ["pullback-reference", "regular-reference", "split-resume-pullback"])
@pytest.mark.parametrize(("target", "said"), [("fault:dW-overwrite", "FAILED"), ("reference", "FIXED")])
def test_a_failure_is_written_and_replayed(tmp_path, law_id, target, said):
    """A law that looks at the numbers of one call is shown by the correct numbers, another law by itself."""
    failure, subject = one_failure(law_id), Faulty(BY_ID["dW-overwrite"])
    problem = realise(failure.case, LSTM(), "float32", subject.capabilities())
    path = write_failure(tmp_path / "new", target, subject.name, law_id, failure.reason, *problem, failure.worst)
    assert "expected = array" in path.read_text()
    assert ("finding = again(" in path.read_text()) != law_id.endswith("-reference")
    by_itself = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60)
    for done in (by_itself, command("replay", str(path)), command("replay", str(path.parent))):
        assert done.stdout.startswith(said) and done.returncode == (said == "FAILED"), done.stderr
    path.write_text("import nowhere")
    done = command("replay", str(path))
    assert done.stdout.startswith("ERROR: ModuleNotFoundError") and done.returncode == 2


def test_a_case_that_kills_an_implementation_is_written_and_replayed(tmp_path):
    code = """
from bpttcheck.adapters.reference import Reference

class FourRows(Reference):
    name = "four rows"

    def vjp(self, case):
        if case.x.shape[1] == 4:
            raise RuntimeError("four rows are too many")
        return super().vjp(case)
"""
    (tmp_path / "mine.py").write_text(code)
    verify = ["verify", "mine.py:FourRows", "--seed", "1", "--examples", "8"]
    only = ["--cell", "lstm", "--dtype", "float64", "--law", "causality", "--law", "pullback-reference"]
    done = command(*verify, *only, cwd=tmp_path)
    assert done.returncode == 2 and "ERROR pullback-reference on lstm float64: vjp raised RuntimeError" in done.stdout
    assert (
        re.search(r"^    smallest case found: T=1, B=4, ", done.stdout, re.MULTILINE)
        and "error over" not in done.stdout
    )
    (path,) = tmp_path.glob("bpttcheck-failures/*pullback_reference*/replay.py")
    done = command("replay", str(path))
    assert "four rows are too many" in done.stdout and done.returncode == 2


def test_a_written_case_can_be_loaded(tmp_path):
    case, cotangents = realise(CASE, LSTM(), "float64", Reference().capabilities())
    path = write_failure(tmp_path, "reference", "reference", "causality", "", case, cotangents)
    with np.load(path.parent / "case.npz") as arrays:
        assert {"x", "W_hh", "initial.c", "cotangent.y", "cotangent.final.h"} <= arrays.keys()
        np.testing.assert_array_equal(arrays["W_hh"], case.parameters[0][0]["W_hh"])


def test_written_numbers_are_exact(tmp_path):
    subject = Reference()
    case, cotangents = realise(replace(CASE, rounded=False), RNN("tanh"), "float32", subject.capabilities())
    path = write_failure(tmp_path, "reference", "reference", "forward-reference", "", case, cotangents)
    namespace = {"__file__": str(path)}
    exec(path.read_text().replace('__name__ == "__main__"', "False"), namespace)
    np.testing.assert_array_equal(namespace["case"].x, case.x)
    np.testing.assert_array_equal(namespace["case"].parameters[0][0]["W_hh"], case.parameters[0][0]["W_hh"])
    np.testing.assert_array_equal(namespace["cotangents"].y, cotangents.y)


@pytest.mark.parametrize(
    "strategy", [Full(), Regular(3), Window(3), Blocks(2, 3), Last(4), Links((1, 0.5, 2, 0, 1, 1))]
)
@pytest.mark.parametrize("cell", [RNN("tanh"), LSTM(), GRU("after")], ids=lambda cell: cell.name)
def test_the_xray_sees_the_requested_truncation(cell, strategy):
    seen = xray(Reference(), cell, strategy, 6)
    for M in (seen.inputs, seen.parameters):
        assert in_words(M) == in_words(weights(strategy, 6)[:, 1:]) != "none of the known rules"


@pytest.mark.parametrize(("fault_id", "strategy", "words"), [
    ("not-detached", Regular(3), "no weighting of full BPTT: the cell state is not cut"),
    ("hidden-state-not-detached", Regular(3), "no weighting of full BPTT: the hidden state is not cut"),
    ("only-last-loss-travels", Window(3), "only the last loss travels, over 3"),
    ("cells-or-transitions", Window(3), "a band of 4: the window is counted in transitions"),
    ("segments-for-window", Window(3), "blocks of 3"),
    ("window-from-the-end", Regular(3), "only the last 3 steps"),
    ("setting-ignored", Regular(3), "full BPTT"),
])  # fmt: skip
def test_the_xray_describes_a_fault(fault_id, strategy, words):
    fault = BY_ID[fault_id]
    seen = xray(Faulty(fault), fault.cells[0], strategy, 7)
    assert words in seen.in_words(strategy)


@pytest.mark.parametrize("cell", [RNN("relu"), LSTM(), GRU("before")], ids=lambda cell: cell.name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_oracles_confirm_the_reference(cell, dtype):
    for seed in range(5):
        draw = Draw(4, 2, 3, 2, 2, False, False, False, False, (0.1, 0.5, 2.0, 8.0, 1e-3)[seed], seed)
        assert reference_is_confirmed(*realise(draw, cell, dtype, Reference().capabilities()))


def test_an_incorrect_reference_fails_no_implementation(monkeypatch):
    """With a fault planted in the reference itself, a correct implementation does not fail."""

    def wrong(case, *cotangents):
        found = measure(case, *cotangents)
        for measured in found:
            measured.values["W_hh"] = 1.001 * measured.values["W_hh"]
        return found

    monkeypatch.setattr("bpttcheck.running.oracle.measure", wrong)
    monkeypatch.setattr("bpttcheck.measuring.trial.measure", wrong)
    laws = [law for law in LAWS if law.id == "pullback-reference"]
    results = list(judge(Reference(), laws, examples=5, seed=1, cells=["lstm"], dtypes=["float64"]))
    assert [r.status for r in results] == ["unsure"]
    assert "the oracles contradict our reference" in results[0].reason


def test_the_oracles_work_without_absent_outputs():
    case, cotangents = realise(CASE, LSTM(), "float64", Reference().capabilities())
    assert reference_is_confirmed(case, Cotangents(cotangents.y))


def test_the_xray_names_missing_capabilities():
    subject = Faulty(BY_ID["loss-not-over-T"])
    with pytest.raises(ValueError, match="cannot be X-rayed: it has no vjp"):
        xray(subject, RNN("tanh"), Full(), 4)


def test_arrays_in_which_no_error_would_show_are_not_called_correct():
    """From zeros, one step has no gradient of W_hh, whatever the code does."""

    class FromZeros(Faulty):
        def capabilities(self):
            return replace(super().capabilities(), inputs=("dense",), gradients=("x", "parameters"))

    found = diagnose(FromZeros(BY_ID["di-uses-i"]), LSTM(), "float64", ())
    assert found.level.startswith("one step") and "W_hx[gate g]" in found.right
    assert not [block for block in (*found.right, *found.wrong) if block.startswith("W_hh")]


@pytest.mark.parametrize(("asked", "fault_id"), [("regular", "segments-one-longer"), ("last", "last-one-more")])
def test_the_truncation_that_fails_is_named_and_looked_through(tmp_path, asked, fault_id):
    class OneMore(Reference):
        name = fault_id

        def capabilities(self):
            return replace(super().capabilities(), cells=(RNN("tanh"),), dtypes=("float64",))

        def vjp(self, case):
            if isinstance(case.truncation, Last):
                case = replace(case, truncation=Last(case.truncation.k + 1))
            return super().vjp(case)

    subject = Faulty(BY_ID[fault_id]) if fault_id in BY_ID else OneMore()
    laws = [law for law in LAWS if law.id == f"{asked}-reference"]
    cells = [subject.capabilities().cells[0].name]
    results = list(judge(subject, laws, cells=cells, dtypes=["float64"], examples=16, seed=1))
    (explanation,) = explain(Here(subject), "target", results, tmp_path, Question(), TimeLimit())
    said = dict(explanation.lines())
    assert f"; {asked.capitalize()}(" in said["smallest case found"]
    assert any(heading.startswith(f"X-ray of {asked.capitalize()}(") for heading in said)
