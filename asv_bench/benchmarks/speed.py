"""How fast is a gradient? CPU time with one BLAS thread, which is wall time on an idle machine.

On a busy one only runs of a few milliseconds are never interrupted: T is small where the best of many is taken.
"""

import math

from . import contenders
from .common import CELLS, STRATEGIES, Benchmark, best_times, drawn, gradient

T, B, D, H, WINDOW = 16, 8, 32, 64, 8


class Gradient(Benchmark):
    """One gradient, by strategy and cell."""

    helpers = (contenders,)
    params = (list(STRATEGIES), list(CELLS))
    param_names = ("strategy", "cell")
    repeat = (5, 8, 1.5)
    rounds = 2

    def setup(self, strategy: str, cell: str) -> None:
        self.problem = drawn(CELLS[cell], T, B, D, H)
        self.run = gradient(strategy, self.problem, WINDOW)

    def time_gradient(self, strategy: str, cell: str) -> None:
        """CPU time of one gradient, T = 16."""
        self.run()

    def track_over_products(self, strategy: str, cell: str) -> float:
        """CPU time of a gradient over the CPU time of the matrix products of full BPTT: 1 is the limit."""
        ours, bare = best_times([self.run, contenders.products(self.problem)])
        return ours / bare

    track_over_products.unit = "ratio"


class Length(Benchmark):
    """One gradient of an LSTM against the number of steps."""

    params = (list(STRATEGIES), [16, 64, 256])
    param_names = ("strategy", "T")

    def track_us_per_step(self, strategy: str, T: int) -> float:
        """CPU time of a step, forward and backward; the best of many."""
        run = gradient(strategy, drawn(CELLS["lstm"], T, B, D, H), WINDOW)
        return 1e6 * best_times([run])[0] / T

    track_us_per_step.unit = "us"


class Growth(Benchmark):
    """How time grows with the number of steps."""

    params = (list(STRATEGIES),)
    param_names = ("strategy",)

    def track_time_exponent(self, strategy: str) -> float:
        """The slope of log time over log T, from 32 to 256 steps of an LSTM: 1 is linear."""
        runs = [gradient(strategy, drawn(CELLS["lstm"], T, B, D, H), WINDOW) for T in (32, 256)]
        short, long = best_times(runs)
        return math.log(long / short) / math.log(8)

    track_time_exponent.unit = "exponent"
