"""Reports are complete, however the command or its reader ends; incorrect input gives one sentence and status 2."""

import json
import os
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree

import numpy as np
import pytest

from ..programs import command, started
from ..thorough import some

ONE = ["verify", "reference", "--cell", "rnn-tanh", "--dtype", "float64", "--law", "causality", "--examples", "4"]
RUN = f'"{sys.executable}" -m bpttcheck {" ".join(ONE)} --seed 1'


def shell(line, folder, **environment):
    return subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, timeout=120,
                          env=os.environ | environment)  # fmt: skip


def test_a_report_to_standard_output_is_the_only_output(tmp_path):
    done = shell(f"{RUN} --json /dev/stdout | cat", tmp_path)
    assert json.loads(done.stdout)["results"][0]["status"] == "passed"
    assert "1 passed" in done.stderr


def test_a_pipe_may_be_a_report(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    done = shell(f"cat pipe > read & {RUN} --json pipe; wait", tmp_path)
    assert done.returncode == 0 and json.loads((tmp_path / "read").read_text())["results"]


@pytest.mark.parametrize("reader", ["| head -1", "> /dev/full", ">&-", "| true"])
def test_the_reader_may_go_away(reader, tmp_path):
    done = shell(f"set -o pipefail; {RUN} --json v.json {reader}", tmp_path)
    assert done.returncode == 0 and "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr
    assert json.loads((tmp_path / "v.json").read_text())["results"][0]["status"] == "passed"


def test_an_encoding_may_lack_the_letters(tmp_path):
    done = shell(f"{RUN} --html v.html", tmp_path, PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert done.returncode == 0 and "causality" in done.stdout
    assert "<!doctype html>" in (tmp_path / "v.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_an_old_report_does_not_survive_the_end_of_a_run(sent, tmp_path):
    (tmp_path / "v.json").write_text('{"schema": 1, "results": "green"}')
    (tmp_path / "v.xml").write_text("<?xml version='1.0'?><testsuites/>")
    options = ["verify", "reference", "--examples", "100000", "--json", "v.json", "--junit", "v.xml"]
    with started(*options, cwd=tmp_path, stderr=subprocess.PIPE) as running:
        assert running.stdout.readline().startswith("seed")
        time.sleep(1)
        os.kill(running.pid, sent)
        running.communicate(timeout=60)
    assert running.returncode == (-9 if sent == signal.SIGKILL else 130)
    assert json.loads((tmp_path / "v.json").read_text())["interrupted"] is True
    (error,) = ElementTree.parse(tmp_path / "v.xml").getroot().findall("./testsuite/testcase/error")
    assert error.get("message") == "the run did not end"


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("seconds", some([0.1, 0.2, 0.3, 0.5, 0.8, 1.5], 0.1, 0.3, 0.8))
def test_an_interrupt_is_reported_whenever_it_comes(seconds, times, tmp_path):
    """Also while Python imports bpttcheck, or its target's process, and before there is a verdict."""
    (tmp_path / "v.json").write_text('{"schema": 1, "results": "green"}')
    options = ["verify", "reference", "--examples", "100000", "--json", "v.json"]
    with started(*options, cwd=tmp_path, stderr=subprocess.PIPE) as running:
        time.sleep(seconds)
        for _ in range(times):
            running.send_signal(signal.SIGINT)
        said, complaints = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "interrupted" in said + complaints and "Traceback" not in said + complaints
    written = json.loads((tmp_path / "v.json").read_text())
    assert written.get("interrupted") or written["results"] == "green"  # of which it may not have known yet


def test_a_process_that_ignores_the_end_of_a_terminal_goes_on(tmp_path):
    line = f"trap '' HUP; {RUN} --examples 200 --json v.json & sleep 1; kill -HUP $!; wait $!"
    assert shell(line, tmp_path).returncode == 0
    assert json.loads((tmp_path / "v.json").read_text())["interrupted"] is False


def test_each_report_is_written_for_itself(tmp_path):
    """A report whose folder is gone does not stop the others."""
    (tmp_path / "gone").mkdir()
    (tmp_path / "mine.py").write_text(
        "import shutil\nfrom bpttcheck.adapters.reference import Reference\nclass Mine(Reference):\n"
        "    def vjp(self, case):\n        shutil.rmtree('gone', True)\n        return super().vjp(case)\n"
    )
    done = command("verify", "mine.py:Mine", *ONE[2:], "--json", "v.json", "--junit", "gone/v.xml", "--html", "v.html",
                   cwd=tmp_path)  # fmt: skip
    assert done.returncode == 2 and "could not be written" in done.stderr and "gone/v.xml" in done.stderr
    assert json.loads((tmp_path / "v.json").read_text())["results"] and (tmp_path / "v.html").exists()


WRONG = {
    "a law": (["--law", "nope"], "there is no law 'nope'"),
    "a cell": (["--cell", "nope"], "no target has the cell 'nope'"),
    "nan": (["--budget", "nan"], "nan is no number of seconds"),
    "two seeds": (["--seed", "3", "--derandomize"], "--derandomize is --seed 0: leave out one of them"),
    "somebody's program": (["--json", "mine.py"], "mine.py exists, and --json did not write it"),
    "a report of another kind": (["--html", "old.json"], "old.json exists, and --html did not write it"),
    "the same file twice": (["--json", "a", "--junit", "a"], "name the same file"),
    "a folder": (["--json", "folder/v.json"], "No such file or directory"),
    "known failures: a number for a law": (["--known-failures", "law.toml"], "law must be a string"),
    "known failures: a number for a reason": (["--known-failures", "reason.toml"], "reason must be a string"),
    "known failures: a table for a target": (["--known-failures", "target.toml"], "target must be a string"),
    "known failures: a number for versions": (["--known-failures", "requires.toml"], "requires must be a string"),
    "a case: text": (["--case", "text.npz"], "must hold real numbers"),
    "a case: objects": (["--case", "objects.npz"], "is not an .npz file of arrays"),
    "a case: no archive": (["--case", "no.npz"], "is not an .npz file of arrays"),
    "a case: complex": (["--case", "complex.npz"], "must hold real numbers"),
    "a case: a header of petabytes": (["--case", "huge.npz"], "huge.npz"),
    "sizes": (["--sizes", "T=0"], "--sizes T=0"),
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text("precious = 1\n")
    (tmp_path / "old.json").write_text('{"schema": 1}')
    entry = '[[known-failure]]\nlaw = "causality"\nreason = "r"\n'
    (tmp_path / "law.toml").write_text('[[known-failure]]\nlaw = 3\nreason = "r"\n')
    (tmp_path / "reason.toml").write_text('[[known-failure]]\nlaw = "causality"\nreason = 5\n')
    (tmp_path / "target.toml").write_text(f"{entry}target = {{a = 1}}\n")
    (tmp_path / "requires.toml").write_text(f"{entry}requires = 5\n")
    np.savez(tmp_path / "text.npz", x=np.array(["a", "b"]))
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    np.savez(tmp_path / "complex.npz", x=np.zeros((2, 2, 2), complex))
    (tmp_path / "no.npz").write_bytes(b"PK")
    np.savez(tmp_path / "huge.npz", x=np.zeros((2, 2, 2)))
    whole = (tmp_path / "huge.npz").read_bytes()
    (tmp_path / "huge.npz").write_bytes(whole.replace(b"(2, 2, 2)", b"(2E5*9,)"))
    return tmp_path


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_sentence(name, folder):
    options, says = WRONG[name]
    before = sorted(folder.iterdir())
    new = [] if {"--json", "--html"} & set(options) else ["--json", "new.json"]
    done = command(*ONE, *options, *new, cwd=folder)
    assert done.returncode == 2 and says in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "internal error" not in done.stderr
    assert sorted(folder.iterdir()) == before and (folder / "mine.py").read_text() == "precious = 1\n"
