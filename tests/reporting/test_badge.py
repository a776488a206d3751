"""A run as a badge."""

import json

import pytest

from bpttcheck.laws import LAWS
from bpttcheck.reporting.badge import to_badge
from bpttcheck.running.question import Question
from bpttcheck.running.results import Result
from bpttcheck.running.run import Record, Run

from ..programs import command


@pytest.mark.parametrize(("statuses", "message", "colour"), [
    (["passed", "passed", "skipped"], "2 laws passed", "brightgreen"),
    (["passed", "known"], "1 law passed, 1 known to fail", "yellow"),
    (["passed", "failed", "known"], "1 law broken", "red"),
    (["passed", "unsure"], "not tested in full", "lightgrey"),
    (["vacuous", "skipped"], "nothing proved", "lightgrey"),
    ([], "nothing proved", "lightgrey"),
])  # fmt: skip
def test_it_is_green_only_if_all_is(statuses, message, colour):
    results = [
        Result("made", "lstm", "float64", law.id, 3, status, 5) for law, status in zip(LAWS, statuses, strict=False)
    ]
    run = Run(Question(seed=3, examples=7), [Record("made", "made", results=results)])
    badge = {"schemaVersion": 1, "label": "bpttcheck", "message": message, "color": colour}
    assert json.loads(to_badge(run)) == badge
    run.interrupted = True
    assert json.loads(to_badge(run)) == badge | {"message": "not finished", "color": "lightgrey"}


def test_a_law_that_fails_in_one_dtype_has_not_passed():
    results = [Result("made", "lstm", dtype, "causality", 3, status, 5) for dtype, status in
               (("float32", "passed"), ("float64", "failed"))]  # fmt: skip
    assert '"1 law broken"' in to_badge(Run(Question(seed=3, examples=7), [Record("made", "made", results=results)]))


def test_verify_writes_it_again_and_nothing_over_another_file(tmp_path):
    few = ("reference", "--law", "causality", "--cell", "lstm", "--examples", "8", "--seed", "1")
    for _ in range(2):
        done = command("verify", *few, "--badge", "badge.json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "badge.json").read_text())["message"] == "1 law passed"
    (tmp_path / "mine.json").write_text("{}")
    done = command("verify", *few, "--badge", "mine.json", cwd=tmp_path)
    assert done.returncode == 2 and "mine.json" in done.stderr and "--badge" in done.stderr
