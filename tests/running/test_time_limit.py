"""Shrinking and diagnosis end when the time is up, and say so."""

import time

import pytest

from bpttcheck import LAWS, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.explaining.diagnosis import diagnose
from bpttcheck.explaining.explanation import explain
from bpttcheck.faults import FAULTS, Faulty
from bpttcheck.running.child import Here
from bpttcheck.running.question import Question
from bpttcheck.running.results import Result
from bpttcheck.running.time_limit import TimeIsUp, TimeLimit
from bpttref import LSTM

FAULT = next(fault for fault in FAULTS if fault.id == "di-uses-i")
LAW = [law for law in LAWS if law.id == "pullback-reference"]


class Slow(Faulty):
    """A number of seconds for each call."""

    def __init__(self, seconds):
        super().__init__(FAULT)
        self.slowly, self.correct, self.calls = seconds, self.vjp, 0
        self.vjp = self._vjp

    def _vjp(self, case):
        self.calls += 1
        time.sleep(self.slowly)
        return self.correct(case)


def test_items_within_a_limit():
    assert list(TimeLimit().within(range(3))) == [0, 1, 2]
    limit = TimeLimit(0)
    assert list(limit.within([])) == [] and not limit.cut
    assert list(limit.within(range(3))) == [] and limit.cut
    with pytest.raises(TimeIsUp):
        TimeLimit(0).check()


def test_a_budget_bounds_shrinking():
    slow = Slow(0.2)
    started = time.monotonic()
    (result,) = judge(slow, LAW, dtypes=["float64"], seconds=0.5, seed=1)
    assert time.monotonic() - started < 5
    assert result.status == "failed" and result.cut_short
    assert result.heading == "smallest case found before the time was up"


def test_each_failure_has_a_limit_by_default(monkeypatch):
    import bpttcheck.running.verdict as verdict

    monkeypatch.setattr(verdict, "USUAL", 0.5)
    started = time.monotonic()
    (result,) = judge(Slow(0.6), LAW, dtypes=["float64"], examples=2, seed=1)
    assert time.monotonic() - started < 5
    assert result.status == "failed" and result.cut_short


def test_without_time_the_case_is_shown_as_it_was_drawn():
    (drawn,) = judge(Faulty(FAULT), LAW, dtypes=["float64"], seed=1, shrink=False)
    (result,) = judge(Faulty(FAULT), LAW, dtypes=["float64"], seed=1, seconds=1e-9)
    assert result.case == drawn.case and result.reason == drawn.reason and result.cut_short
    assert not drawn.cut_short and drawn.heading == "smallest case found"


def test_a_search_that_ends_in_time_is_not_cut():
    (result,) = judge(Faulty(FAULT), LAW, dtypes=["float64"], seed=1)
    assert not result.cut_short and result.heading == "smallest case found"
    assert Result("", "", "", "", 0, cut_short=True).heading == "case"


def test_a_limit_bounds_a_diagnosis():
    slow = Slow(0.05)
    started = time.monotonic()
    found = diagnose(slow, LSTM(), "float64", limit=TimeLimit(1.0))
    assert time.monotonic() - started < 5
    assert found.cut and found.sentence().endswith("before every problem and every planted fault was tried.")
    whole = diagnose(Reference(), LSTM(), "float64", (), limit=TimeLimit(100))
    assert not whole.cut and "time was up" not in whole.sentence()


def test_a_report_says_that_the_time_was_up(tmp_path):
    results = list(judge(Faulty(FAULT), LAW, dtypes=["float64"], seed=1, seconds=1e-9))
    (explanation,) = explain(Here(Faulty(FAULT)), "target", results, tmp_path, Question(), TimeLimit(0))
    said = dict(explanation.lines())
    assert "smallest case found before the time was up" in said
    assert said["diagnosis"] == "the time was up before one could be made"
