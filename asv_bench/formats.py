"""The smallest error of a gradient that bpttcheck sees, by format and size.

    python asv_bench/formats.py

For each format a correct LSTM runs on 8 cases of a size: the reference in float64, with its results rounded to the
format. The table shows how large an error of dW_hh must be, relative to its largest number, to fail in a case.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click
import numpy as np

from bpttcheck import LAWS, Capabilities, Case, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.dtypes import WITHIN, rounded
from bpttcheck.running.own import Own
from bpttref import LSTM, Cotangents, Gradients, Outputs, Pullback, trees
from bpttref.arrays import Array

SIZES: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "T=5, B=3, D=4, H=6": {"T": (5,), "B": (3,), "D": (4,), "H": (6,)},
    "T=50, B=8, D=16, H=32": {"T": (50,), "B": (8,), "D": (16,), "H": (32,)},
    "T=100, B=16, D=64, H=128": {"T": (100,), "B": (16,), "D": (64,), "H": (128,)},
}
FORMATS = (*((dtype, dtype) for dtype in ("float64", "float32", "float8_e4m3", "float16", "bfloat16")), *WITHIN)


class Correct(Reference):
    """An implementation that is correct in each format and for all declared operations; it computes in float64."""

    def __init__(self, dtype: str, inside: str) -> None:
        self._dtype, self._inside = dtype, {dtype: inside}

    def capabilities(self) -> Capabilities:
        return Capabilities(cells=(LSTM(),), dtypes=(self._dtype,), inside=self._inside)

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        dtype = "float32" if case.dtype == "float8_e4m3" else case.dtype

        def exact(array: Array) -> Array:
            return array.astype(np.float64)

        def stored(tree: Any) -> Any:
            return trees.each(lambda array: rounded(array, dtype), tree)

        parts = {name: trees.each(exact, getattr(case, name)) for name in ("parameters", "x", "initial")}
        outputs, pullback = super().vjp(replace(case, dtype="float64", **parts))

        def pull(cotangents: Cotangents) -> Gradients:
            return Gradients(*map(stored, pullback(Cotangents(*(trees.each(exact, part) for part in cotangents)))))

        return Outputs(*map(stored, outputs)), pull


def smallest(dtype: str, inside: str, sizes: Mapping[str, tuple[int, ...]]) -> str:
    """The least error of dW_hh that fails in one of some cases, relative to its largest number."""
    laws = [law for law in LAWS if law.id == "pullback-reference"]
    (result,) = judge(Correct(dtype, inside), laws, examples=8, seed=1, own=Own(sizes))
    found = re.search(r"(\S+) in W_hh", result.sees)
    if result.status != "passed" or not found:
        raise click.ClickException(f"{dtype}, {inside} inside: {result.status}, {result.reason}")
    return found[1]


@click.command()
def main() -> None:
    """Print a row for each format."""
    click.echo(f"| numbers and results | operations | {' | '.join(SIZES)} |")
    click.echo(f"|---|---|{'---|' * len(SIZES)}")
    for dtype, inside in FORMATS:
        errors = [smallest(dtype, inside, sizes) for sizes in SIZES.values()]
        operations = "float32" if dtype == "float8_e4m3" else inside  # in float8 there are only the inputs
        click.echo(f"| {dtype} | {operations} | {' | '.join(errors)} |")


if __name__ == "__main__":
    main()
