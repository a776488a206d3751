"""A Dask cluster on this machine: a scheduler and two workers."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest


@contextmanager
def cluster(folder, **variables):
    """The address of its scheduler, and the processes of its workers, which work and write their log in a folder.

    variables: of the environment of the workers.
    """
    pytest.importorskip("distributed")
    file, log, processes = folder / "scheduler.json", folder / "cluster.log", []

    def start(module, *arguments):
        line = [sys.executable, "-m", f"distributed.cli.{module}", "--scheduler-file", str(file), "--no-dashboard"]
        with log.open("a") as written:
            line = [*line, *arguments]
            process = subprocess.Popen(line, cwd=folder, env=os.environ | variables, stdout=written, stderr=written)
        processes.append(process)
        return process

    try:
        start("dask_scheduler", "--port", "0")
        workers = [start("dask_worker", "--nthreads", "1", "--no-nanny", "--name", name) for name in "ab"]
        deadline = time.monotonic() + 60
        while not file.exists() or log.read_text().count("Registered to") < len(workers):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield json.loads(file.read_text())["address"], workers
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()
