"""Jobs are handed over whole, and interrupts are neither lost nor met half-way."""

import os
import signal
from concurrent.futures import Future, wait

import numpy as np
import pytest

from bpttcheck.studies.jobs import run
from bpttcheck.workers import workers


class Numbered:
    def __init__(self, number):
        self.name = f"job-{number}"

    def run(self):
        return {"found": np.zeros(1)}


class Interrupting:
    """A pool in the middle of whose work the user presses Ctrl-C."""

    def __init__(self):
        self.taken = []

    def submit(self, work):
        os.kill(os.getpid(), signal.SIGINT)
        self.taken.append(work)
        return Future()


def test_an_interrupt_waits_until_all_jobs_are_handed_over(tmp_path):
    pool = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        run([Numbered(k) for k in range(5)], tmp_path, pool)
    assert len(pool.taken) == 5 and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_processes_do_not_see_the_interrupts_of_the_group():
    """A process that was started ignores the signals of the others."""
    with workers(2) as (pool, _):
        masks = [pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()) for _ in range(4)]
        wait(masks)
        assert all(signal.SIGINT in mask.result() for mask in masks)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
