"""A run, as a program uses it; the command, the matrix and pytest are made of the same parts."""

import json
from dataclasses import replace

import pytest

from bpttcheck.exit_status import AT_FAULT, FAILED, INTERRUPTED, PASSED
from bpttcheck.reporting.record import from_json, to_json
from bpttcheck.running.known_failures import KnownFailure
from bpttcheck.running.question import Question, Share
from bpttcheck.running.run import Run, unmet
from bpttcheck.targets import TargetError

ASKED = Question(("pullback-reference", "causality"), ("lstm",), ("float64",), examples=4, seed=1)
FAULT = "fault:di-uses-i"
PLACES = [Share("reference", "lstm", "float64"), Share(FAULT, "lstm", "float64")]
KNOWN = KnownFailure("pullback-reference", "it is planted", target=FAULT)


def judged(asked=ASKED, targets=("reference", FAULT), **options):
    run = Run.of(targets, asked)
    return run, list(run.judge(**options))


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_share_is_tested_and_recorded(jobs):
    run, shares = judged(jobs=jobs)
    assert sorted(shares) == sorted(PLACES) and list(run.shares) == PLACES
    assert {(r.subject, r.law): r.status for r in run.results} == {
        ("reference", "pullback-reference"): "passed",
        ("reference", "causality"): "passed",
        (FAULT, "pullback-reference"): "failed",
        (FAULT, "causality"): "passed",
    }
    assert run.exit_status() == FAILED
    assert run.exit_status(at_fault=True) == AT_FAULT
    run.interrupted = True
    assert run.exit_status() == INTERRUPTED


def test_known_failures_are_settled_and_must_match_a_result():
    run, _ = judged(replace(ASKED, known=(KNOWN,)))
    assert [r.status for r in run.results if r.subject == FAULT] == ["known", "passed"]
    assert run.exit_status() == PASSED and unmet(run.asked, run.targets) == []
    other = replace(KNOWN, cell="gru-after")
    assert unmet(replace(ASKED, known=(other,)), run.targets) == []  # not asked, so not missed
    stale = replace(KNOWN, target=None, dtype="float16")
    assert unmet(replace(ASKED, dtypes=(), known=(stale,)), run.targets) == [stale]


def test_a_target_that_cannot_be_loaded_is_recorded_and_others_are_tested():
    run, shares = judged(targets=("reference", "nothing.py:None"))
    assert shares == PLACES[:1]
    assert run.errors == ["there is no file nothing.py"] and run.exit_status() == AT_FAULT
    with pytest.raises(TargetError, match="there is no file"):
        Run.of(("reference", "nothing.py:None"), ASKED, raising=True)


def test_a_selection_that_fits_nothing_is_refused_unless_it_may():
    with pytest.raises(ValueError, match="no target has the cell 'gru'"):
        Run.of(("reference",), replace(ASKED, cells=("gru",)))
    assert Run.of(("reference",), replace(ASKED, cells=("gru",)), where_declared=True).shares == []


def test_it_is_the_same_after_json():
    run, _ = judged()
    read = from_json(to_json(run))
    assert json.loads(to_json(read)) | {"results": []} == json.loads(to_json(run)) | {"results": []}
    assert read.exit_status() == run.exit_status() and [r.law for r in read.results] == [r.law for r in run.results]
