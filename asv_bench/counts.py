"""The exact work of a step of the reference in this checkout: a table, the same on every run.

python -m pip install . && python asv_bench/counts.py --size real
"""

import os

for _library in ("OPENBLAS", "OMP"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"  # before NumPy loads its BLAS

import click
from benchmarks.work import ALL_CELLS, ALL_STRATEGIES, SIZES, Work, work
from rich.console import Console
from rich.table import Table


@click.command()
@click.option("--size", type=click.Choice(list(SIZES)), default="real", show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float64", show_default=True)
@click.option("--cell", "cells", type=click.Choice(list(ALL_CELLS)), multiple=True, help="Default: all.")
@click.option("--strategy", "strategies", type=click.Choice(ALL_STRATEGIES), multiple=True, help="Default: all.")
def main(size: str, dtype: str, cells: tuple[str, ...], strategies: tuple[str, ...]) -> None:
    """Print what a step costs, forward and backward."""
    table = Table("cell", "strategy", *(name.replace("_", "-") for name in Work._fields), title=f"{dtype}, {size}")
    for cell in cells or ALL_CELLS:
        for strategy in strategies or ALL_STRATEGIES:
            counts = work(strategy, ALL_CELLS[cell], size, dtype)
            table.add_row(cell, strategy, *(f"{count:,.1f}" for count in counts))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
