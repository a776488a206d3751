"""False alarms: how often a right implementation is said to be wrong, over many cases.

    python asv_bench/false_alarms.py reference torch --cases 100000 -j 2 --log false-alarms.jsonl

Each case is put to the laws that see every case (shapes, agreement with the reference), and to one of the others,
which take turns. Batches are appended to the log as they are done: interrupt and repeat the command to go on, or read
it with --markdown FILE. A case is drawn from the batch's number: a line of the log can be run again by itself.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress

from bpttcheck import LAWS, judge
from bpttcheck.targets import load

BATCH = 500  # cases; a batch is seeded by its number
TURNS = tuple(law if law.every_case else replace(law, family="all") for law in LAWS)


def run_batch(target: str, cell: str, dtype: str, number: int) -> dict[str, Any]:
    """One batch: how often each law compared something, the largest margin, and what failed."""
    results = list(judge(load(target), TURNS, cells=[cell], dtypes=[dtype], examples=BATCH, seed=number, shrink=False))
    largest = max(results, key=lambda result: result.margin)
    return {
        "target": target,
        "cell": cell,
        "dtype": dtype,
        "batch": number,
        "cases": BATCH,
        "laws": {result.law: result.examples for result in results if result.examples},
        "margin": largest.margin,
        "law": largest.law,
        "alarms": [
            f"{r.law}: {r.reason}; {r.case!r}" for r in results if r.status not in ("passed", "skipped", "vacuous")
        ],
    }


def batches(targets: Sequence[str], cases: int) -> Iterator[tuple[str, str, str, int]]:
    """All batches, cell by cell in turn, so that what is done at any time is spread evenly."""
    for number in range(-(-cases // BATCH)):
        for target in targets:
            declared = load(target).capabilities()
            for cell in declared.cells:
                for dtype in declared.dtypes:
                    yield target, cell.name, dtype, number


def read(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def table(done: Sequence[dict[str, Any]], command: str) -> str:
    """Markdown: a line per target, cell and dtype."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for batch in done:
        groups[batch["target"], batch["cell"], batch["dtype"]].append(batch)
    lines = ["| target | cell | dtype | cases | laws put | largest error / tolerance | false alarms |"]
    lines.append("|---|---|---|---|---|---|---|")
    for (target, cell, dtype), group in sorted(groups.items()):
        cases, alarms = (sum(n) for n in zip(*((b["cases"], len(b["alarms"])) for b in group), strict=True))
        put = sum(sum(b["laws"].values()) for b in group)
        worst = max(group, key=lambda b: b["margin"])
        said = f"{worst['margin']:.2f} ({worst['law']})"
        lines.append(f"| {target} | {cell} | {dtype} | {cases:,} | {put:,} | {said} | {alarms} |")
    total = [
        sum(b["cases"] for b in done),
        sum(sum(b["laws"].values()) for b in done),
        sum(len(b["alarms"]) for b in done),
    ]
    said = f"{total[0]:,} cases, {total[1]:,} laws put to them, {total[2]} false alarms. Made by `{command}`."
    return "\n".join(["# False alarms", "", (__doc__ or "").split("\n\n")[2], "", said, "", *lines]) + "\n"


@click.command()
@click.argument("targets", nargs=-1)
@click.option("--cases", type=click.IntRange(1), default=100_000, show_default=True, help="Per cell and dtype.")
@click.option("--jobs", "-j", type=click.IntRange(1), default=1, show_default=True)
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), default=Path("false-alarms.jsonl"))
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Write what the log holds here.")
def main(targets: tuple[str, ...], cases: int, jobs: int, log: Path, markdown: Path | None) -> None:
    """Judge right implementations on many cases."""
    known = {(b["target"], b["cell"], b["dtype"], b["batch"]) for b in read(log)}
    todo = [batch for batch in batches(targets, cases) if batch not in known]
    with Progress() as progress, ProcessPoolExecutor(jobs) as pool, log.open("a") as lines:
        task = progress.add_task("batches", total=len(todo))
        try:
            for future in as_completed([pool.submit(run_batch, *batch) for batch in todo]):
                done = future.result()
                lines.write(json.dumps(done) + "\n")
                lines.flush()
                progress.advance(task)
                for alarm in done["alarms"]:
                    progress.console.print(f"{done['target']} {done['cell']} {done['dtype']}: {alarm}", markup=False)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            sys.exit(130)
    done = read(log)
    if markdown:
        versions = {
            name: version(name) for name in ("numpy", "torch") if any(b["target"] in (name, "reference") for b in done)
        }
        command = f"python asv_bench/false_alarms.py {' '.join(sorted({b['target'] for b in done}))} --cases {cases}"
        markdown.write_text(table(done, command) + "\n" + ", ".join(f"{n} {v}" for n, v in versions.items()) + ".\n")
    sys.exit(any(b["alarms"] for b in done))


if __name__ == "__main__":
    main()
