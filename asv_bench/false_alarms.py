"""False alarms: how often a correct implementation is reported as incorrect, over many cases.

    python asv_bench/false_alarms.py reference torch --cases 100000 -j 2 --log false-alarms.jsonl

Of each batch of 512 cases 32 are run as `bpttcheck verify` runs them, on the laws that see every case (shapes,
agreement with the reference) and on one of the others, which alternate. The other 480 are run on laws that see every
case only: up to 32 of them have the same sizes, and one pass of the reference measures their tolerances. Batches are
appended to the log as they are done: interrupt and repeat the command to go on, or read it with --markdown FILE. A case
is drawn from the batch's number: a line of the log can be run again by itself.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias
from zlib import crc32

import click
import numpy as np
from rich.progress import Progress

from bpttcheck import LAWS, CustomCell, Implementation, judge
from bpttcheck.cases.drawing import Draw, draw_case
from bpttcheck.cases.kinks import near_kink
from bpttcheck.cases.realising import realise
from bpttcheck.contract import TwoPhase
from bpttcheck.laws.law import Asked
from bpttcheck.measuring.calls import capabilities_of
from bpttcheck.measuring.scales import FEW
from bpttcheck.measuring.trial import Trial, measure_together
from bpttcheck.running.evaluating import evaluate
from bpttcheck.targets import cell_named, load
from bpttcheck.versions import libraries
from bpttcheck.workers import workers
from bpttref import Full

Batch: TypeAlias = tuple[str, str, str, int]  # target, cell, dtype, number

BATCH, IN_FULL, TOGETHER = 512, 32, 32
LARGEST = 2**21  # numbers in the weights and inputs of cases that are measured together
TURNS = tuple(law if law.every_case else replace(law, family="all") for law in LAWS)
DIRECT = tuple(law for law in LAWS if law.every_case and law.door is TwoPhase and law.over_cases is None)


@dataclass
class Tally:
    """How often each law compared something, the largest error over tolerance that it met, and the false alarms."""

    laws: Counter[str] = field(default_factory=Counter)
    margins: dict[str, float] = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)

    def add(self, law: str, cases: int, margin: float, alarm: str) -> None:
        if cases:
            self.laws[law] += cases
            self.margins[law] = max(margin, self.margins.get(law, 0.0))
        if alarm:
            self.alarms.append(f"{law}: {alarm}")


def versions(subject: Implementation) -> list[str]:
    """The versions of the libraries, and the commit of this repository."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True
    ).stdout.strip()
    numpy = {"numpy": np.__version__}
    return [f"{name} {version}" for name, version in {**numpy, **libraries(subject)}.items()] + [f"commit {commit}"]


def run_batch(target: str, cell: str, dtype: str, number: int) -> dict[str, Any]:
    """One batch: a few cases run on all laws, and the others on the laws that see every case."""
    subject, started, tally = load(target), time.perf_counter(), Tally()
    capabilities = capabilities_of(subject)
    asked = Asked(subject, capabilities, cell_named(subject, cell), dtype, capabilities)
    for r in judge(subject, TURNS, cells=[cell], dtypes=[dtype], examples=IN_FULL, seed=number, shrink=False):
        alarm = r.status not in ("passed", "skipped", "vacuous")
        tally.add(r.law, r.examples, r.margin, f"{r.reason}; {r.case!r}" * alarm)
    cases, laws = IN_FULL, [law for law in DIRECT if law.unmet(asked) is None]
    rng = np.random.default_rng([number, crc32(f"{target} {cell} {dtype}".encode())])
    for k in itertools.count(IN_FULL):
        draw = draw_case(rng, capabilities, k, number)
        trials = measured_together(asked, draw, rng, BATCH - cases)
        for trial, law in itertools.product(trials, laws):
            found = evaluate(law, trial)
            margin = found.worst.margin if found.worst else 0.0
            tally.add(law.id, int(found.proves), margin, f"{found.sentence()}; {draw!r}" * found.failed)
        cases += len(trials)
        if cases == BATCH:
            break
    return {
        "target": target,
        "cell": cell,
        "dtype": dtype,
        "batch": number,
        "cases": cases,
        "seconds": round(time.perf_counter() - started, 2),
        "versions": versions(subject),
        "laws": tally.laws,
        "margins": tally.margins,
        "alarms": tally.alarms,
    }


