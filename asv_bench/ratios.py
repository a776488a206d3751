"""The reference's time as a ratio: to its bare matrix products (1 is the limit), and to torch.nn where it is installed.

    python -m pip install ".[torch]" && python asv_bench/ratios.py

Forward and backward with gradients for inputs, initial states and all parameters; one thread, CPU time, the best of
many runs, all contenders interleaved in one process. ``--dtype float32`` measures that.
"""

import os

for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"  # before NumPy loads its BLAS

from typing import TypeAlias

import click
from benchmarks.common import CELLS, best_times, drawn
from benchmarks.contenders import products, pytorch, reference
from rich.console import Console
from rich.table import Table

Sizes: TypeAlias = tuple[int, int, int, int]  # T, B, D, H
SIZES: tuple[Sizes, ...] = ((16, 2, 3, 4), (64, 1, 32, 32), (128, 8, 32, 64), (128, 32, 64, 256), (64, 32, 128, 512))
TOKENS: Sizes = (1024, 16, 64, 256)  # D is the size of the vocabulary


@click.command()
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float64", show_default=True)
@click.option("--seconds", type=float, default=3.0, show_default=True, help="Time spent on each row.")
def main(dtype: str, seconds: float) -> None:
    """Print the table of ratios."""
    table = Table("cell", "T, B, D, H", "ms", "/ products", "/ torch", title=f"{dtype}, one thread")
    for cell in CELLS.values():
        for sizes in (*SIZES, TOKENS):
            problem = drawn(cell, *sizes, dtype, tokens=sizes == TOKENS)
            runs = [reference(problem), products(problem)]
            try:
                runs.append(pytorch(problem))
            except ImportError:
                pass
            ours, bare, *torchs = best_times(runs, seconds)
            row = f"{1e3 * ours:.2f}", f"{ours / bare:.2f}", f"{ours / torchs[0]:.2f}" if torchs else "not installed"
            table.add_row(cell.name, ", ".join(map(str, sizes)), *row)
    Console().print(table)


if __name__ == "__main__":
    main()
