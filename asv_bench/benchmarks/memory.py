"""How much memory does a gradient take? As the whole process sees it, and exactly.

A step's cache is the part of a step that backpropagation needs. The arrays that a call returns do not count, except the
outputs of full BPTT, which are a part of its cache.
"""

import gc
import math
import tracemalloc
from typing import Any

from .common import CELLS, STRATEGIES, Benchmark, drawn, gradient, longest_segment, step_bytes, truncation

B, D, H, WINDOW = 32, 8, 16, 16
BYTES = B * H * 8  # of a state


class Process(Benchmark):
    """The peak of the whole process, LSTM."""

    params = (["inputs only", *STRATEGIES], [256, 1024, 4096])
    param_names = ("strategy", "T")

    def setup(self, strategy: str, T: int) -> None:
        problem = drawn(CELLS["lstm"], T, B, D, H)
        self.run = (lambda: problem) if strategy == "inputs only" else gradient(strategy, problem, WINDOW)

    def peakmem_gradient(self, strategy: str, T: int) -> None:
        """Peak resident memory; "inputs only" is the offset of Python, NumPy and the inputs."""
        self.run()


class Traced(Benchmark):
    """Exact memory of the arrays, LSTM."""

    params = (list(STRATEGIES), [64, 256, 1024])
    param_names = ("strategy", "T")

    def setup_cache(self) -> dict[tuple[str, int], tuple[int, int]]:
        strategies, lengths = self.params
        return {(s, T): _peak_and_cached_bytes(s, "lstm", T) for s in strategies for T in lengths}

    def track_peak_bytes(self, measured: Any, strategy: str, T: int) -> int:
        """Bytes at the peak of a call, above its start."""
        return measured[strategy, T][0]

    track_peak_bytes.unit = "bytes"

    def track_states_kept(self, measured: Any, strategy: str, T: int) -> float:
        """Steps' caches in memory, over T: full 1, checkpointed about 2/sqrt(T), a segment 1/T of its length."""
        return measured[strategy, T][1] / T / step_bytes(CELLS["lstm"], BYTES)

    track_states_kept.unit = "a step"


class Theory(Benchmark):
    """Memory over the memory that the strategy needs."""

    params = (list(STRATEGIES), list(CELLS))
    param_names = ("strategy", "cell")

    def track_peak_over_theory(self, strategy: str, cell: str) -> float:
        """Memory without checkpoints over the caches of the longest segment and one step more, T = 256: near 1."""
        T, c = 256, CELLS[cell]
        _, cached = _peak_and_cached_bytes(strategy, cell, T)
        if strategy == "checkpointed":
            cached -= math.isqrt(T) * len(c.states) * BYTES
        segments = {"full": T, "checkpointed": math.isqrt(T)}
        longest = segments.get(strategy) or longest_segment(truncation(strategy, WINDOW), T)
        return cached / (1 + longest) / step_bytes(c, BYTES)

    track_peak_over_theory.unit = "ratio"


def _peak_and_cached_bytes(strategy: str, cell: str, T: int) -> tuple[int, int]:
    """The peak of the second call above its start, and the part of it that was cache or scratch."""
    run = gradient(strategy, drawn(CELLS[cell], T, B, D, H), WINDOW)
    run()
    gc.collect()
    tracemalloc.start()
    result = run()
    now, peak = tracemalloc.get_traced_memory()
    del result
    gc.collect()
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    outputs = T * BYTES if strategy == "full" else 0
    return peak, peak - (now - left) + outputs
