"""Several targets and processes: the same results as one by one, and no share affects the others."""

import json
import time

import pytest

from bpttcheck.reporting.record import to_json
from bpttcheck.running.question import Question
from bpttcheck.running.run import Run

from ..programs import command

CRASHING = """
import os
from dataclasses import replace
from bpttcheck.adapters.reference import Reference
from bpttref import LSTM, RNN

class Crashing(Reference):
    name = "crashing"

    def vjp(self, case):
        if case.cell == LSTM():
            os._exit(11)
        print("a line of the subject's own")
        return super().vjp(case)

class Raising(Reference):
    name = "raising"

    def capabilities(self):
        return replace(super().capabilities(), refuses=lambda case: 1 / 0)
"""
LAWS = ("pullback-reference", "causality")
FEW = (*(word for law in LAWS for word in ("--law", law)), "--examples", "6", "--seed", "3")


@pytest.mark.parametrize("target", ["reference", "fault:di-uses-i"])
def test_processes_change_nothing(target):
    judged = []
    for jobs in (1, 3):
        run = Run.of([target], Question(LAWS, examples=6, seed=3))
        list(run.judge(jobs))
        results = json.loads(to_json(run))["results"]
        judged.append((run.exit_status(), [{**result, "seconds": 0} for result in results]))
    assert judged[0] == judged[1] and judged[0][1]


def test_a_process_that_dies_affects_only_its_own_share(tmp_path):
    (tmp_path / "mine.py").write_text(CRASHING)
    selected = ("--cell", "lstm", "--cell", "rnn-tanh", "--dtype", "float64")
    done = command(
        "verify", "mine.py:Crashing", "reference", *FEW, *selected, "-j", "2", "--json", "v.json", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    results = json.loads((tmp_path / "v.json").read_text())["results"]
    died = {(r["subject"], r["cell"], r["reason"].split(" of T=")[0]) for r in results if r["died"]}
    assert died == {("crashing", "lstm", "its process ended with exit status 11 during vjp")}
    judged = {(r["subject"], r["cell"]) for r in results if r["status"] == "passed"}
    assert judged == {("crashing", "rnn-tanh"), ("reference", "rnn-tanh"), ("reference", "lstm")}


@pytest.mark.parametrize("other", ["absent.py:Thing", "fault:unheard-of"])
def test_a_target_that_cannot_be_loaded_is_named_and_the_others_are_tested(other, tmp_path):
    done = command("verify", other, "reference", *FEW, "--cell", "rnn-tanh", cwd=tmp_path)
    assert done.returncode == 2 and "4 passed" in done.stdout
    assert "there is no" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_an_error_out_of_turn_affects_only_its_own_share(tmp_path):
    (tmp_path / "mine.py").write_text(CRASHING)
    done = command("verify", "mine.py:Raising", "reference", *FEW, "--cell", "rnn-tanh", cwd=tmp_path)
    assert done.returncode == 2 and "4 passed" in done.stdout, done.stdout
    assert "refuses raised ZeroDivisionError: division by zero" in done.stdout and "Traceback" not in done.stdout


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_budget_is_kept_and_unfinished_laws_are_reported(jobs, tmp_path):
    started = time.monotonic()
    done = command("verify", "reference", "--examples", "100000", "--budget", "1", "-j", jobs, "--json", "v.json",
               cwd=tmp_path)  # fmt: skip
    assert time.monotonic() - started < 60 and done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "v.json").read_text())["results"]
    for cell in {result["cell"] for result in results}:
        own = [result for result in results if result["cell"] == cell]
        assert any(result["status"] == "passed" for result in own)
    assert {result["status"] for result in results} <= {"passed", "skipped", "vacuous", "unfinished"}
    unfinished = [result for result in results if result["status"] == "unfinished"]
    assert all(result["examples"] == 0 and "the time was up" in result["reason"] for result in unfinished)
    assert not unfinished or f"{len(unfinished)} unfinished" in done.stdout.replace("\n", " ")
