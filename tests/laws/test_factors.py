"""A factor that is within the rounding of each case, seen over all cases of a run in 16 bits."""

from dataclasses import replace

import numpy as np
import pytest

from bpttcheck import LAWS, Capabilities, Gradients, Outputs, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.changes import with_arrays
from bpttcheck.dtypes import rounded
from bpttcheck.laws.factors import _average
from bpttcheck.reporting.text import reasons
from bpttref import LSTM, RNN, Cotangents, trees

from ..thorough import some

LAW = "factors-over-cases"


class Mixed:
    """Numbers of 16 bits in and out, and float32 inside, as in mixed precision. by: of one block of its gradients."""

    name = "mixed"

    def __init__(self, dtype, cell, block="", by=1.0):
        self.declared = Capabilities(cells=(cell,), dtypes=(dtype, "float32"))
        self.block, self.by = block, np.float32(by)

    def capabilities(self):
        return self.declared

    def vjp(self, case):
        wide = replace(with_arrays(case, lambda _, array: array.astype(np.float32)), dtype="float32")
        outputs, pullback = Reference().vjp(wide)

        def narrow(tree):
            return trees.each(lambda array: rounded(array, case.dtype), tree)

        def pull(cotangents):
            given = Cotangents(*(trees.each(lambda array: array.astype(np.float32), part) for part in cotangents))
            found = pullback(given)
            whole = replace(wide, x=found.x, parameters=found.parameters, initial=found.initial)
            wrong = with_arrays(whole, lambda name, array: array * (self.by if name == self.block else np.float32(1)))
            return Gradients(*map(narrow, (wrong.x, wrong.parameters, wrong.initial)))

        return Outputs(narrow(outputs.y), narrow(outputs.final)), pull


def judged(subject, examples=40, seed=1):
    laws = [law for law in LAWS if law.id in (LAW, "pullback-reference")]
    dtypes = subject.declared.dtypes[:1]
    return {r.law: r for r in judge(subject, laws, dtypes=dtypes, examples=examples, seed=seed, shrink=False)}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("cell", [RNN("tanh"), LSTM()], ids=str)
def test_correct_mixed_precision_is_green(cell, dtype):
    for seed in range(3):
        found = judged(Mixed(dtype, cell), seed=seed)
        assert {r.status for r in found.values()} == {"passed"}
    (said,) = [line for line in reasons([found[LAW]]) if LAW in line]
    assert "would not have been seen" in said


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("by", some([0.98, 1.02], 1.02))
@pytest.mark.parametrize("block", ["x", "W_hx", "W_hh", "b_hh", "initial.c"])
def test_two_percent_are_seen_in_each_block(block, by, dtype):
    found = judged(Mixed(dtype, LSTM(), block, by))
    assert found[LAW].status == "failed"
    assert found[LAW].reason.startswith(f"the factor of {block}") and "is off by 0.0" in found[LAW].reason
    assert dtype == "float16" or found["pullback-reference"].status == "passed"


def test_few_cases_prove_nothing():
    assert judged(Mixed("bfloat16", LSTM(), "x", 1.02), examples=9)[LAW].status == "vacuous"


def test_single_cases_show_it_in_finer_formats():
    law = next(law for law in LAWS if law.id == LAW)
    (result,) = judge(Mixed("bfloat16", LSTM()), [law], dtypes=["float32"], examples=2)
    assert result.status == "skipped" and "finer formats" in result.reason


@pytest.mark.parametrize("cases", [10, 30])
def test_the_error_of_an_average_is_seldom_exceeded(cases):
    """With weights of many sizes, never in 2000 runs, and the bound is not many times the error."""
    rng = np.random.default_rng(0)
    off = []
    for _ in range(2000):
        weights = np.minimum(1.0, rng.random(cases) * 10 + 0.5)
        mean, error = _average(1 + rng.standard_normal(cases) / np.sqrt(weights) / 100, weights)
        off.append(abs(mean - 1) / error)
    assert 0.05 < max(off) < 1
