"""ONNX Runtime passes every law of a forward pass; the reference evaluator passes them for rows of one length."""

from dataclasses import replace
from pathlib import Path

import pytest

from bpttcheck import LAWS, judge

HOW = "is not installed: python -m pip install '.[onnxruntime]', or tox -e onnx"
pytest.importorskip("onnx", reason=f"onnx {HOW}")
pytest.importorskip("onnxruntime", reason=f"onnxruntime {HOW}")

from bpttcheck.adapters import onnx_graph  # noqa: E402
from bpttcheck.adapters.onnx import OnnxReference  # noqa: E402
from bpttcheck.adapters.onnxruntime import OnnxRuntime  # noqa: E402

from ..programs import command  # noqa: E402

KNOWN = str(Path(__file__).parents[2] / "docs" / "known-failures.toml")
FORWARD = {"outputs-complete", "forward-reference", "split-resume-states", "causality", "batch-permutation",
           "batch-independence", "nothing-overwritten", "same-call-same-result", "results-stay", "shapes-interleaved",
           "reverse-is-flipped", "saturated-is-finite", "any-layout", "ordinary-is-finite", "one-state-for-all-rows",
           "initial-left-out"}  # fmt: skip
RAGGED = {"padding-ignored", "ragged-row-alone"}
SATURATED = {"saturated-is-finite"}  # whose numbers are beyond the range of 16 bits


class OfOneLength(OnnxReference):
    """Rows never have different lengths in sequence_lens."""

    def capabilities(self):
        return replace(super().capabilities(), inputs=("dense", "initial"))


def statuses(subject, examples=10, **chosen):
    return {(r.law, r.status) for r in judge(subject, LAWS, examples=examples, seed=2, shrink=False, **chosen)}


def failed(found):
    return {law for law, status in found if status in ("failed", "error", "unsure")}


@pytest.mark.parametrize(("subject", "judged", "chosen"), [
    (OnnxRuntime(), FORWARD | RAGGED, {"dtypes": ["float32"]}),
    (OnnxRuntime(), (FORWARD | RAGGED) - SATURATED, {"dtypes": ["float16"]}),
    (OnnxRuntime(apart=True), FORWARD | RAGGED, {"dtypes": ["float32"]}),
    (OfOneLength(), FORWARD, {"dtypes": ["float32", "float64"]}),
    (OfOneLength(), FORWARD - SATURATED, {"dtypes": ["float16"], "cells": ["rnn-tanh", "lstm", "gru-before"]}),
    (OfOneLength(layout=1), FORWARD, {"dtypes": ["float64"]}),
    (OfOneLength(layout=1, apart=True), FORWARD, {"dtypes": ["float64"]}),
], ids=["runtime", "in 16 bits", "apart", "evaluator", "its 16 bits", "batch first", "both"])  # fmt: skip
def test_no_false_alarm(subject, judged, chosen):
    """Laws that do not run need a gradient, or another undeclared feature."""
    found = statuses(subject, **chosen)
    assert {law for law, status in found if status == "passed"} == judged
    assert not failed(found)


@pytest.mark.parametrize(("chosen", "broken"), [
    ({"cells": ["lstm"], "dtypes": ["float64"]}, RAGGED | {"forward-reference"}),
    ({"cells": ["rnn-identity"], "dtypes": ["float16"]}, {"outputs-complete"}),
], ids=["it does not look at lengths", "a final state has another type"])  # fmt: skip
def test_failures_of_the_evaluator(chosen, broken):
    """Kept in docs/known-failures.toml; where a version is correct, its entries there end."""
    assert failed(statuses(OnnxReference(), examples=16, **chosen)) == broken


def test_the_verdict_lists_known_failures_and_untested_laws(tmp_path):
    done = command("verify", "onnx", "onnxruntime", "--cell", "gru-after", "--dtype", "float32", "--examples", "16",
               "--seed", "1", "--known-failures", KNOWN, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 known" in done.stdout and "accepts sequence_lens and ignores it" in " ".join(done.stdout.split())
    assert done.stdout.splitlines()[-1].startswith("A forward-only implementation was tested")


def test_the_runtime_refuses_batch_first():
    """When it does not any more, its adapter's conventions must be updated."""
    results = list(judge(OnnxRuntime(layout=1), LAWS, examples=1, seed=2, shrink=False, cells=["lstm"]))
    assert any("layout == 1" in r.reason for r in results if r.status == "error")


def changed(change, **options):
    """ONNX Runtime whose recurrent nodes are changed before they run."""

    class Changed(OnnxRuntime):
        def run(self, model, feeds):
            for node in model.graph.node:
                if node.op_type in ("RNN", "LSTM", "GRU"):
                    change(node)
            return super().run(model, feeds)

    return Changed(**options)


def without(place):
    def change(node):
        node.input[place] = ""

    return change


def other_reset(node):
    for attribute in node.attribute:
        if attribute.name == "linear_before_reset":
            attribute.i = 1 - attribute.i


def all_forward(node):
    for attribute in node.attribute:
        if attribute.name == "direction" and attribute.s == b"reverse":
            attribute.s = b"forward"


@pytest.mark.parametrize(("subject", "caught_by", "passes"), [
    (changed(without(3)), {"forward-reference"}, {"split-resume-states"}),
    (changed(without(4)), {"forward-reference", "padding-ignored"}, {"split-resume-states"}),
    (changed(without(5)), {"forward-reference", "split-resume-states"}, {"causality"}),
    (changed(other_reset), {"forward-reference"}, {"split-resume-states"}),
    (changed(all_forward, apart=True), {"forward-reference", "reverse-is-flipped"}, {"split-resume-states"}),
], ids=["no biases", "no lengths", "no initial states", "the other reset gate", "no reverse"])  # fmt: skip
def test_a_slip_in_the_graph(subject, caught_by, passes):
    found = statuses(subject, cells=["gru-after"])
    assert caught_by <= failed(found) <= caught_by | RAGGED
    assert {(law, "passed") for law in passes} <= found


@pytest.mark.parametrize(("operator", "cell"), [("LSTM", "lstm"), ("GRU", "gru-before")])
def test_gates_in_another_order(operator, cell, monkeypatch):
    """As they stand in the canonical layout, which torch has, too."""
    monkeypatch.setitem(onnx_graph._GATES, operator, tuple(range(len(onnx_graph._GATES[operator]))))
    found = statuses(OnnxRuntime(), cells=[cell])
    assert failed(found) == {"forward-reference"}
