"""A target in a process of its own: the output is the same, and nothing of it comes into this process."""

import json
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

import bpttcheck.adapters.process as process_module
import bpttcheck.running.child as child_module
from bpttcheck.adapters.process import Process
from bpttcheck.measuring.calls import AdapterError, capabilities_of
from bpttcheck.running.child import Child
from bpttcheck.running.introduction import introduce
from bpttcheck.running.question import Question
from bpttcheck.running.service import Unforeseen
from bpttcheck.running.turns import judge_all
from bpttcheck.targets import TargetError

from ..programs import command

OWN = """
import numpy as np
from bpttcheck import Capabilities, CustomCell, Gradients, Outputs

class Own:
    '''y_t = h_t = a h_{t-1} + x_t, with a wrong gradient of a.'''
    name = "own"

    def capabilities(self):
        cell = CustomCell("leaky", lambda D, H: {"a": (H,)}, lambda H: {"h": (H,)})
        return Capabilities(cells=(cell,), dtypes=("float64",), sizes={"D": (3,), "H": (3,)},
                            refuses=lambda case: None)

    def vjp(self, case):
        a, h = case.parameters[0][0]["a"], case.initial[0][0]["h"] if case.initial else 0.0
        hs = [h + np.zeros(case.x.shape[1:])]
        for x in case.x:
            hs.append(a * hs[-1] + x)
        y = np.array(hs[1:]).reshape(case.x.shape)

        def pullback(cotangents):
            dy = np.zeros_like(y) if cotangents.y is None else cotangents.y
            dh = np.zeros_like(hs[0]) if cotangents.final is None else cotangents.final[0][0]["h"]
            dx, da = np.zeros_like(y), np.zeros_like(a)
            for t in reversed(range(len(y))):
                dx[t] = dh = dh + dy[t]
                da += 1.5 * (dh * hs[t]).sum(0)
                dh = dh * a
            return Gradients(dx, (({"a": da},),), (({"h": dh},),) if case.initial else None)

        return Outputs(y, (({"h": hs[-1]},),)), pullback
"""
FEW = ("--examples", "8", "--seed", "1")


@pytest.mark.parametrize(("target", "laws"), [
    ("mine.py:Own", ()), ("fault:rnn-no-carry", ("pullback-reference", "regular-reference", "causality")),
])  # fmt: skip
def test_the_output_is_the_same(target, laws, tmp_path):
    """The message, the reports and the files that show a failure, of a cell that is the target's own, too."""
    chosen = [word for law in laws for word in ("--law", law)]
    told = []
    for options in ((), ("--in-process",), ("-j", "2")):
        folder = tmp_path / f"run{len(told)}"
        folder.mkdir()
        (folder / "mine.py").write_text(OWN)
        done = command("verify", target, *chosen, *FEW, *options, "--json", "v.json", cwd=folder)
        results = json.loads((folder / "v.json").read_text())["results"]
        files = {file.parent.name: file.read_text() for file in folder.glob("bpttcheck-failures/*/replay.py")}
        told.append((done.returncode, done.stdout, [{**result, "seconds": 0} for result in results], files))
    assert told[0] == told[1] == told[2]
    assert told[0][0] == 1 and told[0][3]


def test_nothing_of_a_target_is_imported_here(tmp_path):
    (tmp_path / "mine.py").write_text(OWN.replace("import numpy", "import sqlite3, numpy"))
    line = "import sys; from bpttcheck.command_line import main; main({!r}, standalone_mode=False)".format(
        ["verify", "mine.py:Own", *FEW]
    )
    check = f"try:\n    {line}\nexcept SystemExit:\n    pass\nprint({{'mine', 'sqlite3'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.endswith("set()\n") and "FAILED" in done.stdout, done.stderr


def test_it_works_where_and_as_its_parent_does(tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text("")
    text = OWN + "import warnings, beside\nwarnings.warn('it is loaded')\n"
    (tmp_path / "mine.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert Child("mine.py:Own").ask(introduce, "mine.py:Own", Question()).cells == ("leaky",)
        warnings.simplefilter("error")
        with pytest.raises(TargetError, match="UserWarning: it is loaded"):
            Child("mine.py:Own").ask(introduce, "mine.py:Own", Question())


def test_a_bug_of_bpttcheck_is_reported_with_its_place(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    child = Child("mine.py:Own")
    with pytest.raises(Unforeseen, match=r"TypeError: .* \(service.py, line \d+\)"):
        child.ask(introduce)
    with pytest.raises(Unforeseen, match="lambda"):
        child.ask(capabilities_of, "it holds functions")  # which do not go from one process to another
    assert child.ask(introduce, "mine.py:Own", Question()).name == "own"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel does not tell")
def test_an_idle_process_does_not_ignore_the_signal_to_end_but_does_nothing():
    """If it comes while a handler becomes ``SIG_IGN``, Python prints an error."""
    child = Child("reference")
    child.ask(capabilities_of)
    process = child._life.process
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    terminated = 1 << (signal.SIGTERM - 1)
    assert int(status["SigCgt"], 16) & terminated and not int(status["SigIgn"], 16) & terminated
    process.terminate()
    assert child.ask(capabilities_of).cells and process.poll() is None
    child.end()


@pytest.mark.parametrize(("module", "start", "says"), [
    (child_module, lambda: Child("reference"), "only Linux and macOS run a target in its own process"),
    (process_module, lambda: Process(["cat"], "."), "programs can be tested only on Linux and macOS"),
])  # fmt: skip
def test_where_there_are_no_such_processes_a_sentence_says_so(module, start, says, monkeypatch):
    monkeypatch.setattr(module, "os", SimpleNamespace(name="nt"))
    with pytest.raises((OSError, AdapterError), match=says):
        start()


@pytest.mark.parametrize(("jobs", "alone", "most"), [(1, (), 1), (2, (), 2), (8, (), 2), (2, ("reference",), 1)])
def test_no_more_at_a_time_than_requested_or_than_shares(jobs, alone, most):
    """A share that uses a GPU is tested on its own."""
    asked = Question(laws=("causality",), cells=("rnn-tanh",), examples=60)
    child = Child("reference")
    todo = list(child.ask(introduce, "reference", asked).shares)
    seen = set()
    outcomes = dict(judge_all(todo, {"reference": child}, asked, jobs, alone, lambda turns: seen.add(len(turns))))
    assert set(outcomes) == set(todo) and max(seen) == most
    assert all(result.status == "passed" for results in outcomes.values() for result in results)
