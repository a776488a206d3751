"""The programs in the docs, the exchange shown there, and the reference and a cell of its own behind the protocol."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bpttcheck import LAWS, Case, Cotangents, judge
from bpttcheck.targets import load
from bpttref import RNN

from ..programs import becomes_true, command
from .pages import ROOT, assert_prints, shown, snippets

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def needs(*tools):
    missing = [tool for tool in tools if not shutil.which(tool)]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed")


def built(folder, name, before="", after=""):
    """The target of an example, with one planted bug."""
    source = (EXAMPLES / name).read_text()
    assert before in source
    (folder / name).write_text(source.replace(before, after, 1) if before else source)
    if name.endswith(".mjs"):
        return f"exec:node {name}"
    subprocess.run(["cc", "-O2", "-Wall", "-Werror", name, "-o", "rnn", "-lm"], cwd=folder, check=True)
    return "exec:./rnn"


BUGS = {
    "rnn.c": ("dh[b * H + j] += da[i] * W_hh[i * H + j];", "", "planted fault rnn-no-carry"),
    "lstm.mjs": ("* f * (1 - f)", "* f", "planted fault sigmoid-prime-missing"),
}
EXAMPLE = pytest.mark.parametrize("name", [
    pytest.param("rnn.c", marks=needs("cc")), pytest.param("lstm.mjs", marks=needs("node")),
])  # fmt: skip


def test_the_start_page_shows_the_program_that_its_command_runs():
    assert snippets(ROOT / "README.md")[0] == (EXAMPLES / "my_rnn.py").read_text()


@EXAMPLE
def test_the_examples_are_correct(tmp_path, name):
    done = command("verify", built(tmp_path, name), "--seed", "2", "--examples", "24", "--json", "v.json",
                   cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout
    results = json.loads((tmp_path / "v.json").read_text())["results"]
    assert {r["dtype"] for r in results} == {"float32", "float64"}
    assert {r["status"] for r in results} == {"passed", "skipped"}
    assert all(r["status"] == "passed" for r in results if r["law"] in ("pullback-reference", "empty-sequence"))


@EXAMPLE
def test_a_bug_in_an_example_is_named_and_replayed_from_anywhere(tmp_path, name):
    before, after, diagnosis = BUGS[name]
    target = built(tmp_path, name, before, after)
    done = command("verify", target, "--law", "pullback-reference", "--seed", "2", cwd=tmp_path)
    assert done.returncode == 1 and diagnosis in " ".join(done.stdout.split())
    replay = next((tmp_path / "bpttcheck-failures").glob("*float64*/replay.py"))
    assert command("replay", str(replay), cwd="/").stdout.startswith("FAILED")
    built(tmp_path, name)
    assert command("replay", str(replay), cwd="/").stdout.startswith("FIXED")


PAGE = EXAMPLES.parent / "any-language.md"
ALLOCATED = "double *h = zeros((T + 1) * B * H);"
REFUSAL = 'if (T > 30) { fputs("rnn.c: more than 30 steps\\n", stderr); abort(); }'


@needs("cc")
@pytest.mark.parametrize(("which", "before", "after"), [
    (0, BUGS["rnn.c"][0], BUGS["rnn.c"][1]), (1, ALLOCATED, ALLOCATED + REFUSAL),
], ids=["wrong", "broken"])  # fmt: skip
def test_the_page_shows_a_bug(tmp_path, which, before, after):
    built(tmp_path, "rnn.c", before, after)
    assert_prints(shown(PAGE)[which], tmp_path)


@pytest.mark.parametrize("session", shown(PAGE)[2:], ids=lambda session: session.command.split()[-1])
def test_the_page_shows_a_program_that_does_not_start(tmp_path, session):
    (tmp_path / "text").write_text("no program")
    (tmp_path / "greet").write_text("#!/bin/sh\nread request\necho loading weights\n")
    (tmp_path / "greet").chmod(0o755)
    assert_prints(session, tmp_path)


@needs("cc", "tee")
def test_the_exchange_in_the_docs(tmp_path):
    """The page shows the messages that are sent, and the answers of the example."""
    exchange = {">": b"", "<": b""}
    for line in PAGE.read_text().splitlines():
        if line.startswith(("    > ", "    < ")):
            text = line[6:]
            exchange[line[4]] += text.encode() + b"\n" if text.startswith("{") else bytes.fromhex(text.split("    ")[0])
    built(tmp_path, "rnn.c")
    subject = load("exec:sh -c 'tee sent | ./rnn | tee answered'", tmp_path)

    def array(number, axes):
        return np.full((1,) * axes, number, np.float32)

    layer = {"W_hx": array(0.5, 2), "W_hh": array(2, 2), "b_hx": array(0.25, 1)}
    _, pullback = subject.vjp(Case(RNN("tanh"), "float32", ((layer,),), array(1, 3), (({"h": array(-0.5, 2)},),)))
    pullback(Cotangents(array(1, 3)))
    assert becomes_true(lambda: (tmp_path / "sent").read_bytes() == exchange[">"] != b"")
    assert becomes_true(lambda: (tmp_path / "answered").read_bytes() == exchange["<"] != b"")


@needs("node")
def test_an_xray_of_an_example(tmp_path):
    target = built(tmp_path, "lstm.mjs")
    done = command("xray", target, "--tau", "3", "--length", "7", cwd=tmp_path)
    assert done.returncode == 0 and "seen through x: blocks of 3" in done.stdout
    target = built(tmp_path, "lstm.mjs", "times(xi[t], down * f)", "down * f")
    done = command("xray", target, "--tau", "3", "--length", "7", cwd=tmp_path)
    assert done.returncode == 1 and "the cell state is not cut" in done.stdout


@needs("cc")
def test_gradients_of_an_example(tmp_path):
    done = command("gradients", built(tmp_path, "rnn.c"), "--length", "12", cwd=tmp_path)
    assert done.returncode == 0 and "rnn-tanh" in done.stdout


SERVER = """
import json, math, sys
import numpy as np

