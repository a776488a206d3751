"""However and wherever an implementation ends its process, the verdict names the place, and all others are tested."""

import json
import os
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import pytest

from ..programs import alive, becomes_true, command, gone, started

HEAD = """
import os, signal, sys, threading, time
from dataclasses import replace
from bpttcheck.adapters.reference import Reference
from bpttref import RNN, Regular

FEW = {"cells": (RNN("tanh"),), "dtypes": ("float64",), "layers": 1, "bidirectional": False, "truncations": (Regular,)}

def die():
    DIE

class Right(Reference):
    name = "right"
    changes = {}

    def capabilities(self):
        return replace(super().capabilities(), **FEW, **self.changes)

class Constructor(Right):
    def __init__(self):
        die()

class Capabilities(Right):
    def capabilities(self):
        die()

class Refuses(Right):
    name = "refuses"
    changes = {"refuses": lambda case: die()}

class Start(Right):
    name = "start"
    changes = {"default_initial": lambda case: die()}

class Forward(Right):
    name = "forward"

    def vjp(self, case):
        die()

class Backward(Right):
    name = "backward"

    def vjp(self, case):
        return super().vjp(case)[0], lambda cotangents: die()

class Loss(Right):
    name = "loss"

    def loss_and_gradients(self, case):
        die()

class Tangents(Right):
    name = "tangents"

    def jvp(self, case, tangents):
        die()

class Diagnosis(Right):
    "Wrong, and of two there is one too many: the second is made for the diagnosis."
    name = "diagnosis"

    def __init__(self):
        sys.made = vars(sys).get("made", 0) + 1

    def vjp(self, case):
        if sys.made > 1:
            die()
        outputs, pullback = super().vjp(case)
        return outputs._replace(y=2 * outputs.y), pullback
"""
PLACES = {
    "Constructor": "loading",
    "Capabilities": "loading",
    "Refuses": "refuses",
    "Start": "default_initial",
    "Forward": "vjp",
    "Backward": "the pullback",
    "Loss": "loss_and_gradients",
    "Tangents": "jvp",
    "Diagnosis": "diagnosis",
}


class Kind(NamedTuple):
    """The way it ends, and the report of it, where it ends the process and where it does not."""

    how: str
    says: str
    takes_along: bool


KINDS = {
    "exit status 0": Kind("os._exit(0)", "its process ended with exit status 0", True),
    "a crash": Kind("os.kill(os.getpid(), signal.SIGSEGV); time.sleep(9)", "its process was killed by SIGSEGV", True),
    "an abort": Kind("os.abort()", "its process was killed by SIGABRT", True),
    "no memory": Kind("os.kill(os.getpid(), signal.SIGKILL); time.sleep(9)", "its process was killed by SIGKILL", True),
    "a hang": Kind("time.sleep(1000)", "did not return within 2 s", True),
    "sys.exit": Kind("sys.exit(0)", "SystemExit: 0", False),
    "a panic": Kind("raise BaseException('panic')", "BaseException: panic", False),
    "endless recursion": Kind("die()", "RecursionError", False),
}


EVERYWHERE = ("exit status 0", "endless recursion")  # the others in two places, and a hang in all where time allows


def written(folder, kind):
    """The file in which implementations die so."""
    (folder / "mine.py").write_text(HEAD.replace("DIE", KINDS[kind].how))


@pytest.mark.parametrize(("kind", "places"), [
    *((kind, PLACES if kind in EVERYWHERE else ("Constructor", "Backward")) for kind in KINDS),
    pytest.param("a hang", PLACES, marks=pytest.mark.thorough),
])  # fmt: skip
def test_a_death_is_reported_and_others_are_tested(kind, places, tmp_path):
    written(tmp_path, kind)
    targets = [f"mine.py:{place}" for place in [*places, "Right"]]
    options = ("--examples", "1", "--seed", "1", "-j", "2", "--json", "v.json")
    slow = ("--timeout", "2") if kind == "a hang" else ()
    done = command("verify", *targets, *options, *slow, cwd=tmp_path)
    said = done.stdout + done.stderr
    assert done.returncode == 2 and "internal error" not in said and "Traceback" not in done.stdout, said
    verdict = json.loads((tmp_path / "v.json").read_text())
    for record in verdict["targets"]:
        place = record["target"].removeprefix("mine.py:")
        results = [result for result in verdict["results"] if result["target"] == record["target"]]
        if place == "Right":
            assert {"passed"} <= {result["status"] for result in results} <= {"passed", "skipped", "vacuous"}
        else:
            assert_told(KINDS[kind], place, record, results, done.stderr)
            on_file = list(tmp_path.glob(f"bpttcheck-failures/{place.lower()}_*/replay.py"))
            assert bool(on_file) == bool(results), place


def assert_told(kind, place, record, results, complaints):
    errors = [result for result in results if result["status"] == "error"]
    if PLACES[place] == "loading":
        (sentence,) = record["errors"]
        assert kind.says in sentence and sentence in complaints and not results, place
    elif PLACES[place] == "diagnosis":
        assert "failed" in {result["status"] for result in results}
        (cause,) = record["diagnoses"].values()
        assert cause["diagnosis"].startswith("none could be made: ")
        assert (kind.says in cause["diagnosis"]) == kind.takes_along
    else:
        assert errors and all(kind.says in result["reason"] for result in errors), place
        assert any(PLACES[place] in result["reason"] and result["case"] for result in errors), place
        assert {result["died"] for result in errors} == {kind.takes_along}, place


