"""CPU times of gradients by two versions of the reference, interleaved in one process, as JSON.

    python asv_bench/paired.py BASE HEAD

BASE and HEAD are folders that hold ``bpttref``. Both versions are imported and run alternately on the same problems, at
real sizes in both dtypes and at small ones. Other programs on the machine make some runs slower and none faster, so the
fastest times are the ones to read.
"""

import os

for _library in ("OPENBLAS", "OMP"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"  # before NumPy loads its BLAS

import importlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import click

CELLS, STRATEGIES = ("rnn", "lstm", "gru"), ("full", "regular", "random", "checkpointed")
ROUNDS, WINDOW = 7, 16
Sizes: TypeAlias = tuple[int, int, int, int]  # T, B, D, H
SIZES: tuple[tuple[str, Sizes, str, int], ...] = (  # a name, sizes, a dtype, runs of each version in a round
    ("real", (128, 32, 64, 256), "float64", 1),
    ("real", (128, 32, 64, 256), "float32", 1),
    ("small", (16, 8, 32, 64), "float64", 4),
)


class Times(NamedTuple):
    """Seconds of each run: by the base, by the head, and of the bare matrix products."""

    base: list[float]
    head: list[float]
    products: list[float]


def imported(folder: Path) -> tuple[Any, Any]:
    """`benchmarks.common` and `benchmarks.contenders` on the ``bpttref`` of a folder, all imported anew."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("bpttref", "benchmarks")]:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("benchmarks.common"), importlib.import_module("benchmarks.contenders")
    finally:
        sys.path.remove(str(folder))


def problems(only: str) -> Iterator[tuple[str, str, str, Sizes, str, int]]:
    """The problems whose name ``only`` finds, ``paired.real.over_products('float64', 'full', 'rnn')``: name, strategy,
    cell, sizes, dtype and runs."""
    for size, sizes, dtype, runs in SIZES:
        for cell in CELLS:
            for strategy in STRATEGIES:
                name = f"paired.{size}.over_products({dtype!r}, {strategy!r}, {cell!r})"
                if re.search(only, name):
                    yield name, strategy, cell, sizes, dtype, runs


def measure(base: Path, head: Path, only: str = ".") -> dict[str, Times]:
    """Times by the name of a problem."""
    (before, contenders), (after, _) = imported(base), imported(head)
    found: dict[str, Times] = {}
    turns: list[tuple[Times, int, list[Callable[[], Any]]]] = []
    for name, strategy, cell, sizes, dtype, runs in problems(only):
        drawn = [version.drawn(version.CELLS[cell], *sizes, dtype) for version in (before, after)]
        gradients = [v.gradient(strategy, p, WINDOW) for v, p in zip((before, after), drawn, strict=True)]
        found[name] = Times([], [], [])
        turns.append((found[name], runs, [*gradients, contenders.products(drawn[0])]))
    for k in range(ROUNDS):
        for times, runs, contestants in turns:
            for j in range(runs):
                for which in ((0, 1), (1, 0))[(j + k) % 2]:
                    times[which].append(_seconds(contestants[which]))
            if k < 2:
                times.products.append(_seconds(contestants[2]))
    return found


def _seconds(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


@click.command()
@click.argument("base", type=click.Path(path_type=Path, exists=True))
@click.argument("head", type=click.Path(path_type=Path, exists=True))
@click.option("--only", default=".", help="Problems that match this regular expression.")
def main(base: Path, head: Path, only: str) -> None:
    """Time two versions of the reference."""
    click.echo(json.dumps(measure(base.resolve(), head.resolve(), only)))


if __name__ == "__main__":
    main()