stdin, stdout = sys.stdin.buffer, sys.stdout.buffer

def received(listed):
    return {n: np.frombuffer(stdin.read(np.dtype(d).itemsize * math.prod(s)), d).reshape(s) for n, d, s in listed}

def answer(header, arrays):
    listed = [[name, str(array.dtype), array.shape] for name, array in arrays.items()]
    stdout.write(json.dumps({**header, "arrays": listed}).encode() + b"\\n")
    stdout.write(b"".join(array.tobytes() for array in arrays.values()))
    stdout.flush()

def serve(capabilities, run):
    while line := stdin.readline():
        request = json.loads(line)
        given = received(request["arrays"])
        answer(*(capabilities, {}) if request["ask"] == "capabilities" else ({}, run(request, given)))
"""

REFERENCE = """
from bpttref import CELLS, Cotangents, Links, Full, vjp

CELL = {cell.name: cell for cell in CELLS}
PARAMETERS, STATES = ("W_hx", "W_hh", "b_hx", "b_hh"), ("h", "c")

def place(k, d):
    return (f"layer{k}." if k else "") + ("reverse." if d else "")

def tree(request, given, kind, names):
    return tuple(
        tuple({n: given[place(k, d) + kind + n] for n in names if place(k, d) + kind + n in given}
              for d in range(request["directions"]))
        for k in range(request["layers"])
    )

def leaves(layers, kind):
    return {place(k, d) + kind + n: a for k, ds in enumerate(layers) for d, m in enumerate(ds) for n, a in m.items()}

def run(request, given):
    cut = Links(tuple(given["xi"].tolist())) if (given["xi"] != 1).any() else Full()
    parameters, initial = tree(request, given, "", PARAMETERS), tree(request, given, "initial.", STATES)
    outputs, pullback = vjp(
        CELL[request["cell"]], parameters, given["x"], initial, lengths=given["lengths"], strategy=cut
    )
    if request["ask"] == "forward":
        return {"y": outputs.y} | leaves(outputs.final, "final.")
    pulled = {name.removeprefix("cotangent."): a for name, a in given.items() if name.startswith("cotangent.")}
    found = pullback(Cotangents(pulled["y"], tree(request, pulled, "final.", STATES)))
    dx = {} if found.x is None else {"x": found.x}
    return dx | leaves(found.parameters, "") | leaves(found.initial, "initial.")

serve({"name": "reference behind pipes", "cells": ["lstm"], "dtypes": ["float64"], "layers": 3, "bidirectional": True,
       "inputs": ["dense", "tokens", "initial", "lengths"], "truncations": ["regular", "links"],
       "padding": "anything", "empty": True}, run)
"""

LEAKY = """
def run(request, given):
    x, V, h = given["x"], given["V"], given["initial.h"]
    if request["ask"] == "forward":
        y = np.empty((*x.shape[:2], len(V)), x.dtype)
        for t in range(len(x)): h = y[t] = h / 2 + x[t] @ V.T
        return {"y": y, "final.h": h}
    dh, dx, dV = given["cotangent.final.h"], np.empty_like(x), np.zeros_like(V)
    for t in reversed(range(len(x))):
        dh = dh + given["cotangent.y"][t]
        dx[t], dV, dh = dh @ V, dV + dh.T @ x[t], dh / 2
    return {"initial.h": dh, "V": dV, "x": dx}

serve({"cells": [{"name": "leaky", "parameters": {"V": ["H", "D"]}, "states": {"h": ["H"]}}]}, run)
"""


def statuses(folder, server, examples):
    (folder / "server.py").write_text(SERVER + server)
    subject = load(f"exec:{shlex.join([sys.executable, str(folder / 'server.py')])}")
    return {r.law: r.status for r in judge(subject, LAWS, examples=examples, seed=3, shrink=False)}


def test_all_that_can_be_declared_goes_through(tmp_path):
    found = statuses(tmp_path, REFERENCE, 32)
    assert set(found.values()) == {"passed", "skipped"}
    asked = ("ragged-row-alone", "padding-ignored", "reverse-is-flipped", "links-reference", "xray-regular")
    assert {found[law] for law in asked} == {"passed"}


@pytest.mark.parametrize(("after", "status"), [("dh / 2", "passed"), ("dh / 3", "failed")])
def test_a_cell_of_the_programs_own(tmp_path, after, status):
    found = statuses(tmp_path, LEAKY.replace("dV + dh.T @ x[t], dh / 2", f"dV + dh.T @ x[t], {after}"), 12)
    assert found["own-forward-derivative"] == status
