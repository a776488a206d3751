"""One module calls implementations, whatever the command; and its handling of their results and errors."""

import runpy

import pytest
from click.testing import CliRunner

from bpttcheck.command_line import main

TELLING = """
import sys
from dataclasses import replace
from bpttcheck import Cotangents
from bpttcheck.adapters.reference import Reference
from bpttref import LSTM

def told(name, method):
    def telling(*arguments):
        with open("callers", "a") as file:
            print(name, sys._getframe(1).f_globals["__name__"], file=file)
        return method(*arguments)
    return telling

class Telling:
    \"\"\"The reference, which notes who calls it; its gradients are wrong where ``wrong`` is not 1.\"\"\"
    name, wrong = "telling", 1.0

    def __init__(self):
        right = Reference()
        few = {"cells": (LSTM(),), "dtypes": ("float64",), "refuses": told("refuses", lambda case: None)}
        self.capabilities = told("capabilities", lambda: replace(right.capabilities(), **few))
        self.jvp = told("jvp", right.jvp)
        self.loss_and_gradients = told("loss_and_gradients", right.loss_and_gradients)
        self.vjp = told("vjp", lambda case: self.run(right, case))

    def run(self, right, case):
        outputs, pullback = right.vjp(case)
        def scaled(cotangents):
            gradients = pullback(cotangents)
            return gradients._replace(x=None if gradients.x is None else self.wrong * gradients.x)
        return outputs, told("pullback", scaled)

class Wrong(Telling):
    wrong = 2.0
"""
ALL = {"vjp", "pullback", "jvp", "loss_and_gradients", "capabilities", "refuses"}
FEW = ("--examples", "8", "--seed", "1", "--failures", "failures")
LAW = ("--law", "pullback-reference", "--law", "regular-reference")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where telling.py lies."""
    (tmp_path / "telling.py").write_text(TELLING)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("commands", "status", "met"), [
    ([("verify", "telling.py:Telling", *FEW)], 0, ALL),
    ([("verify", "telling.py:Wrong", *FEW, *LAW)], 1, {"vjp", "pullback", "capabilities", "refuses"}),
    ([("verify", "telling.py:Wrong", *FEW, *LAW), ("replay", "failures/telling_lstm_float64_pullback_reference")], 1,
     {"vjp", "pullback"}),
    ([("verify", "reference", "--cell", "lstm", "--against", "telling.py:Telling", *FEW, *LAW)], 0,
     {"vjp", "pullback"}),
    ([("xray", "telling.py:Telling", "--length", "4")], 0, {"vjp", "pullback", "capabilities"}),
    ([("gradients", "telling.py:Telling", "--length", "8", "--units", "2")], 0, {"vjp", "pullback", "capabilities"}),
], ids=["verify", "explain", "replay", "against", "xray", "gradients"])  # fmt: skip
def test_one_module_calls_implementations(folder, commands, status, met):
    for words in commands:
        (folder / "callers").unlink(missing_ok=True)
        done = CliRunner().invoke(main, words)
    seen = {tuple(line.split()) for line in (folder / "callers").read_text().splitlines()}
    assert done.exit_code == status, done.output
    assert met <= {name for name, _ in seen}
    assert {caller for _, caller in seen} <= {"bpttcheck.measuring.calls", "bpttcheck.contract"}
    assert {name for name, caller in seen if caller == "bpttcheck.contract"} <= {"capabilities", "refuses"}


def test_a_program_sees_warnings_and_gets_its_own_copies(folder):
    """Calls give an implementation arrays of its own, unless the caller wants to see whether it changes them."""
    given = runpy.run_path("telling.py")
    from bpttcheck.cases.drawing import Draw
    from bpttcheck.cases.realising import realise
    from bpttcheck.measuring.calls import Calls

    overwriting = given["Telling"]()
    run = overwriting.run

    def overwrite(right, case):
        case.x[...] = 0
        return run(right, case)

    overwriting.run = overwrite
    calls = Calls(overwriting)
    draw = Draw(2, 1, 1, 1, 1, False, False, False, False, 0.5, 0)
    case, _ = realise(draw, calls.capabilities.cells[0], "float64", calls.capabilities)
    calls.run(case)
    assert case.x.any()
    calls.run(case, copy=False)
    assert not case.x.any()
