"""Replay files that version 0.1.0 wrote still run: they import names from their places at that time."""

import subprocess
import sys
from pathlib import Path

import pytest

from ..programs import command

FILES = sorted((Path(__file__).parent / "version_0_1_0").glob("*/replay.py"))


def test_the_files_have_the_old_imports():
    written = "".join(file.read_text() for file in FILES)
    assert "from bpttcheck.adapters import load\n" in written
    assert "from bpttcheck.failure import again\n" in written
    assert "subject.vjp(case)" in written


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_they_still_fail_for_the_fault_that_they_show(file):
    what = file.read_text().splitlines()[3].split()[0]  # how far it is off a law may measure in another way now
    by_command = command("replay", str(file.parent))
    assert by_command.returncode == 1 and by_command.stdout.startswith(f"FAILED: {what} "), by_command.stderr
    by_itself = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=120)
    assert by_itself.returncode == 1 and by_itself.stdout == by_command.stdout, by_itself.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_they_pass_where_the_target_is_mended(file, tmp_path):
    """With the reference in the place of the fault."""
    target = next(line for line in file.read_text().splitlines() if line.startswith("TARGET = "))
    (tmp_path / "replay.py").write_text(file.read_text().replace(target, "TARGET = 'reference'"))
    done = command("replay", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "FIXED\n"), done.stderr


def test_names_that_version_0_1_0_did_not_have_are_not_there():
    import bpttcheck.adapters

    with pytest.raises(AttributeError, match="has no attribute 'unload'"):
        bpttcheck.adapters.unload  # noqa: B018
