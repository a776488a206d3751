"""Shares tested by the workers of a Dask cluster, with the same results as here."""

import json
from concurrent.futures import Executor, Future

import pytest

import bpttcheck.running.cluster as cluster_module
from bpttcheck.running.cluster import judge_on
from bpttcheck.running.question import Question, Share
from bpttcheck.workers import Workers

from ..clusters import cluster
from ..programs import command

SHORT = """
import os, signal
from pathlib import Path
import numpy as np
from bpttcheck.adapters.reference import Reference

here = Path(__file__).parent

if "KILLS_ONCE" in os.environ:
    try:
        (here / "killed").touch(exist_ok=False)
        os.kill(os.getppid(), signal.SIGKILL)  # the worker that has just begun
    except FileExistsError:
        pass


class Short(Reference):
    name = "short"

    def vjp(self, case):
        outputs, pullback = super().vjp(case)

        def short(cotangents):
            found = pullback(cotangents)
            found.parameters[0][0]["W_hh"][:] *= 0.9
            return found

        return outputs, short if case.dtype == "float32" else pullback
"""
HARMLESS = SHORT.replace("KILLS_ONCE", "NEVER")
ASKED = ("--cell", "rnn-tanh", "--cell", "gru-after", "--law", "pullback-reference", "--law", "causality",
         "--examples", "8", "--seed", "3")  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a cluster whose first worker that loads short.py is killed; it works in another folder than the command."""
    with cluster(tmp_path_factory.mktemp("cluster"), KILLS_ONCE="1") as (address, _):
        yield address


def written(folder, text=HARMLESS):
    folder.mkdir(exist_ok=True)
    (folder / "short.py").write_text(text)
    return folder


def verify(folder, *arguments):
    """The output of the command, and its results without their times."""
    done = command("verify", "short.py:Short", *ASKED, "--json", "verdict.json", *arguments, cwd=folder)
    results = json.loads((folder / "verdict.json").read_text())["results"]
    return done.returncode, done.stdout, [result | {"seconds": 0} for result in results]


def test_the_verdict_is_the_same_though_a_worker_is_lost(tmp_path, address):
    """Failures come back with their smallest cases, from the worker that is left."""
    found = []
    for name, arguments in (("here", ()), ("afar", ("--scheduler", address))):
        found.append(verify(written(tmp_path / name, SHORT), *arguments))
    assert (tmp_path / "afar" / "killed").exists() and not (tmp_path / "here" / "killed").exists()
    assert found[0] == found[1]
    assert found[0][0] == 1 and "W_hh is off by" in found[0][1] and "smallest case found" in found[0][1]


def test_the_matrix_too(tmp_path, address):
    written(tmp_path)
    asked = ("--cell", "rnn-tanh", "--law", "causality", "--examples", "4", "--seed", "3", "--scheduler", address)
    done = command("matrix", "reference", "short.py:Short", *asked, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.count("2 passed") == 2, done.stdout


def test_a_target_that_ends_its_process_ends_no_worker(tmp_path, address):
    dying = HARMLESS.replace("outputs, pullback = super().vjp(case)", "os._exit(3)")
    returncode, _, results = verify(written(tmp_path, dying), "--scheduler", address)
    assert returncode == 2 and "its process ended with exit status 3" in str(results)
    assert {result["status"] for result in results if result["status"] != "skipped"} == {"error"}


def test_a_cluster_whose_workers_are_all_gone(tmp_path, monkeypatch):
    class Nobody(Executor):
        def submit(self, *work):
            return Future()

    monkeypatch.setattr(cluster_module, "_LOOK", 0.01)
    monkeypatch.setattr(cluster_module, "_ALONE", 0.05)
    todo = [Share("reference", "lstm", "float32"), Share("reference", "lstm", "float64")]
    outcomes = dict(judge_on(Workers(Nobody(), lambda: 0), todo, Question()))
    assert [*outcomes] == todo and all("no worker for 0.05 s" in str(outcome) for outcome in outcomes.values())


def test_a_worker_that_does_not_have_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"has no folder {tmp_path}/gone: workers need the files"):
        cluster_module._judged(Share("reference", "lstm", "float32"), Question(), str(tmp_path / "gone"))


def test_an_address_that_does_not_answer(tmp_path):
    pytest.importorskip("distributed")
    done = command("verify", "reference", "--scheduler", "tcp://127.0.0.1:9", cwd=tmp_path)
    assert done.returncode == 2 and "no Dask scheduler answers at 'tcp://127.0.0.1:9'" in done.stderr
