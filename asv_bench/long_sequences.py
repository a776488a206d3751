"""Long sequences: time per step and memory of truncated BPTT over many steps, and of checkpointed BPTT next to plain.

    python -m pip install . && python asv_bench/long_sequences.py

One thread, CPU time. The memory is the size of the arrays at the peak (tracemalloc, in a run of its own), above the
start of a call. A step's cache is the data that backpropagation needs of a step; a truncated run needs the caches of
its longest segment.
"""

import os

for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"  # before NumPy loads its BLAS

import tracemalloc
from collections.abc import Iterator

import click
import numpy as np
from benchmarks.common import CELLS, Run, best_times, drawn, gradient, longest_segment, step_bytes, truncation
from rich.console import Console
from rich.table import Table

from bpttref import Cell, Evaluated, Random, Regular, streamed_gradients, zero_states
from bpttref.arrays import Array

B, D, H, CHUNK = 4, 8, 16, 64


def streamed(cell: Cell, strategy: Regular | Random, T: int) -> Run:
    """One gradient over ``T`` steps, which come in chunks; the same 64 steps again and again."""
    problem = drawn(cell, CHUNK, B, D, H)
    parameters = ((problem.parameters,),)
    initial = zero_states(cell, parameters, B)

    def chunks() -> Iterator[Array]:
        for start in range(0, T, CHUNK):
            yield problem.x[: min(CHUNK, T - start)]

    def objective(y: Array, start: int) -> Evaluated:
        dy = problem.dy[: len(y)]
        return Evaluated(np.vdot(dy, y), dy, {})

    return lambda: streamed_gradients(cell, parameters, chunks(), objective, initial, strategy)


def peak(run: Run) -> int:
    """Bytes at the peak of a call."""
    tracemalloc.start()
    run()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


@click.command()
@click.option("--steps", default=1_000_000, show_default=True, help="The longest sequence.")
def main(steps: int) -> None:
    """Print the three tables."""
    for table in (truncated(steps), beside_theory(), checkpointed()):
        Console().print(table)


def truncated(steps: int) -> Table:
    """A thousand steps, and the requested number."""
    table = Table("cell", "strategy", "steps", "longest segment", "us a step", "peak, KiB", title="truncated")
    for cell in (CELLS["rnn"], CELLS["lstm"]):
        for strategy in (Regular(64), Random(1 - 1 / 64, seed=1)):
            for T in (1000, steps):
                run = streamed(cell, strategy, T)
                seconds = best_times([run], seconds=1.0)[0]
                kind = type(strategy).__name__.lower()
                row = (
                    f"{T:,}",
                    str(longest_segment(strategy, T)),
                    f"{1e6 * seconds / T:.1f}",
                    f"{peak(run) / 1024:,.0f}",
                )
                table.add_row(cell.name, kind, *row)
    return table


def beside_theory() -> Table:
    """Memory, minus the returned gradients, over the caches of the longest segment and one step more.

    B = 32, D = 64, H = 256 and segments of 64, or of 64 on average.
    """
    table = Table("cell", "regular", "random", title="peak / caches of a segment")
    for cell in CELLS.values():
        problem, ratios = drawn(cell, 512, 32, 64, 256), []
        returned = sum(array.nbytes for array in problem.parameters.values())
        cache = step_bytes(cell, problem.dy[0].nbytes)
        for strategy in ("regular", "random"):
            longest = longest_segment(truncation(strategy, 64), 512)
            run = gradient(strategy, problem, 64)
            run()  # allocations of the first run only do not count
            ratios.append((peak(run) - returned) / cache / (longest + 1))
        table.add_row(cell.name, *(f"{ratio:.2f}" for ratio in ratios))
    return table


def checkpointed() -> Table:
    """Checkpoints next to plain BPTT, without y and dx."""
    table = Table("cell", "time / plain", "peak / plain", title="checkpointed, T = 4096, beside y and dx")
    for cell in CELLS.values():
        problem = drawn(cell, 4096, 16, 32, 128)
        runs = [gradient(strategy, problem, 1) for strategy in ("checkpointed", "full")]
        times, peaks = best_times(runs, seconds=10.0), [peak(run) for run in runs]
        dx, y = problem.x.nbytes, problem.dy.nbytes  # y of the plain run is a part of its tape
        memory = (peaks[0] - dx - y) / (peaks[1] - dx)
        table.add_row(cell.name, f"{times[0] / times[1]:.2f}", f"{100 * memory:.1f} %")
    return table


if __name__ == "__main__":
    main()
