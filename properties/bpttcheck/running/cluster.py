"""Shares tested by the workers of a cluster, with the same results as here.

A worker that is lost costs the time that its share took so far: another one begins it again.
"""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import replace

from bpttcheck.running.child import Child
from bpttcheck.running.handing_over import elsewhere, pickled, unpickled
from bpttcheck.running.question import Question, Share
from bpttcheck.running.turns import Outcome, Show, judged_in
from bpttcheck.workers import Workers

_LOOK = 1.0  # seconds between two looks at the cluster
_ALONE = 60.0  # seconds without any worker, after which none is expected to come


def judge_on(
    workers: Workers, todo: Sequence[Share], asked: Question, show: Show = lambda turns: None
) -> Iterator[tuple[Share, Outcome]]:
    """Each share with its results or its error, as they come. A worker loads the target of a share in a
    process of its own, in a folder of the same name as this one.

    show: called with the shares that are not done, every second.
    """
    seconds = asked.budget * min(1.0, workers.number() / max(1, len(todo)))
    asked, folder = replace(asked, budget=seconds), os.getcwd()
    waiting = {workers.pool.submit(_judged, share, asked, folder): share for share in todo}
    seen = time.monotonic()
    while waiting:
        show([*map(" ".join, waiting.values())])
        for future in wait(waiting, _LOOK, FIRST_COMPLETED).done:
            share = waiting.pop(future)
            try:
                yield share, unpickled(future.result(), elsewhere)
            except Exception as error:
                yield share, error
        if workers.number():
            seen = time.monotonic()
        elif time.monotonic() - seen > _ALONE:
            lost = OSError(f"the cluster has had no worker for {_ALONE:g} s; the same command with --seed begins again")
            yield from ((share, lost) for share in waiting.values())
            return


def _judged(share: Share, asked: Question, folder: str) -> bytes:
    """In a worker: the results of a share, as they go from one process to another. Raises its error."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"the worker on {socket.gethostname()} has no folder {folder}: workers need the files")
    place = Child(share.target, asked.timeout, folder)
    try:
        return pickled(judged_in(place, share, asked))
    finally:
        place.end()
