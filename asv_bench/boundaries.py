"""How long `verify --budget` takes to find a mistake beyond an unknown size.

    python asv_bench/boundaries.py --seeds 20 --budget 60 --markdown docs/boundaries.md

Some mistakes show only beyond a size, such as a backward pass that ignores the tail of a block. This page measures how
long a run with `--budget` takes to find them. Each run chooses a cell, one of T, B, D and H, and a size from 17 to 300.
Beyond this size the backward pass is incorrect: the gradient is not carried between stretches of this length, or all
later rows, features or units are left out. Everything else is the reference.

The second table is about a gradient whose error grows with all four sizes together. In cases that are large in only one
or two of them the error is too small to be seen, but its ratio to the tolerance grows from case to case. The table
compares a search for larger ratios with larger and larger cases without a search.
"""

import itertools
import math
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import numpy as np

from bpttcheck import LAWS, Capabilities, Case, Cotangents, Outputs, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.contract import Gradients, Pullback
from bpttcheck.running import searching
from bpttref import CELLS, LSTM, Cell, Regular, trees

DTYPE = "float64"


class Only(Reference):
    """The reference in one cell and dtype, without objectives: so that only the laws of ``vjp`` can find a mistake."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def capabilities(self) -> Capabilities:
        return replace(super().capabilities(), cells=(self._cell,), dtypes=(DTYPE,), objectives=())


class Beyond(Only):
    """An error where a size is larger than ``edge``."""

    def __init__(self, cell: Cell, size: str, edge: int) -> None:
        super().__init__(cell)
        self._size, self._edge = size, edge

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        edge = self._edge
        if case.sizes.get(self._size, 0) <= edge:
            return super().vjp(case)
        if self._size == "T" and len(case.parameters[0]) == 1:
            outputs, _ = super().vjp(case)
            return outputs, super().vjp(replace(case, truncation=Regular(edge)))[1]
        outputs, pullback = super().vjp(case)

        def wrong(cotangents: Cotangents) -> Gradients:
            found = pullback(cotangents)
            if self._size == "B":
                y = cotangents.y
                kept = None if y is None else np.where(np.arange(y.shape[1])[:, None] < edge, y, 0)
                return pullback(cotangents._replace(y=kept))
            if self._size == "D" and found.x is not None:
                found.x[..., edge:] = 0
            for leaf in (leaf for layer in found.parameters or () for leaf in layer):
                name = "W_hx" if self._size == "D" else "W_hh"
                leaf[name][:, edge:] = 0
            return found

        return outputs, wrong


class Growing(Only):
    """Gradients of parameters are off by a part that grows with all four sizes: with 1 / (1/T + 1/B + 1/D + 1/H)."""

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = super().vjp(case)
        part = 1e-16 * (1 / sum(1 / max(1, size) for size in case.sizes.values()) / 2.2) ** 8

        def wrong(cotangents: Cotangents) -> Gradients:
            found = pullback(cotangents)
            return found._replace(parameters=trees.scale(found.parameters, 1 + part))

        return outputs, wrong


def seconds_to_find(subject: Only, seed: int, budget: float) -> float:
    """Until a law fails; infinite if none does."""
    started = time.perf_counter()
    results = judge(subject, LAWS, examples=None, seconds=budget, seed=seed, shrink=False)
    failed = any(result.status in ("failed", "error") for result in results)
    return time.perf_counter() - started if failed else math.inf


def trials(seeds: int, budget: float) -> Iterator[str]:
    """The table of mistakes beyond sizes drawn at random."""
    yield "| size | beyond | cell | seconds to find it |"
    yield "|---|---|---|---|"
    found = 0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        cell, size, edge = (
            CELLS[int(rng.integers(len(CELLS)))],
            "TBDH"[int(rng.integers(4))],
            int(rng.integers(17, 301)),
        )
        took = seconds_to_find(Beyond(cell, size, edge), seed, budget)
        found += math.isfinite(took)
        yield (
            f"| {size} | {edge} | {cell.name} | {took:.1f} |"
            if math.isfinite(took)
            else f"| {size} | {edge} | {cell.name} | not found |"
        )
    yield ""
    yield f"Found: {found} of {seeds} within {budget:g} seconds."


def guided(seeds: int, budget: float) -> Iterator[str]:
    """The table of the value of the search."""
    yield "| seed | seconds with the search | without |"
    yield "|---|---|---|"
    for seed in range(seeds):
        times = []
        for search in (searching.search, _no_search):
            original, searching.search = searching.search, search
            try:
                times.append(seconds_to_find(Growing(LSTM()), seed, budget))
            finally:
                searching.search = original
        said = " | ".join(f"{took:.1f}" if math.isfinite(took) else "not found" for took in times)
        yield f"| {seed} | {said} |"


def _no_search(*arguments: object) -> None:
    """Larger and larger cases are drawn even so."""


@click.command()
@click.option("--seeds", default=20, show_default=True)
@click.option("--budget", default=60.0, show_default=True, help="Seconds for each run.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the page here.")
def main(seeds: int, budget: float, markdown: Path | None) -> None:
    """Run them."""
    lines = []
    for line in itertools.chain(
        trials(seeds, budget), ["", "## The value of the search", ""], guided(max(1, seeds // 6), budget)
    ):
        click.echo(line)
        lines.append(line)
    if markdown:
        command = f"python asv_bench/boundaries.py --seeds {seeds} --budget {budget:g}"
        head = ["# Mistakes beyond a size", "", (__doc__ or "").split("\n\n", 2)[2].strip(), ""]
        markdown.write_text("\n".join([*head, f"    $ {command}", "", *lines, ""]))


if __name__ == "__main__":
    main()
