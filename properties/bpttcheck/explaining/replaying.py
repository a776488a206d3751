"""Failures on file, run again: before new cases are drawn, and after they were written, each on its own."""

import ast
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from bpttcheck.running.child import Died, Place, in_words
from bpttcheck.running.question import Question
from bpttcheck.running.time_limit import USUAL


class Again(NamedTuple):
    """The outcome of a failure on file. failing: whether it makes the run fail. died: whether the process was lost."""

    path: Path
    said: str
    failing: bool = False
    died: bool = False


def found_again(place: Place, target: str, failures: Path, asked: Question) -> Iterator[Again]:
    """Each failure of a target that is on file in a folder, for the laws of the run; no other file is run.

    After a file that does not return, the remaining files are not run.
    """
    for path in sorted(failures.glob("*/replay.py")) if failures.is_dir() else []:
        written = _written(path)
        if (written.get("TARGET"), written.get("AGAINST", "")) != (target, asked.against):
            continue
        if (law := written.get("LAW")) not in asked.laws:
            continue
        try:
            wrong, cell, dtype = place.ask(check_file, path)
        except Died as death:
            yield Again(path, str(death), failing=True, died=True)
            if death.lost.hung:
                return
        except (Exception, SystemExit) as error:
            yield Again(path, f"the file does not run: {in_words(error)}")
        else:
            known = any(entry.covers(target, cell, dtype, law) for entry in asked.known)
            said = f"known: {wrong}" if known else f"FAILED still: {wrong}"
            yield Again(path, said if wrong else "FIXED", failing=bool(wrong) and not known)


def _written(path: Path) -> dict[str, str]:
    """The constants in capital letters of a file, without running it; empty for files that bpttcheck did not write."""
    with suppress(OSError, ValueError, SyntaxError):
        text = path.read_text(encoding="utf-8", errors="replace")
        return {name: str(ast.literal_eval(said)) for name, said in re.findall(r"^([A-Z]+) = ([\"'].*)$", text, re.M)}
    return {}


def check_file(_: object, file: Path) -> tuple[str, str, str]:
    """The mistake at the case of a file, which loads the implementation itself; empty without one; then its cell and
    dtype.

    Raises ValueError for a file that bpttcheck did not write, and any error of the file.
    """
    written = runpy.run_path(str(file))
    if not {"check", "case"} <= written.keys():
        raise ValueError(f"{file} is not the replay.py of a failure")
    return written["check"](), written["case"].cell.name, written["case"].dtype


def on_its_own(path: Path) -> str:
    """The output of a file in a process of its own, in which no call came before; empty if it prints nothing."""
    try:
        ended = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=USUAL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout.strip()
