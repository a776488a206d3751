"""The command as a user types it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bpttcheck.reporting.record import from_json

from ..programs import becomes_true, command, started


def test_verdict_and_json(tmp_path):
    done = command("verify", "reference", "--cell", "lstm", "--dtype", "float64", "--examples", "5", "--seed", "7",
               "--json", "v.json", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "seed 7" in done.stdout and done.stdout.splitlines()[-1].startswith("ran ")
    results = json.loads((tmp_path / "v.json").read_text())["results"]
    assert {r["cell"] for r in results} == {"lstm"} and {r["seed"] for r in results} == {7}
    read = from_json((tmp_path / "v.json").read_text())
    assert (read.asked.seed, read.asked.examples, read.interrupted) == (7, 5, False)
    assert len(read.targets[0].results) == len(results) and read.targets[0].target == "reference"


def test_a_fault_exits_with_1_and_shows_a_case(tmp_path):
    done = command("verify", "fault:rnn-no-carry", "--law", "pullback-reference", "--examples", "20", "--seed", "1",
               cwd=tmp_path)  # fmt: skip
    assert done.returncode == 1
    assert "planted fault rnn-no-carry" in done.stdout.replace("\n", " ")
    assert len(list((tmp_path / "bpttcheck-failures").iterdir())) == 2
    assert "about the law: bpttcheck laws pullback-reference" in done.stdout
    assert "smallest case found: T=1, B=1, D=1, H=1" in done.stdout.replace("\n", " ")
    assert len(list((tmp_path / "bpttcheck-failures").glob("*/case.npz"))) == 2


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["nonsense"], "'nonsense' is neither a name of `bpttcheck targets` nor package.module:object"),
    (["nowhere.py:Thing"], "there is no file nowhere.py"),
    (["no.such.module:Thing"], "cannot be loaded: ModuleNotFoundError"),
    (["fault:unheard-of"], "there is no fault"),
    (["reference", "--law", "unheard-of"], "there is no law"),
    (["reference", "--cell", "unheard-of"], "no target has the cell"),
    (["reference", "--json", "missing/folder/v.json"], "v.json"),
])  # fmt: skip
def test_a_mistake_is_one_sentence_and_exit_status_2(arguments, sentence):
    done = command("verify", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(("arguments", "meant"), [
    (["verify", "torhc"], "torch"),
    (["verify", "fault:di-use-i"], "di-uses-i"),
    (["verify", "reference", "--law", "causalty"], "causality"),
    (["laws", "causalty"], "causality"),
    (["verify", "reference", "--cell", "lstn"], "lstm"),
    (["verify", "reference", "--dtype", "flaot32"], "float32"),
    (["xray", "reference", "--cell", "lstn"], "lstm"),
    (["remedies", "--remedy", "clip-nrom"], "clip-norm"),
    (["verfy", "reference"], "verify"),
])  # fmt: skip
def test_a_misspelt_name_is_answered_with_the_nearest(arguments, meant):
    done = command(*arguments)
    assert done.returncode == 2 and f"; did you mean {meant!r}?" in done.stderr


def test_an_adapter_that_raises_exits_with_2(tmp_path):
    (tmp_path / "broken.py").write_text(
        "from bpttcheck import Capabilities\nfrom bpttref import LSTM\n"
        "class Broken:\n    name = 'broken'\n"
        "    def capabilities(self): return Capabilities(cells=(LSTM(),))\n"
        "    def vjp(self, case): raise RuntimeError('no kernel')\n"
    )
    done = command("verify", "broken.py:Broken", "--examples", "3", cwd=tmp_path)
    assert done.returncode == 2
    assert "vjp raised RuntimeError: no kernel" in done.stdout and "Traceback" not in done.stdout + done.stderr


def test_failures_on_file_are_tried_first(tmp_path):
    """One example would hardly find the fault again; the file does."""
    arguments = ("verify", "fault:until-grad-aligned-to-end", "--law", "ragged-row-alone", "--seed", "1")
    assert command(*arguments, "--examples", "40", cwd=tmp_path).returncode == 1
    done = command(*arguments, "--examples", "1", cwd=tmp_path)
    assert done.returncode == 1 and "FAILED still" in done.stdout


def test_failures_that_cannot_be_written_are_one_sentence(tmp_path):
    arguments = "verify", "fault:di-uses-i", "--law", "pullback-reference", "--examples", "5"
    (tmp_path / "bpttcheck-failures").mkdir()
    for dtype in ("float32", "float64"):
        (tmp_path / f"bpttcheck-failures/fault_di_uses_i_lstm_{dtype}_pullback_reference").write_text("in the way")
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    assert "the failures could not be written" in done.stdout


def test_files_that_are_in_each_others_way_are_seen_before_the_work(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "is a file" in command("verify", "reference", "--failures", "file", cwd=tmp_path).stderr
    done = command("verify", "reference", "--json", "file", "--html", "./file", cwd=tmp_path)
    assert done.returncode == 2 and "the same file" in done.stderr and (tmp_path / "file").read_text() == "mine"
    assert "Is a directory" in command("verify", "reference", "--json", "", cwd=tmp_path).stderr


def test_xray(tmp_path):
    done = command("xray", "reference", "--tau", "3", "--length", "6", "--png", "x.png", "--svg", "x.svg", cwd=tmp_path)
    assert done.returncode == 0 and "blocks of 3" in done.stdout, done.stderr
    assert (tmp_path / "x.png").stat().st_size > 1000 and "<svg" in (tmp_path / "x.svg").read_text()
    assert command("xray", "fault:setting-ignored", "--tau", "3").returncode == 1
    assert command("xray", "reference", "--cell", "unheard-of").returncode == 2


def test_a_derandomized_run_says_its_seed():
    done = command("verify", "reference", "--law", "causality", "--cell", "lstm", "--examples", "8", "--derandomize")
    assert done.returncode == 0 and done.stdout.startswith("seed 0, ")


def test_lists():
    assert "pullback-reference" in command("laws").stdout
    assert (
        "catches: " in command("laws", "causality").stdout and "kept because: " in command("laws", "causality").stdout
    )
    explained = command("laws", "xray-regular").stdout
    assert "M[t, s]" in explained and "T >= 3" in explained and "not-detached" in explained
    assert "dW-overwrite" in command("faults").stdout


def test_interrupt_prints_and_writes_the_verdict_so_far(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from bpttcheck.adapters.reference import Reference\n"
        "class Raising(Reference):\n"
        "    def __init__(self): 1 / 0\n"
        "class Telling(Reference):\n    name = 'telling'\n"
        "    def vjp(self, case): open('under-way', 'w'); return super().vjp(case)\n"
    )
    words = ("verify", "mine.py:Raising", "mine.py:Telling", "--cell", "lstm", "--dtype", "float32",
               "--examples", "100000", "--json", "v.json", "--html", "v.html")  # fmt: skip
    with started(*words, cwd=tmp_path, stderr=subprocess.PIPE) as running:
        assert running.stdout.readline().startswith("seed")
        assert becomes_true((tmp_path / "under-way").exists, 30)
        running.send_signal(signal.SIGINT)
        said, complaints = running.communicate(timeout=60)
    assert running.returncode == 130
    run = from_json((tmp_path / "v.json").read_text())
    assert "interrupted" in said and run.interrupted
    assert "<h1>Interrupted" in (tmp_path / "v.html").read_text()
    cannot = "mine.py:Raising cannot be loaded: ZeroDivisionError: division by zero"
    assert run.targets[0].errors == [cannot] and complaints == f"bpttcheck: {cannot}\n"


def test_an_interrupt_while_a_target_is_loaded(tmp_path):
    """Exit status 1 would say that a law was broken."""
    (tmp_path / "slow.py").write_text("open('begun', 'w')\nimport time\ntime.sleep(60)")
    with started("verify", "slow.py:Slow", cwd=tmp_path, stderr=subprocess.PIPE) as running:
        assert becomes_true((tmp_path / "begun").exists, 30)
        running.send_signal(signal.SIGINT)
        _, complaints = running.communicate(timeout=60)
    assert running.returncode == 130 and complaints == "interrupted\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence(tmp_path):
    done = command("verify", "reference", "--law", "causality", "--cell", "lstm", "--json", "/dev/full", cwd=tmp_path)
    assert done.returncode == 2 and "ran 2 of 2 laws" in done.stdout
    assert done.stderr.startswith("bpttcheck: the verdict could not be written: ")


def test_a_file_that_is_no_failure_is_not_replayed(tmp_path):
    (tmp_path / "other.py").write_text("check = None; del check")
    done = command("replay", "other.py", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == "ERROR: ValueError: other.py is not the replay.py of a failure\n"
    assert command("replay", "nowhere", cwd=tmp_path).returncode == 2


def test_a_checkout_that_is_not_installed_is_tested_like_any(tmp_path):
    """Its version cannot be looked up."""
    hidden = (
        "import importlib.metadata as m\n"
        "look_up = m.version\n"
        "def version(name):\n"
        "    if name == 'bpttcheck': raise m.PackageNotFoundError(name)\n"
        "    return look_up(name)\n"
        "m.version = version\n"
        "from bpttcheck.command_line import main\nmain()"
    )
    line = [
        sys.executable,
        "-c",
        hidden,
        "verify",
        "reference",
        "--law",
        "causality",
        "--cell",
        "lstm",
        "--examples",
        "4",
    ]
    done = subprocess.run([*line, "--json", "v.json"], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "v.json").read_text())["versions"]["bpttcheck"] == "(not installed)"


def test_a_cell_that_no_target_has_may_be_left_out(tmp_path):
    done = command("verify", "reference", "--cell", "unheard-of", "--where-declared", "--json", "v.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "v.json").read_text())["results"] == []


def test_an_empty_selection_is_no_success(tmp_path):
    done = command("verify", "reference", "--cell", "rnn-relu", "--law", "taylor-remainder", cwd=tmp_path)
    assert done.returncode == 2 and "nothing was tested" in done.stderr
