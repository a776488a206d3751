"""A program whose cell has streams, with resets and chunks: the arrays that travel, and the errors."""

import shlex
import sys

import pytest

from bpttcheck import LAWS, judge
from bpttcheck.targets import load

PROGRAM = """
import json, sys
import numpy as np

slip, stdin, stdout = sys.argv[1], sys.stdin.buffer, sys.stdout.buffer
CELL = {
    "name": "decaying", "parameters": {"E": [3, "H"]}, "states": {"S": ["D", "H"]}, "width": "D",
    "streams": {"k": ["D"], "g": ["D", "H"], "token": [], "keep": []},
    "domains": {"g": "(0, 1)", "token": 3, "keep": "bool"},
}
CAPABILITIES = {
    "name": "decaying", "cells": [CELL], "dtypes": ["float64"], "inputs": ["dense", "initial", "resets"],
    "truncations": ["regular", "links"], "chunks": [2, 3], "sizes": {"T": [1, 2, 3, 4], "B": [1, 2]},
}

def say(header, arrays):
    listed = [[name, "float64", list(a.shape)] for name, a in arrays.items()]
    stdout.write(json.dumps({**header, "arrays": listed}).encode() + b"\\n")
    stdout.write(b"".join(a.astype("<f8").tobytes() for a in arrays.values()))
    stdout.flush()

def read(name, dtype, shape):
    size = int(np.prod(shape)) * 8
    return np.frombuffer(stdin.read(size), "<i8" if dtype == "int64" else "<f8").reshape(shape)

while line := stdin.readline():
    request = json.loads(line)
    if request["ask"] == "capabilities":
        say(CAPABILITIES, {})
        continue
    assert request["chunk"] in (2, 3) and "D" not in request
    a = {name: read(name, dtype, shape) for name, dtype, shape in request["arrays"]}
    T, S, before, y = request["T"], a["initial.S"], [], []
    took = (1 - a["x.keep"])[:, :, None, None] * a["x.k"][..., None] * a["E"][a["x.token"]][:, :, None, :]
    for t in range(T):
        late = slip == "late reset" and t > 0
        S = np.where(a["resets"][t - late][:, None, None], 0, S)
        before.append(S)
        S = a["x.g"][t] * S + took[t]
        y.append(S.sum(axis=2))
    if request["ask"] == "forward":
        say({}, {"y": np.array(y), "final.S": S})
        continue
    dS, d = a["cotangent.final.S"], {name: np.zeros(a[name].shape) for name in ("E", "x.k", "x.g")}
    for t in reversed(range(T)):
        dS = dS + a["cotangent.y"][t][:, :, None]
        d["x.g"][t] = dS * (S if slip == "state after" else before[t])
        there = (1 - a["x.keep"][t])[:, None, None] * dS
        d["x.k"][t] = (there * a["E"][a["x.token"][t]][:, None]).sum(axis=2)
        np.add.at(d["E"], a["x.token"][t], (there * a["x.k"][t][..., None]).sum(axis=1))
        dS = a["x.g"][t] * dS
        late = slip == "late reset" and t > 0
        dS = np.where(a["resets"][t - late][:, None, None], 0, a["xi"][t] * dS)
    say({}, {**d, "initial.S": dS})
"""

DERIVATIVE = {"own-forward-derivative", "split-resume-pullback", "xray-links", "chunk-size-does-not-matter"}
RESETS = {law.id for law in LAWS if law.family == "resets"}


@pytest.mark.parametrize(("slip", "broken"), [
    ("", set()), ("state after", {"own-forward-derivative"}), ("late reset", {"nothing-crosses-a-reset"}),
])  # fmt: skip
def test_streams_resets_and_chunks_travel(tmp_path, slip, broken):
    file = tmp_path / "decaying.py"
    file.write_text(PROGRAM)
    laws = [law for law in LAWS if law.id in DERIVATIVE | RESETS]
    found = list(
        judge(load(f"exec:{shlex.join([sys.executable, str(file), slip])}"), laws, examples=5 if slip else 8, seed=1)
    )
    failed = {result.law for result in found if result.status not in ("passed", "skipped", "vacuous")}
    assert broken <= failed and bool(failed) == bool(slip)
    if not slip:
        assert {result.law for result in found if result.status == "passed"} == DERIVATIVE | RESETS
