"""Running jobs: in processes of this machine or on a Dask cluster, each result on file as soon as it is there.

A job is anything with a name and a method ``run`` that returns arrays by name, and that can be pickled.
"""

import multiprocessing
import os
import signal
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from bpttref.arrays import Array

Result: TypeAlias = Mapping[str, Array]


class Job(Protocol):
    """Something to do once; the name is that of its file."""

    @property
    def name(self) -> str: ...

    def run(self) -> Result: ...


@contextmanager
def executor(processes: int, scheduler: str | None = None) -> Iterator[Executor]:
    """Where jobs run: ``processes`` of this machine, or the Dask cluster at an address.

    Work that has not begun is given up when the block is left, and processes of this machine end at once.
    Raises ImportError without Dask, OSError if the scheduler does not answer, and ValueError if its workers have
    several threads: CPU time and memory are measured in them.
    """
    if scheduler is not None:
        with _cluster(scheduler) as remote:
            yield remote
        return
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")  # read when a new process loads NumPy
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _end_with_the_parent)
    try:
        resource_tracker.ensure_running()  # its own start would let interrupts through
        with _undisturbed():
            for _ in range(processes):
                pool.submit(os.getpid)  # starts a worker
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Interrupts wait until the block is left: one that comes while a pool holds a lock leaves it locked for good.

    Processes that are started inside never see one: interrupts are the parent's affair.
    """
    interrupts: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: interrupts.append(number))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, handler)
    if interrupts:
        raise KeyboardInterrupt


@contextmanager
def _cluster(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("a cluster needs Dask: python -m pip install 'bpttcheck[dask]'") from error
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise OSError(f"no Dask scheduler answers at {address!r}: {error}") from error
    with client:
        threads = client.nthreads()
        if not threads:
            raise ValueError(
                f"the scheduler at {address} has no workers; start one: dask worker {address} --nthreads 1"
            )
        if set(threads.values()) != {1}:
            raise ValueError("workers must have one thread each: dask worker ADDRESS --nthreads 1")
        yield client.get_executor()


def run(
    jobs: Sequence[Job], folder: Path, pool: Executor, finished: Callable[[str], None] = lambda name: None
) -> dict[str, Result]:
    """The results of all jobs by name; those on file in the ``folder`` are not done again.

    Raises what a job raises, OSError if a result cannot be written. What was done before stays on file.
    """
    on_file = {job.name: _on_file(folder / f"{job.name}.npz") for job in jobs}
    results = {name: found for name, found in on_file.items() if found is not None}
    for name in results:
        finished(name)
    with _undisturbed():
        open_jobs = {pool.submit(job.run): job.name for job in jobs if job.name not in results}
    for future in as_completed(open_jobs):
        name = open_jobs[future]
        results[name] = future.result()
        _write(folder / f"{name}.npz", results[name])
        finished(name)
    return results


def _on_file(file: Path) -> Result | None:
    """A result, or None if there is none that is whole."""
    try:
        with np.load(file) as arrays:
            return dict(arrays)
    except (FileNotFoundError, EOFError, ValueError, zipfile.BadZipFile):
        return None


def _write(file: Path, result: Result) -> None:
    """All or nothing: an interruption leaves no half file."""
    unfinished = file.with_suffix(".unfinished.npz")
    np.savez(unfinished, allow_pickle=False, **result)
    unfinished.replace(file)


def _end_with_the_parent() -> None:
    """In a worker: end when the parent does, however it ends."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
