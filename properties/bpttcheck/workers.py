"""The places where work is done outside this process: in processes of this machine, or by the workers of a Dask
cluster."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import NamedTuple

from bpttcheck.interrupts import undisturbed


class Workers(NamedTuple):
    """pool: takes the work. number: how many there are now."""

    pool: Executor
    number: Callable[[], int]


@contextmanager
def workers(processes: int, scheduler: str | None = None) -> Iterator[Workers]:
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
        with undisturbed():
            for _ in range(processes):
                pool.submit(os.getpid)  # starts a worker
        yield Workers(pool, lambda: processes)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()


@contextmanager
def _cluster(address: str) -> Iterator[Workers]:
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
        yield Workers(client.get_executor(), lambda: len(client.nthreads()))


def _end_with_the_parent() -> None:
    """In a worker: end when the parent does, however it ends."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
