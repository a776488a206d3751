"""The output by its reader: colours for a terminal, whole lines for a pipe, and little with --quiet."""

import os
import re
import subprocess
import sys

import pytest

from bpttcheck.command_line import main

from ..programs import command

FEW = ("--law", "pullback-reference", "--law", "causality", "--dtype", "float64", "--examples", "6", "--seed", "1")
NAME = "[a-subject]-whose-name-" + 9 * "goes-on-and-on-" + "to-the-end"
LONG = f"""
from bpttcheck.adapters.reference import Reference
from bpttref import CELLS

class Long(Reference):
    name = {NAME!r}
"""


def on_a_terminal(folder, *arguments, **environment):
    """The output of the command on a terminal."""
    ours, theirs = os.openpty()
    inherited = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE")}
    command = [sys.executable, "-m", "bpttcheck", *arguments]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, cwd=folder,
                          env=inherited | {"TERM": "xterm-256color"} | environment):  # fmt: skip
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 4096):
                said += piece
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    return said.decode()


def coloured(said):
    return [code for code in re.findall(r"\x1b\[([0-9;]*)m", said) if re.search(r"\b(3[0-9]|9[0-7])\b", code)]


def test_colours_are_for_terminals_that_want_them(tmp_path):
    arguments = ("verify", "reference", *FEW)
    assert coloured(on_a_terminal(tmp_path, *arguments))
    assert not coloured(on_a_terminal(tmp_path, *arguments, NO_COLOR="1"))


def test_piped_output_has_whole_lines_and_no_control_characters(tmp_path):
    (tmp_path / "long.py").write_text(LONG)
    done = command("verify", "long.py:Long", *FEW, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f…]", done.stdout)
    assert f"{NAME}, float64: worst error / tolerance" in done.stdout.splitlines()


def test_a_wide_table_is_not_cut_when_it_is_piped(tmp_path):
    """Names of cells are as long as a user likes."""
    (tmp_path / "wide.py").write_text(
        "from dataclasses import dataclass, replace\nfrom bpttcheck.adapters.reference import Reference\n"
        "from bpttcheck import CustomCell\n"
        "cells = [CustomCell('x' * 30 + str(k), lambda D, H: {}, lambda H: {}) for k in range(4)]\n"
        "class Wide(Reference):\n    name = 'wide'\n"
        "    def capabilities(self): return replace(super().capabilities(), cells=tuple(cells))\n"
        "    def vjp(self, case): raise RuntimeError('no kernel')\n"
    )
    done = command("verify", "wide.py:Wide", *FEW, cwd=tmp_path)
    row = next(line for line in done.stdout.splitlines() if line.startswith("law "))
    assert row.split() == ["law", *("x" * 30 + str(k) for k in range(4))], done.stdout + done.stderr


def test_quiet_is_only_the_closing_sentence_if_nothing_failed(tmp_path):
    done = command("verify", "reference", *FEW, "--quiet", cwd=tmp_path)
    assert done.returncode == 0 and re.fullmatch(r"\nran [^\n]* passed\.\n", done.stdout)
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", done.stdout)
    assert "so far" not in on_a_terminal(tmp_path, "verify", "reference", *FEW, "--quiet")


def test_skipped_laws_are_one_line_by_default(tmp_path):
    few = ("--law", "taylor-remainder", "--law", "affine-in-a-state", "--examples", "2", "--seed", "1")
    arguments = ("verify", "reference", "--cell", "lstm", "--dtype", "float32", *few, "--law", "causality")
    short, long = command(*arguments, cwd=tmp_path).stdout, command(*arguments, "--verbose", cwd=tmp_path).stdout
    assert "skipped 2 laws on some or all cells; --verbose gives the reasons\n" in short
    assert "taylor-remainder" not in short and "skipped taylor-remainder: only float64 shows it" in long
    assert re.search("^taylor-remainder +skip$", long, re.MULTILINE)


def test_progress_counts_laws_so_far(tmp_path):
    said = on_a_terminal(tmp_path, "verify", "reference", *FEW, "--cell", "lstm", "--cell", "rnn-tanh")
    assert "so far 0 passed; reference" in said and "so far 2 passed; reference" in said


def test_quiet_shows_failures(tmp_path):
    arguments = ("verify", "reference", "fault:rnn-no-carry", *FEW, "-q")
    first, again = command(*arguments, cwd=tmp_path), command(*arguments, cwd=tmp_path)
    assert first.returncode == again.returncode == 1
    assert "fault:rnn-no-carry, float64" in first.stdout and "planted fault rnn-no-carry" in first.stdout
    assert "causality" not in first.stdout and "reference, float64" not in first.stdout
    assert "FAILED still" in again.stdout


def test_quiet_shows_errors(tmp_path):
    (tmp_path / "broken.py").write_text(
        "from bpttcheck import Capabilities\nfrom bpttref import LSTM\n"
        "class Broken:\n    name = 'broken'\n"
        "    def capabilities(self): return Capabilities(cells=(LSTM(),))\n"
        "    def vjp(self, case): raise RuntimeError('no kernel')\n"
    )
    done = command("verify", "broken.py:Broken", *FEW, "-q", cwd=tmp_path)
    assert done.returncode == 2 and "vjp raised RuntimeError: no kernel" in done.stdout


@pytest.mark.parametrize("name", ["", *main.commands])
def test_help_fits_80_columns_and_every_option_says_what_it_does(name):
    done = command(*name.split(), "--help")
    assert done.returncode == 0 and "..." not in done.stdout.replace("...\n", "\n", 1)
    assert max(map(len, done.stdout.splitlines())) <= 80
    if name:
        for parameter in main.commands[name].params:
            assert parameter.param_type_name == "argument" or parameter.help, parameter.name
