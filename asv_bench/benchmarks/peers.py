"""The same gradient by other libraries, and the cost of verifying. A library that is not installed is skipped."""

import inspect
import sys
import time
from pathlib import Path

import numpy as np
from asv_runner.benchmarks.mark import SkipNotImplemented

from . import contenders
from .common import CELLS, Benchmark, best_times, drawn

sys.path.append(str(Path(__file__).parents[1]))  # detection.py, which runs other checkers

MAKERS = {
    "bpttref": contenders.reference,
    "torch": contenders.pytorch,
    "jax": contenders.jax_scan,
    "autograd": contenders.autograd_loop,
}


class Gradient(Benchmark):
    """Full BPTT of an LSTM, T = 16."""

    helpers = (contenders,)
    params = (list(MAKERS),)
    param_names = ("library",)

    def setup(self, library: str) -> None:
        problem = drawn(CELLS["lstm"], 16, 8, 32, 64)
        try:
            self.run = MAKERS[library](problem)
        except ImportError as absent:
            raise SkipNotImplemented(f"{library} is not installed") from absent
        found, expected = self.run(), contenders.reference(problem)()
        for name, array in expected.items():
            np.testing.assert_allclose(np.asarray(found[name]), array, rtol=1e-8, atol=1e-8, err_msg=name)

    def track_us_per_step(self, library: str) -> float:
        """CPU time of a step, forward and backward; the best of many."""
        return 1e6 * best_times([self.run])[0] / 16

    track_us_per_step.unit = "us"


CHECKERS = (
    "bpttcheck, a law",
    "torch gradcheck",
    "torch gradcheck, fast",
    "jax check_grads",
    "chex numerical_grads",
    "autograd check_grads",
)


class Verify(Benchmark):
    """The cost of verifying the reference's LSTM, in float64."""

    params = (list(CHECKERS),)
    param_names = ("checker",)

    def track_seconds(self, checker: str) -> float:
        """CPU time of a verified law (10 cases drawn), or of one check on one case, T = 5."""
        try:
            import detection

            from bpttcheck import LAWS, judge
            from bpttcheck.adapters.reference import Reference
            from bpttcheck.faults import Fault
        except ImportError as absent:
            raise SkipNotImplemented(str(absent)) from absent
        start = time.process_time()
        if checker == CHECKERS[0]:
            if "shrink" not in inspect.signature(judge).parameters:
                raise SkipNotImplemented("judge had other arguments")
            results = list(judge(Reference(), LAWS, cells=["lstm"], dtypes=["float64"], examples=10, seed=1))
            return (time.process_time() - start) / sum(result.status == "passed" for result in results)
        cell = CELLS["lstm"]
        right = Fault("none", "the reference", "", (), (cell,), lambda *correct: Reference().vjp)
        case, _ = detection.realise(detection.PLAIN, cell, "float64", Reference().capabilities())
        library, check = detection.PEERS[checker]
        try:
            __import__(library)
        except ImportError as absent:
            raise SkipNotImplemented(f"{library} is not installed") from absent
        if check(detection.Function(right, case)):
            raise AssertionError(f"{checker} reports a failure of the reference")
        return best_times([lambda: check(detection.Function(right, case))])[0]

    track_seconds.unit = "seconds"
