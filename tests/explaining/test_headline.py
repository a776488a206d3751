"""Of several failures the one that explains most is reported first; failures by rounding are left out."""

import numpy as np
import pytest

from bpttcheck import LAWS, judge
from bpttcheck.explaining.headline import also_broken, in_order, together
from bpttcheck.faults import FAULTS, Faulty
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.running.results import Result

BY_ID = {fault.id: fault for fault in FAULTS}


def failed(law, margin=1e12, dtype="float64", status="failed", *, size=1.0, off=None):
    """A result in which numbers of some size are off by ``off``; by default nothing in them is correct."""
    off = size if off is None else off
    worst = Comparison("y", off, off / margin, True, np.array([size]), np.array([size - off]))
    return Result("s", "lstm", dtype, law, 0, status, 1, margin=margin, worst=worst)


@pytest.mark.parametrize("first", [
    failed("outputs-complete"),
    failed("nothing-overwritten", 2.0),
    failed("scales-with-cotangents", 1e5),
    failed("causality", 1e3),
    failed("pullback-reference", 1e13),
], ids=lambda result: result.law)  # fmt: skip
def test_the_one_that_explains_most_comes_first(first):
    others = [
        failed("pullback-reference", 1.7, off=1e-15),
        failed("split-resume-pullback", 1e7),
        failed("pullback-reference", 1e5, "float32"),
        failed("batch-permutation", 1.5, "float32", off=1e-6),
        failed("forward-reference", 3.0, status="error"),
    ]
    assert in_order([*others, first])[0] is first


def test_a_rounding_is_not_reported_next_to_another_failure():
    broken = in_order([failed("linear-in-cotangents", 1.7, off=4e-16), failed("pullback-reference", 1e13, size=5.0)])
    assert broken[0].law == "pullback-reference" and also_broken(broken) == {}
    assert "linear" not in together(broken, ())
    alone = in_order([failed("linear-in-cotangents", 1.7, off=4e-16), failed("batch-permutation", 2.0, off=1e-15)])
    assert also_broken(alone) == {"batch-permutation": ["float64"]} or also_broken(alone) == {
        "linear-in-cotangents": ["float64"]
    }


def test_a_law_broken_by_more_than_rounding_in_one_dtype_is_reported_with_all():
    broken = in_order([
        failed("pullback-reference"),
        failed("tied-gradient-is-sum", 1e9),
        failed("tied-gradient-is-sum", 3.0, "float32", off=1e-6),
    ])  # fmt: skip
    assert also_broken(broken) == {"tied-gradient-is-sum": ["float64", "float32"]}


def test_errors_come_last():
    broken = [failed("forward-reference", status="error"), failed("causality")]
    assert in_order(broken)[0].law == "causality"
    assert [r.status for r in in_order([failed("causality", status=s) for s in ("error", "unsure", "failed")])] == [
        "failed", "error", "unsure",
    ]  # fmt: skip


@pytest.mark.parametrize(("fault_id", "said"), [
    ("clip-in-time-loop", "not linear in the cotangents: look for clipping"),
    ("bias-grad-accumulates", "look for buffers and states that are kept"),
    ("segments-one-longer", "full BPTT is correct: look at where the truncation cuts"),
    pytest.param("p-instead-of-1/p", "full BPTT is correct", marks=pytest.mark.thorough),
    pytest.param(
        "gates-in-another-order",
        "the forward pass belongs to another cell, and the gradients are its derivatives",
        marks=pytest.mark.thorough,
    ),
    ("di-uses-i", "the forward pass is correct, and the gradients are not its derivatives"),
    ("masked-by-multiplication", "look at what is done with the lengths of rows"),
])  # fmt: skip
def test_the_conclusion_from_all_broken_laws(fault_id, said):
    fault = BY_ID[fault_id]
    one = {"cells": [fault.cells[0].name], "dtypes": ["float64"]}
    results = list(judge(Faulty(fault), LAWS, examples=40, seed=1, shrink=False, **one))
    broken = in_order([result for result in results if result.status == "failed"])
    assert said in together(broken, {result.law for result in results if result.status == "passed"})