def measured_together(asked: Asked, draw: Draw, rng: np.random.Generator, most: int) -> list[Trial]:
    """Each a `Trial`: as many cases as may be measured at once, of one size, with the same lengths, resets and tokens.
    Cases of a cell that the reference does not know are measured one by one."""
    size = (draw.T * draw.B + 4 * draw.H) * (draw.D + draw.H)
    seeds = rng.integers(2**32, size=min(most, TOGETHER, max(1, LARGEST // size)))
    problems = [realise(replace(draw, seed=int(seed)), *asked.place) for seed in seeds]
    first, trials = problems[0][0], []
    for case, cotangents in problems:
        x = first.x if draw.tokens else case.x
        same = replace(case, x=x, lengths=first.lengths, resets=first.resets, objective=None, truncation=Full())
        if case.sizes == first.sizes and not near_kink(same):
            trials.append(Trial(asked.subject, asked.capabilities, same, cotangents, replicates=FEW))
    if trials and not isinstance(asked.cell, CustomCell):
        measure_together(trials)
    return trials


def batches(targets: Sequence[str], cases: int) -> Iterator[Batch]:
    """All batches, cell by cell in turn, so that the finished part is spread evenly at any time."""
    declared = {target: capabilities_of(load(target)) for target in targets}
    for number in range(-(-cases // BATCH)):
        for target, capabilities in declared.items():
            for cell, dtype in itertools.product(capabilities.cells, capabilities.dtypes):
                yield target, cell.name, dtype, number


def read(log: Path) -> list[dict[str, Any]]:
    """The batches in a log, without lines that were not written to their end."""
    found = []
    for line in log.read_text().splitlines() if log.exists() else ():
        with suppress(ValueError):
            found.append(json.loads(line))
    return found


def page(done: Sequence[dict[str, Any]], command: str) -> str:
    """Markdown: the settings, a table by target, cell and dtype, and one by law."""
    cases, alarms = sum(b["cases"] for b in done), sum(len(b["alarms"]) for b in done)
    put, versions = sum(sum(b["laws"].values()) for b in done), sorted({said for b in done for said in b["versions"]})
    seconds = sum(b["seconds"] for b in done)
    lines = [
        "# False alarms",
        "",
        (__doc__ or "").split("\n\n")[2],
        "",
        f"{cases:,} cases, {put:,} laws run on them, {alarms} false alarms.",
        "",
        f"Made by `{command}` in {seconds / 3600:.1f} hours of one core, {cases / seconds:.0f} cases a second, "
        f"with {', '.join(versions)}.",
        "",
        "| target | cell | dtype | cases | laws run | largest error / tolerance | false alarms |",
        "|---|---|---|---|---|---|---|",
    ]
    for place, group in _grouped(done):
        worst = max((margin, law) for b in group for law, margin in b["margins"].items())
        numbers = sum(b["cases"] for b in group), sum(sum(b["laws"].values()) for b in group)
        said = f"{numbers[0]:,} | {numbers[1]:,} | {worst[0]:.2f} ({worst[1]}) | {sum(len(b['alarms']) for b in group)}"
        lines.append(f"| {' | '.join(place)} | {said} |")
    lines += ["", "| law | times run | largest error / tolerance |", "|---|---|---|"]
    for law in LAWS:
        times, margins = sum(b["laws"].get(law.id, 0) for b in done), [b["margins"].get(law.id, 0.0) for b in done]
        lines += [f"| {law.id} | {times:,} | {max(margins):.2f} |"] * bool(times)
    return "\n".join(lines) + "\n"


def _grouped(done: Sequence[dict[str, Any]]) -> Iterator[tuple[tuple[str, str, str], list[dict[str, Any]]]]:
    """Batches by target, cell and dtype."""

    def place(batch: dict[str, Any]) -> tuple[str, str, str]:
        return batch["target"], batch["cell"], batch["dtype"]

    for key, group in itertools.groupby(sorted(done, key=place), key=place):
        yield key, list(group)


@click.command()
@click.argument("targets", nargs=-1)
@click.option("--cases", type=click.IntRange(1), default=100_000, show_default=True, help="Per cell and dtype.")
@click.option("--jobs", "-j", type=click.IntRange(1), default=1, show_default=True)
@click.option("--scheduler", metavar="ADDRESS", help="Run on this Dask cluster, whose workers see this folder.")
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), default=Path("false-alarms.jsonl"))
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Write what the log holds here.")
def main(
    targets: tuple[str, ...], cases: int, jobs: int, scheduler: str | None, log: Path, markdown: Path | None
) -> None:
    """Judge right implementations on many cases."""
    known = {(b["target"], b["cell"], b["dtype"], b["batch"]) for b in read(log)}
    todo = [batch for batch in batches(targets, cases) if batch not in known]
    started, ran = time.perf_counter(), 0
    with Progress() as progress, workers(jobs, scheduler) as (pool, _), log.open("a") as lines:
        task = progress.add_task("batches", total=len(todo))
        try:
            for future in as_completed([pool.submit(run_batch, *one) for one in todo]):
                batch = future.result()
                lines.write("\n" + json.dumps(batch))
                lines.flush()
                ran += batch["cases"]
                rate = f"{ran:,} cases, {ran / (time.perf_counter() - started):.0f} a second"
                progress.update(task, advance=1, description=rate)
                for alarm in batch["alarms"]:
                    progress.console.print(f"{batch['target']} {batch['cell']} {batch['dtype']}: {alarm}", markup=False)
        except KeyboardInterrupt:
            sys.exit(130)
    done = read(log)
    if markdown:
        named = " ".join(sorted({b["target"] for b in done}))
        markdown.write_text(page(done, f"python asv_bench/false_alarms.py {named} --cases {cases}"))
    sys.exit(any(b["alarms"] for b in done))


if __name__ == "__main__":
    main()
