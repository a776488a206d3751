"""The suite itself is tested: every planted fault is caught by its laws, every law catches one, and no law gives a
false alarm."""

from functools import cache

import numpy as np
import pytest

from bpttcheck import LAWS, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.explaining.battery import battery
from bpttcheck.explaining.looking import results_of
from bpttcheck.faults import FAULTS, Faulty
from bpttcheck.measuring.handing import plain
from bpttcheck.measuring.trial import Trial
from bpttref import CELLS

from ..ending import results_unless

EXAMPLES = 40
LEVELS = {"one step", "equal sizes", "a long sequence"}


PLANTED = [
    pytest.param(fault, cell, marks=[pytest.mark.thorough] * (cell is not fault.cells[0]), id=f"{fault.id}-{cell.name}")
    for fault in FAULTS
    for cell in fault.cells
]


@pytest.mark.parametrize(("fault", "cell"), PLANTED)
def test_fault_is_caught(fault, cell):
    """On every cell that it is planted in, by each law that is named for it, in one of the dtypes."""
    laws = [law for law in LAWS if law.id in fault.caught_by]
    missed = set(fault.caught_by)
    for dtype in ("float64", "float32"):
        if missed:
            one = {"cells": [cell.name], "dtypes": [dtype]}
            results = judge(Faulty(fault), laws, examples=EXAMPLES, seed=1, shrink=False, **one)
            missed -= {r.law for r in results if r.status == "failed"}
    assert not missed


@cache
def problems(cell):
    """Some problems of a diagnosis."""
    return [trial for level, trial in battery(Reference(), cell, "float64") if level in LEVELS]


@pytest.mark.thorough
@pytest.mark.parametrize("fault", [f for f in FAULTS if f.door != "jvp" and not f.remembers], ids=lambda f: f.id)
def test_only_a_fault_that_remembers_depends_on_earlier_calls(fault):
    """A diagnosis relies on it: only those that remember are run on every problem where all others are ruled out."""

    def numbers(subject, problem):
        try:
            return results_of(Trial(subject, capabilities, problem.case, problem.cotangents))
        except Exception as error:
            return {"raised": np.array(f"{type(error).__name__}: {error}")}

    after_others = Faulty(fault)
    capabilities = plain(after_others.capabilities())
    for problem in problems(fault.cells[0]):
        again, alone = numbers(after_others, problem), numbers(Faulty(fault), problem)
        assert again.keys() == alone.keys()
        assert all(np.array_equal(again[n], a, equal_nan=a.dtype.kind == "f") for n, a in alone.items())


ELSEWHERE = {  # planted in implementations of their own
    "clipped-reference": "tests/laws/test_clipping.py",
    "factors-over-cases": "tests/laws/test_factors.py",
    "no-reset-is-none": "tests/laws/test_resets.py",
    **{law.id: "tests/laws/test_affine.py" for law in LAWS if law.family == "affine"},
}


def test_every_law_catches_a_fault():
    """A law without a fault that it catches might be a law that cannot fail."""
    assert {law.id for law in LAWS} - ELSEWHERE.keys() == {law for fault in FAULTS for law in fault.caught_by}


@pytest.mark.thorough
@pytest.mark.parametrize("law", [law for law in LAWS if not law.kept], ids=lambda law: law.id)
def test_a_law_is_needed(law):
    """Only this law catches some fault; the other laws give a reason why they are kept."""

    def another(result):
        return result.status == "failed" and result.law != law.id

    def catches_alone(fault):
        one = {"cells": [fault.cells[0].name], "dtypes": ["float32"], "examples": EXAMPLES, "seed": 1, "shrink": False}
        results = results_unless(another, Faulty(fault), LAWS, **one)
        return results is not None and any(result.status == "failed" for result in results)

    alone = any(catches_alone(fault) for fault in FAULTS if fault.caught_by == (law.id,))
    assert alone, "no fault is caught by this law alone: plant one, or say in Law.kept why the law stays"


def test_gradients_that_are_a_step_late_are_not_causal():
    """The faults that are planted for this law show in outputs, and it looks at gradients as well."""

    class Late(Reference):
        def vjp(self, case):
            outputs, pullback = super().vjp(case)

            def late(cotangents):
                gradients = pullback(cotangents)
                return gradients._replace(x=None if gradients.x is None else np.roll(gradients.x, 1, axis=0))

            return outputs, late

    laws = [law for law in LAWS if law.id == "causality"]
    (result,) = judge(Late(), laws, cells=["lstm"], dtypes=["float64"], examples=EXAMPLES, seed=1, shrink=False)
    assert result.status == "failed" and result.reason.startswith("x[t=")


def test_the_reference_passes_every_law():
    like_another = {"rnn-tanh", "rnn-identity", "gru-after"}  # these are left to asv_bench/false_alarms.py
    cells = [cell.name for cell in CELLS if cell.name not in like_another]
    results = list(judge(Reference(), LAWS, examples=EXAMPLES, seed=1, cells=cells))
    assert {r.status for r in results} == {"passed", "skipped"}
    skipped = {"saturated-is-finite", "taylor-remainder", "chunk-size-does-not-matter"}
    skipped |= {"factors-over-cases", "clipped-reference", *(law.id for law in LAWS if law.family == "affine")}
    assert {r.law for r in results if r.status == "skipped"} == skipped
