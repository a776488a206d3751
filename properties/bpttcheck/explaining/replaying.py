"""Failures on file, run again before new cases are drawn."""

import runpy
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bpttcheck.running.parallel import Question


def found_again(failures: Path, target: str, asked: Question) -> Iterator[tuple[Path, str, bool]]:
    """Each failure of a target that is on file in a folder, for the laws that are asked.

    The file, what is wrong (nothing if it is mended), and whether that is known.
    """
    for path in sorted(failures.glob("*/replay.py")) if failures.is_dir() else []:
        with suppress(Exception):  # a file that no longer runs is replay's affair
            written = runpy.run_path(str(path))
            if (written["TARGET"], written.get("AGAINST", "")) != (target, asked.against):
                continue
            if written["LAW"] in asked.laws:
                place = (target, written["case"].cell.name, written["case"].dtype, written["LAW"])
                yield path, written["check"](), any(entry.covers(*place) for entry in asked.known)