@pytest.mark.parametrize("kind", ["exit status 0", "a crash", "sys.exit"])
def test_a_second_death_is_reported_again(kind, tmp_path):
    """A file on record, by itself and before a verdict; and other commands."""
    written(tmp_path, kind)
    one = ("verify", "mine.py:Forward", "--law", "outputs-complete", "--examples", "1", "--seed", "1")
    assert command(*one, cwd=tmp_path).returncode == 2
    (file,) = tmp_path.glob("bpttcheck-failures/forward_*/replay.py")
    again = command("replay", str(file.parent), cwd=tmp_path)
    assert again.returncode == 2 and again.stdout.startswith("ERROR: ") and KINDS[kind].says in again.stdout
    verdict = command(*one, cwd=tmp_path)
    assert verdict.returncode == 2 and f"{file.relative_to(tmp_path)}: " in verdict.stdout
    for words in (("xray", "mine.py:Forward"), ("gradients", "mine.py:Forward", "--length", "8", "--units", "2")):
        done = command(*words, cwd=tmp_path)
        assert done.returncode == 2 and KINDS[kind].says in done.stderr and "Traceback" not in done.stderr


def test_pytest_goes_on(tmp_path):
    """A test of the share that died fails, all other tests pass."""
    (tmp_path / "mine.py").write_text(HEAD.replace("DIE", "os._exit(0)"))
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "causality"]
    targets = [word for name in ("Forward", "Right") for word in ("--bpttcheck", f"mine.py:{name}")]
    done = subprocess.run([*line, *targets, "--bpttcheck-examples", "1"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "1 failed, 1 passed" in done.stdout, done.stdout
    assert "its process ended with exit status 0 during vjp" in " ".join(done.stdout.split())


def test_after_five_deaths_a_share_is_given_up(tmp_path):
    (tmp_path / "mine.py").write_text(HEAD.replace("DIE", "os._exit(0)"))
    done = command("verify", "mine.py:Forward", "--examples", "12", "--seed", "1", "--json", "v.json", cwd=tmp_path)
    assert done.returncode == 2
    results = json.loads((tmp_path / "v.json").read_text())["results"]
    assert {result["status"] for result in results} == {"error", "skipped"}
    assert "not tested to the end: 5 cases ended its process" in {result["reason"] for result in results}


def test_a_death_in_one_case_fails_that_case(tmp_path):
    text = HEAD.replace("DIE", "os._exit(0)") + (
        "class Once(Right):\n    name = 'once'\n    def vjp(self, case):\n"
        "        return die() if len(case.x) > 60 else super().vjp(case)\n"
    )
    (tmp_path / "mine.py").write_text(text)
    done = command("verify", "mine.py:Once", "--examples", "12", "--seed", "1", "--json", "v.json", cwd=tmp_path)
    results = json.loads((tmp_path / "v.json").read_text())["results"]
    died = [result for result in results if result["died"]]
    assert done.returncode == 2 and len(died) == 1 and died[0]["case"]["T"] > 60
    assert f"during vjp of T={died[0]['case']['T']}, B={died[0]['case']['B']}" in died[0]["reason"]
    assert sum(result["status"] == "passed" for result in results) > 40


def test_a_death_while_a_failure_is_made_small_is_reported(tmp_path):
    """It failed in a drawn case; its death in a smaller case is another fault."""
    text = HEAD.replace("DIE", "os._exit(0)") + (
        "class Both(Right):\n    name = 'both'\n    def vjp(self, case):\n"
        "        outputs, pullback = super().vjp(case)\n"
        "        small = case.x.size < 8\n"
        "        return (die() if small else outputs._replace(y=2 * outputs.y)), pullback\n"
    )
    (tmp_path / "mine.py").write_text(text)
    words = ("--law", "forward-reference", "--examples", "4", "--seed", "1", "--json", "v.json")
    done = command("verify", "mine.py:Both", *words, cwd=tmp_path)
    (result,) = json.loads((tmp_path / "v.json").read_text())["results"]
    assert done.returncode == 2 and result["status"] == "failed" and result["died"]
    assert any("its process ended with exit status 0 during vjp" in said for said in result["warnings"])


def test_a_thread_that_does_not_end_keeps_nothing(tmp_path):
    text = HEAD.replace("DIE", "pass") + (
        "class Threaded(Right):\n    name = 'threaded'\n    def __init__(self):\n"
        "        threading.Thread(target=time.sleep, args=(1000,)).start()\n"
    )
    (tmp_path / "mine.py").write_text(text)
    begun = time.monotonic()
    assert command("verify", "mine.py:Threaded", "--examples", "1", "--seed", "1", cwd=tmp_path).returncode == 0
    assert time.monotonic() - begun < 60


def test_a_breakpoint_without_a_terminal_is_reported(tmp_path):
    (tmp_path / "mine.py").write_text(HEAD.replace("DIE", "breakpoint()"))
    done = command("verify", "mine.py:Forward", "--examples", "1", "--seed", "1", cwd=tmp_path)
    assert done.returncode == 2 and "breakpoint() was called in a process that has no terminal" in done.stdout


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left(sent, tmp_path):
    text = HEAD.replace("DIE", "open('pid', 'w').write(str(os.getpid())); time.sleep(1000)")
    (tmp_path / "mine.py").write_text(text)

    def noted():
        return (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text()

    with started("verify", "mine.py:Forward", cwd=tmp_path, stderr=-1) as running:
        assert becomes_true(noted, 30)
        child = int(noted())
        assert alive(child)
        os.kill(running.pid, sent)
        running.communicate(timeout=60)
    assert gone(child)
