"""The smallest error that a verdict sees in unknown cells, by array, and its false alarms on correct ones.

    python -m pip install . autograd
    python asv_bench/own_cells.py --seeds 20 --log own-cells.jsonl --markdown docs/own-cells-seen.md

The smallest relative error of an array that fails in a case is the tolerance over the largest number there; the
smallest of a run counts. Some are checked: with an error of three times that size planted in the pullback, the run must
fail. A line of the log is one seed of one cell in one dtype: interrupt, and go on.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from zlib import crc32

import click
import numpy as np
from rich.progress import track

from bpttcheck import LAWS, Capabilities, Outputs, judge
from bpttcheck.cases.blocks import array_of, case_arrays, named, nested, streams
from bpttcheck.cases.drawing import draw_case
from bpttcheck.contract import Case, Cotangents, Gradients, Pullback
from bpttcheck.laws.law import Asked
from bpttcheck.measuring.comparisons import Violation
from bpttcheck.running.evaluating import trial_of

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.own_cells import CELLS

SIZES = {"T": range(1, 6), "B": (1, 2), "D": (2, 3), "H": (1, 2)}
COMPARING = [law for law in LAWS if law.id in ("own-forward-derivative", "pullback-reference")]
NO_ALARM = ("passed", "skipped", "vacuous")
EXAMPLES = 16


def smallest_seen(subject: Any, dtype: str, seed: int) -> dict[str, float]:
    """By array, the smallest relative error that one of the cases of a run would have shown."""
    declared = subject.capabilities()
    asked = Asked(subject, declared, subject.cell, dtype, declared)
    laws = [law for law in COMPARING if law.unmet(asked) is None]
    seen = dict[str, float]()
    of_run = [seed, crc32(f"{subject.cell.name} {dtype}".encode())]  # as `judge` seeds its cases
    for k in range(EXAMPLES):
        trial = trial_of(asked, draw_case(np.random.default_rng([*of_run, k]), declared, k))
        if trial is None or not trial.determined:
            continue
        for law in laws:
            trial.drawing_for(law.id)
            for found in law.check(trial):
                size = float(np.abs(found.expected).max()) if found.expected is not None and found.alive else 0.0
                if size and array_of(found.block) in {array_of(name) for name in case_arrays(trial.case)}:
                    block = array_of(found.block)
                    seen[block] = min(seen.get(block, 1.0), found.tolerance / size)
    return seen


class WithError:
    """A cell with one array of the gradients off by a factor of 1 + size, in one dtype."""

    def __init__(self, right: Any, dtype: str, block: str, size: float) -> None:
        self.name, self._right, self._dtype, self._block, self._size = right.name, right, dtype, block, size

    def capabilities(self) -> Capabilities:
        declared: Capabilities = self._right.capabilities()
        return declared

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = self._right.vjp(case)
        if case.dtype != self._dtype:
            return outputs, pullback

        def wrong(cotangents: Cotangents) -> Gradients:
            gradients = pullback(cotangents)
            factors = {n: 1 + self._size * (array_of(n) == self._block) for n in named(gradients)}
            x = nested({n: a * a.dtype.type(factors[n]) for n, a in streams(gradients.x).items()})
            parameters, initial = (
                ((({n: a * a.dtype.type(factors[before + n]) for n, a in tree[0][0].items()},),))
                for tree, before in ((gradients.parameters, ""), (gradients.initial, "initial."))
            )
            return Gradients(x, parameters, initial)

        return outputs, wrong


def of_seed(name: str, dtype: str, seed: int) -> dict[str, Any]:
    """One line of the log: the errors that a run sees, whether it sees three times that, and its false alarms."""
    seen = smallest_seen(CELLS[name](sizes=SIZES), dtype, seed)
    block = sorted(seen)[seed % len(seen)] if seen else ""
    options: dict[str, Any] = {"dtypes": [dtype], "seed": seed, "shrink": False, "examples": EXAMPLES}
    planted = WithError(CELLS[name](sizes=SIZES), dtype, block, 3 * seen[block]) if seen else None
    found = [r.status for r in judge(planted, COMPARING, **options)] if planted else []
    right = judge(CELLS[name](sizes=SIZES), LAWS, **options)
    return {
        "cell": name,
        "dtype": dtype,
        "seed": seed,
        "seen": seen,
        "planted": block,
        "failed": "failed" in found,
        "alarms": [f"{r.law}: {r.reason}" for r in right if r.status not in NO_ALARM],
    }


def markdown(lines: list[dict[str, Any]], command: str) -> str:
    """The page."""
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        for block, size in line["seen"].items():
            found[line["cell"], block][line["dtype"]].append(size)

    def told(sizes: list[float]) -> str:
        return f"{np.median(sizes):.0e} ({max(sizes):.0e})" if sizes else "-"

    planted = [line["failed"] for line in lines if line["planted"]]
    alarms = sum(len(line["alarms"]) for line in lines)
    seeds = min(Counter((line["cell"], line["dtype"]) for line in lines).values())
    return "\n".join([
        "# How small an error is seen in your own cell",
        "",
        "A case shows a relative error of a gradient if the error is larger than the tolerance divided by the largest"
        " number of the array. For each run we take the smallest such error of all cases. The table has the median of"
        " the runs and, in brackets, the largest. A gradient that is meant to differ from the forward pass is not"
        " compared in float64.",
        "",
        f"Made by `{command}`: cells of `tests/own_cells.py`, {seeds} seeds or more, {EXAMPLES} cases in each dtype."
        f" Of {len(planted)} runs in which one array had three times the error that is seen, {sum(planted)} failed."
        f" {len(lines)} runs of all laws on the correct cells had {alarms} false alarms.",
        "",
        "| cell | gradient of | float32 | float64 |",
        "| --- | --- | --- | --- |",
        *(
            f"| {cell} | `{block}` | {told(sizes['float32'])} | {told(sizes['float64'])} |"
            for (cell, block), sizes in sorted(found.items())
        ),
        "",
    ])  # fmt: skip


@click.command()
@click.option("--seeds", default=20, help="Runs of each cell and dtype.")
@click.option("--log", type=click.Path(path_type=Path), default=Path("own-cells.jsonl"), help="Where runs are kept.")
@click.option("--markdown", "page", type=click.Path(path_type=Path), help="Write the table as a page.")
def main(seeds: int, log: Path, page: Path | None) -> None:
    """What a verdict of an unknown cell is worth."""
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    there = {(line["cell"], line["dtype"], line["seed"]) for line in done}
    asked = [(n, d, s) for s in range(seeds) for n in CELLS for d in CELLS[n](sizes=SIZES).capabilities().dtypes]
    for key in track([key for key in asked if key not in there]):
        try:
            line = of_seed(*key)
        except Violation as violation:
            raise SystemExit(f"{key}: {violation}") from violation
        done.append(line)
        with log.open("a") as file:
            file.write(json.dumps(line) + "\n")
    text = markdown(done, f"python asv_bench/own_cells.py --seeds {seeds}")
    click.echo(text)
    if page:
        page.write_text(text)


if __name__ == "__main__":
    main()
