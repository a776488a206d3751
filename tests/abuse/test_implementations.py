"""Whatever an implementation does, there is a verdict with a sentence, and never a traceback from bpttcheck."""

import re
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from bpttcheck.reporting.record import from_json
from bpttcheck.running.run import Run

from ..programs import command

HEAD = """
import os, sys, warnings
import numpy as np
from dataclasses import replace
from bpttcheck.adapters.reference import Reference
from bpttref import RNN

class Bad(Reference):
    name = "bad"

    def capabilities(self):
        few = {"layers": 1, "bidirectional": False, "selects": False, "objectives": (), "truncations": ()}
        return replace(super().capabilities(), cells=(RNN("tanh"),), dtypes=("float64",), **few)

    def y(self, a):
        return a

    def dW(self, a):
        return a

    def vjp(self, case):
        outputs, pullback = super().vjp(case)

        def pull(cotangents):
            gradients = pullback(cotangents)
            found = gradients.parameters[0][0]
            return gradients._replace(parameters=(({**found, "W_hh": self.dW(found["W_hh"])},),))

        return outputs._replace(y=self.y(outputs.y)), pull
"""


class Row(NamedTuple):
    """The change of a returned array, the exit status, and the message."""

    body: str
    status: int
    says: str


RETURNED = {
    "complex": Row("return a.astype(complex)", 1, "has dtype complex128; expected float64"),
    "object": Row("return a.astype(object)", 1, "has dtype object; expected float64"),
    "strings": Row("return a.astype(str)", 1, "has dtype <U32; expected float64"),
    "dates": Row("return a.astype('int64').astype('datetime64[s]')", 1, "has dtype datetime64[s]"),
    "records": Row("return np.zeros(a.shape, [('a', float)])", 1, "expected float64"),
    "masked": Row("return np.ma.masked_array(a, a > 0)", 2, "MaskedArray; expected a NumPy array"),
    "read-only": Row("a = a.copy(); a.flags.writeable = False; return a", 0, ""),
    "a view that runs backwards": Row("return a[::-1].copy()[::-1]", 0, ""),
    "no axes": Row("return np.array(1.0)", 1, "has shape (); expected"),
    "one axis more": Row("return a[..., None]", 1, "expected"),
    "an array of another library": Row("return type('T', (), {'shape': a.shape})()", 2, "T; expected a NumPy array"),
    "a generator": Row("return (row for row in a)", 2, "generator; expected a NumPy array"),
    "lists": Row("return a.tolist()", 2, "list; expected a NumPy array"),
    "a number": Row("return 3", 2, "int; expected a NumPy array"),
    "a class of its own": Row("return a.view(type('S', (np.ndarray,), {}))", 0, ""),
    "truth values": Row("return a > 0", 1, "has dtype bool; expected float64"),
    "whole numbers": Row("return a.astype(int)", 1, "has dtype int64; expected float64"),
    "half precision": Row("return a.astype('float16')", 1, "has dtype float16; expected float64"),
    "nothing of it": Row("return a[:0]", 1, "has shape (0, "),
    "more than there is memory for": Row(
        "return np.broadcast_to(0.0, (10**11, *a.shape))", 1, "has shape (100000000000"
    ),
    "NaN": Row("return a * np.nan", 1, "is not finite"),
    "one word of standard output": Row("print('HELLO [red]'); return a", 0, ""),
    "another folder": Row("os.chdir('/'); return a", 0, ""),
    "a folder that is gone": Row("os.makedirs('sub'); os.chdir('sub'); os.rmdir('../sub'); return a", 0, ""),
    "warnings without end": Row("[warnings.warn(f'w {k}') for k in range(3)]; return a", 0, "UserWarning: w 0"),
}
RAISED = {
    "exit 0": Row("sys.exit(0)", 2, "raised SystemExit: 0"),
    "a panic": Row("raise BaseException('panic')", 2, "raised BaseException: panic"),
    "the end of a generator": Row("raise GeneratorExit", 2, "raised GeneratorExit"),
    "no memory": Row("raise MemoryError", 2, "raised MemoryError"),
    "endless recursion": Row("return odd(a)", 2, "raised RecursionError"),
    "control characters": Row("raise ValueError('\\x1b[31m \\x00 \\ud800 [red]')", 2, "\\x1b[31m \\x00 \\ud800 [red]"),
    "quotes": Row('raise ValueError(\'"""; import os; os._exit(7) #\' + chr(92))', 2, '"""; import os; os._exit(7)'),
    "an exception that cannot be told": Row(
        "raise type('E', (Exception,), {'__str__': lambda s: 1 / 0})()", 2, "raised E"
    ),
    "a stop": Row("raise StopIteration", 2, "raised StopIteration"),
}

OF_OUTPUTS = ("outputs-complete", "forward-reference", "causality", "results-stay")


