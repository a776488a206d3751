"""The gallery: each program passes its test, and with the mistake of the page it raises the error of the page."""

import re
import subprocess
import sys

import pytest

import bpttcheck
from bpttcheck.reporting import own_code

from ..thorough import some
from .pages import ROOT, assert_shows, first_shown, saved

GALLERY = saved(ROOT / "docs" / "modern.md")
CHANGE = re.compile(r"With `([^`]+)` in place of `([^`]+)`")
LINE = re.compile(r"Without the line ()`([^`]+)`")
EXAMPLES = 16  # the page has 40, which give the same numbers, and take longer


@pytest.fixture
def few(monkeypatch):
    """Fewer examples a call."""

    def check(*given, check=bpttcheck.check, **how):
        return check(*given, **how | {"examples": EXAMPLES})

    monkeypatch.setattr(bpttcheck, "check", check)
    monkeypatch.setattr(own_code, "check", check)


def run(program):
    """Its test."""
    names = {}
    exec(program, names)
    next(test for name, test in names.items() if name.startswith("test_"))()


@pytest.mark.parametrize("program", some(GALLERY, *GALLERY[::2]), ids=lambda program: program.name)
def test_a_program_is_correct_and_its_mistake_is_reported_as_shown(program, few, monkeypatch):
    text, expected = " ".join(program.below.split()), first_shown(program.below)
    wrong, right = (CHANGE.search(text) or LINE.search(text)).groups()
    assert program.code.count(right) == 1
    run(program.code)
    if "diagnosis" not in expected:
        monkeypatch.setattr(own_code, "diagnose", lambda *given, **how: None)  # it takes longest
    with pytest.raises(AssertionError) as raised:
        run(program.code.replace(right, wrong))
    assert_shows(program.name, str(raised.value), expected)


def test_the_kernel_runs_in_the_interpreter(tmp_path, monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    target = f"{ROOT / 'docs/examples/triton_scan.py'}:subject"
    command = [sys.executable, "-m", "bpttcheck", "verify", target, "--examples", "1", "--dtype", "float64"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
