"""Running jobs: each result on file as soon as it is there.

A job is anything with a name and a method ``run`` that returns arrays by name, and that can be pickled.
"""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from bpttcheck.interrupts import undisturbed
from bpttref.arrays import Array

Result: TypeAlias = Mapping[str, Array]


class Job(Protocol):
    """Something to do once; the name is its file's."""

    @property
    def name(self) -> str: ...

    def run(self) -> Result: ...


def run(
    jobs: Sequence[Job], folder: Path, pool: Executor, finished: Callable[[str], None] = lambda name: None
) -> dict[str, Result]:
    """The results of all jobs by name; those on file in the ``folder`` are not done again.

    Raises the errors of a job, OSError if a result cannot be written. Results from before stay on file.
    """
    on_file = {job.name: _on_file(folder / f"{job.name}.npz") for job in jobs}
    results = {name: found for name, found in on_file.items() if found is not None}
    for name in results:
        finished(name)
    with undisturbed():
        open_jobs = {pool.submit(job.run): job.name for job in jobs if job.name not in results}
    for future in as_completed(open_jobs):
        name = open_jobs[future]
        results[name] = future.result()
        _write(folder / f"{name}.npz", results[name])
        finished(name)
    return results


def _on_file(file: Path) -> Result | None:
    """A result, or None if there is no complete one."""
    try:
        with np.load(file) as arrays:
            return dict(arrays)
    except (FileNotFoundError, EOFError, ValueError, zipfile.BadZipFile):
        return None


def _write(file: Path, result: Result) -> None:
    """Write the whole file or nothing: an interruption leaves no half file."""
    unfinished = file.with_suffix(".unfinished.npz")
    np.savez(unfinished, allow_pickle=False, **result)
    unfinished.replace(file)