def verdicts(folder, rows, where, *options):
    """One verdict on an implementation for each row, which makes its change to the array ``where``."""
    classes = (
        f"class Bad{k}(Bad):\n    name = 'bad{k}'\n    def {where}(self, a):\n"
        f"        odd = self.{where}\n        {row.body}\n"
        for k, row in enumerate(rows)
    )
    (folder / "mine.py").write_text("\n".join([HEAD, *classes]), encoding="utf-8")
    targets = [f"mine.py:Bad{k}" for k in range(len(rows))]
    reports = ("--json", "v.json", "--junit", "v.xml")
    return command("verify", *targets, "--examples", "5", "--seed", "1", *reports, *options, cwd=folder)


@pytest.mark.parametrize(("where", "rows"), [
    pytest.param("y", RETURNED, marks=pytest.mark.thorough, id="y"),
    pytest.param("dW", RETURNED, id="dW"),
    pytest.param("y", RAISED, id="raised"),
])  # fmt: skip
def test_whatever_comes_back_there_is_a_verdict(where, rows, tmp_path):
    few = [word for law in OF_OUTPUTS for word in ("--law", law)]
    quick = ("--budget", "1e-6")  # all laws, on only the first case, without explanations
    done = verdicts(tmp_path, rows.values(), where, *(quick if where == "dW" else few))
    said = done.stdout + done.stderr
    assert done.returncode == 2 and "Traceback" not in said and "internal error" not in said
    assert ElementTree.parse(tmp_path / "v.xml").getroot().tag == "testsuites"
    run = from_json((tmp_path / "v.json").read_text())
    for (name, row), record in zip(rows.items(), run.targets, strict=True):
        told = " ".join([*(r.reason for r in record.results), *(w for r in record.results for w in r.warnings)])
        assert Run(run.asked, [record]).exit_status() == row.status, f"{name}: {told}"
        assert row.says in told, f"{name}: {told}"
    for k, file in enumerate(sorted(tmp_path.glob("bpttcheck-failures/*/replay.py"))):
        compile(file.read_text(encoding="utf-8"), file, "exec")
        if rows is RAISED and not k:
            again = command("replay", str(file), cwd=tmp_path)
            assert again.returncode == 2 and again.stdout.startswith("ERROR: ") and "Traceback" not in again.stdout


NAMES = [
    "a-b",
    "a_b",
    "日本",
    "language [red]",
    'x"""y',
    "back\\slash",
    "nul\x00",
    "up\x1b[2J",
    "n" * 300,
    "../../up",
    "fault-x",
]


def test_names_are_text_and_no_two_share_a_folder(tmp_path):
    classes = "".join(
        f"\nclass C{k}(Bad):\n    name = {name!r}\n    vjp = lambda self, case: "
        "(lambda o: (o[0]._replace(y=o[0].y + 1), o[1]))(Reference.vjp(self, case))\n"
        for k, name in enumerate(NAMES)
    )
    (tmp_path / "mine.py").write_text(HEAD + classes, encoding="utf-8")
    targets = [f"mine.py:C{k}" for k in range(len(NAMES))]
    done = command("verify", *targets, "--examples", "5", "--seed", "1", "--law", "forward-reference",
                   "--budget", "1e-6", "--junit", "v.xml", cwd=tmp_path)  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "Traceback" not in said
    assert not re.search(r"[\x00\x1b]", said) and "language [red]" in said
    files = sorted(tmp_path.glob("bpttcheck-failures/*/replay.py"))
    assert len(files) == len(NAMES) and not list(tmp_path.parent.glob("up*"))
    suites = ElementTree.parse(tmp_path / "v.xml").getroot()
    assert len({suite.get("name") for suite in suites}) == len(NAMES)
    for file in files:
        assert command("replay", str(file), cwd=tmp_path).stdout.startswith("FAILED: y[t=")


def test_the_file_of_another_target_is_not_run(tmp_path):
    folder = tmp_path / "bpttcheck-failures" / "theirs"
    folder.mkdir(parents=True)
    (folder / "replay.py").write_text("TARGET = 'fault:di-uses-i'\nLAW = 'causality'\nopen('run', 'w')\n")
    assert command("verify", "reference", "--cell", "lstm", "--law", "causality", cwd=tmp_path).returncode == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("declared", "says"), [
    ('cells=(RNN("tanh"), RNN("tanh"))', "cells must differ; there is rnn-tanh twice"),
    ('dtypes=("float64", "float64")', "dtypes must differ; there is float64 twice"),
    ("layers=10**9", "layers must be a number from 1 to 64"),
    ('sizes={"T": (10**30,)}', "sizes must hold numbers from"),
    ('sizes={"T": (0,)}', "sizes must hold numbers from"), ('sizes={"T": ("7",)}', "sizes must hold numbers from"),
    ('cells=("lstm",)', "cells must hold cells"), ("conventions=3", "conventions"), ("inputs=3", "inputs must be"),
    ('reduction="median"', "reduction must be one of"), ("layers=0", "layers must be a number from 1 to 64"),
])  # fmt: skip
def test_declarations_that_make_no_sense_are_one_sentence(declared, says, tmp_path):
    text = f"{HEAD}\nclass Odd(Bad):\n    def capabilities(self):\n"
    (tmp_path / "mine.py").write_text(f"{text}        return replace(super().capabilities(), {declared})\n")
    done = command("verify", "mine.py:Odd", cwd=tmp_path)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr
