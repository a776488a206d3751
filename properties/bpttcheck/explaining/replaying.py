"""Failures on file, run again: before new cases are drawn, and just after they were written, each on its own."""

import ast
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bpttcheck.running.parallel import Question
from bpttcheck.running.time_limit import USUAL


class Again(NamedTuple):
    """What became of a failure on file. failing: whether it makes the run fail."""

    path: Path
    said: str
    failing: bool = False


def found_again(failures: Path, target: str, asked: Question) -> Iterator[Again]:
    """Each failure of a target that is on file in a folder, for the laws that are asked; no other file is run."""
    for path in sorted(failures.glob("*/replay.py")) if failures.is_dir() else []:
        text = path.read_text(encoding="utf-8", errors="replace")
        written = {name: ast.literal_eval(value) for name, value in re.findall(r"^([A-Z]+) = ([\"'].*)$", text, re.M)}
        if (written.get("TARGET"), written.get("AGAINST", "")) != (target, asked.against):
            continue
        if written.get("LAW") in asked.laws:
            yield _run_again(path, target, asked)


def _run_again(path: Path, target: str, asked: Question) -> Again:
    try:
        written = runpy.run_path(str(path))
        wrong, case = written["check"](), written["case"]
    except Exception as error:
        return Again(path, f"the file does not run: {type(error).__name__}: {error}")
    if not wrong:
        return Again(path, "FIXED")
    if any(entry.covers(target, case.cell.name, case.dtype, written["LAW"]) for entry in asked.known):
        return Again(path, f"known: {wrong}")
    return Again(path, f"FAILED still: {wrong}", failing=True)


def on_its_own(path: Path) -> str:
    """What a file says in a process of its own, in which nothing was called before; nothing if it says nothing."""
    try:
        ended = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=USUAL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout.strip()
