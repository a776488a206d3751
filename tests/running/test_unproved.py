"""A verdict in which nothing was proved is not green, and a law that passed reports in how many cases it proved
something."""

import json
from dataclasses import replace
from io import StringIO
from xml.etree import ElementTree as xml

import pytest
from rich.console import Console

from bpttcheck.exit_status import AT_FAULT, FAILED, PASSED
from bpttcheck.reporting.junit import to_junit
from bpttcheck.reporting.record import from_json, to_json
from bpttcheck.reporting.text import print_verdict
from bpttcheck.running.question import Question
from bpttcheck.running.results import Result, unproved
from bpttcheck.running.run import Record, Run
from bpttcheck.targets import load

from ..programs import command

REFUSING = """
from dataclasses import replace
from bpttcheck.adapters.reference import Reference

class Refusing(Reference):
    name, refused = "refusing", ("float32", "float64")

    def capabilities(self):
        said = "it takes no such dtype"
        return replace(super().capabilities(), refuses=lambda case: said if case.dtype in self.refused else "")

class InFloat32(Refusing):
    name, refused = "in-float32", ("float32",)
"""
ASKED = Question(("pullback-reference", "causality"), cells=("lstm", "gru-after"), examples=4, seed=1)


@pytest.fixture
def refusing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "refusing.py").write_text(REFUSING)
    return "refusing.py"


def judged(targets, asked=ASKED):
    run = Run.of(targets, asked)
    list(run.judge())
    return run


def test_a_target_that_refuses_everything_is_at_fault(refusing):
    run = judged([f"{refusing}:Refusing"])
    said = "the implementation declares that it takes no such case: it takes no such dtype"
    assert run.errors == [f"{refusing}:Refusing: no law proved anything: {said}"]
    assert run.exit_status() == AT_FAULT


@pytest.mark.parametrize("other", ["reference", "fault:di-uses-i"])
def test_a_target_that_refuses_everything_is_at_fault_next_to_others(refusing, other):
    """A target that proves nothing hides neither behind a correct one nor behind an incorrect one."""
    alone = replace(ASKED, cells=("lstm",))
    run = judged([other, f"{refusing}:Refusing"], alone)
    assert len(run.errors) == 1 and run.errors[0].startswith(f"{refusing}:Refusing: no law proved anything")
    assert run.exit_status() == AT_FAULT
    assert judged([other], alone).exit_status() == (PASSED if other == "reference" else FAILED)


def test_a_cell_and_dtype_that_refuses_everything_is_at_fault(refusing):
    run = judged([f"{refusing}:InFloat32"])
    assert [said.partition(": the implementation")[0] for said in run.errors] == [
        f"{refusing}:InFloat32: no law proved anything on {cell} float32" for cell in ("lstm", "gru-after")
    ]
    assert run.exit_status() == AT_FAULT
    assert judged([f"{refusing}:InFloat32"], replace(ASKED, dtypes=("float64",))).exit_status() == PASSED


def test_a_law_that_is_skipped_in_one_dtype_is_not_missed():
    run = judged(["reference"], replace(ASKED, laws=("taylor-remainder",)))
    assert {result.status for result in run.results} == {"skipped", "passed"} and run.errors == []
    run = judged(["reference"], replace(ASKED, laws=("taylor-remainder",), dtypes=("float32",)))
    assert run.errors == ["reference: nothing was tested: all selected laws were skipped"]


@pytest.mark.parametrize("status", ["passed", "failed", "known", "error", "unsure"])
@pytest.mark.parametrize("silent", ["vacuous", "unfinished"])
def test_one_law_that_proves_something_is_enough(status, silent):
    results = [Result("it", "lstm", "float64", f"law-{k}", 0, silent, reason="so it is") for k in range(3)]
    assert unproved(results) == ["no law proved anything: so it is"]
    assert unproved([*results, replace(results[0], status=status)]) == []
    assert unproved([*results, replace(results[0], status="skipped")]) == ["no law proved anything: so it is"]
    other = replace(results[0], cell="rnn-tanh", status=status)
    assert unproved([*results, other]) == ["no law proved anything on lstm float64: so it is"]
    assert unproved([]) == []


def test_every_report_says_it(refusing):
    words = ("verify", "reference", f"{refusing}:InFloat32", "--cell", "lstm", "--law", "causality", "--examples", "2",
             "--json", "v.json", "--junit", "v.xml", "--html", "v.html")  # fmt: skip
    done = command(*words)
    said = "no law proved anything on lstm float32"
    assert done.returncode == AT_FAULT and f"bpttcheck: {refusing}:InFloat32: {said}" in done.stderr
    with open("v.json") as file:
        written = json.load(file)
    assert written["errors"] == [line.removeprefix("bpttcheck: ") for line in done.stderr.splitlines()]
    assert from_json(json.dumps(written)).errors == written["errors"]
    suites = {suite.attrib["name"]: suite for suite in xml.parse("v.xml").getroot()}
    error = suites["in-float32"].find("testcase[@name='something-proved']/error")
    assert said in error.attrib["message"] and suites["in-float32"].attrib["errors"] == "1"
    assert {name: (suite.attrib["tests"], suite.attrib["errors"]) for name, suite in suites.items()} == {
        "in-float32": ("3", "1"),
        load("reference").name: ("2", "0"),
    }
    with open("v.html", encoding="utf-8") as file:
        assert f"{said}: " in file.read()


def test_the_matrix_says_it(refusing):
    words = ("--cell", "lstm", "--law", "causality", "--examples", "2", "--html", "m.html")
    done = command("matrix", f"{refusing}:InFloat32", *words)
    said = "no law proved anything on lstm float32"
    assert done.returncode == AT_FAULT and f"NOT TESTED {refusing}:InFloat32: {said}" in " ".join(done.stdout.split())
    with open("m.html", encoding="utf-8") as file:
        assert said in file.read()


@pytest.mark.parametrize(
    ("examples", "vacuous", "seldom"), [(3, 37, True), (1, 9, False), (4, 36, False), (40, 0, False)]
)
def test_a_law_reports_in_how_many_cases_it_proved_something(examples, vacuous, seldom):
    counted = {"examples": examples, "vacuous": vacuous, "drawn": 40}
    result = Result("it", "lstm", "float64", "causality", 0, "passed", **counted, margin=0.25)
    said = f"{examples} of {examples + vacuous}"
    console = Console(width=80, record=True, file=StringIO())
    print_verdict(console, [result])
    shown = console.export_text()
    assert "0.250" in shown and (said in shown) == seldom
    assert f"proved something in {said} cases" in to_junit(Run(Question(), [Record("it", "it", results=[result])]))


def test_json_has_the_cases_that_were_drawn_and_those_that_a_law_ran_on():
    run = judged(["reference"], replace(ASKED, laws=("causality", "taylor-remainder"), examples=7))
    rows = {(row["law"], row["dtype"]): row for row in json.loads(to_json(run))["results"]}
    for (law, dtype), row in rows.items():
        ran = law == "causality" or dtype == "float64"
        assert row["drawn"] == 7 * ran and row["examples"] + row["vacuous"] == 7 * ran
    assert [r.drawn for r in from_json(to_json(run)).results] == [r.drawn for r in run.results]


def test_a_verdict_of_before_has_no_number_of_drawn_cases():
    run = judged(["reference"], replace(ASKED, laws=("causality",), examples=2))
    written = json.loads(to_json(run))
    for row in written["results"]:
        del row["drawn"]
    assert {result.drawn for result in from_json(json.dumps(written)).results} == {0}
