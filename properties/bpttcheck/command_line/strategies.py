"""``bpttcheck strategies``."""

import math
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bpttcheck.command_line import options
from bpttcheck.command_line.ending import stop
from bpttcheck.command_line.terminal import new_console
from bpttcheck.exit_status import INTERRUPTED
from bpttcheck.studies.strategies.findings import findings
from bpttcheck.studies.strategies.pictures import QUALITY, draw_cuts, draw_quality, draw_training, training_panels
from bpttcheck.studies.strategies.report import print_answers, print_cuts, print_tables, write_json
from bpttcheck.studies.strategies.study import Study
from bpttcheck.studies.strategies.text import read_text
from bpttcheck.studies.strategies.training import Model
from bpttcheck.workers import workers
from bpttref import CELLS


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=Path("bpttcheck-strategies"),
              show_default=True, metavar="FOLDER", help="Folder for results; an existing study continues.")  # fmt: skip
@click.option("--cell", type=click.Choice([c.name for c in CELLS]), default="gru-after", show_default=True,
              metavar="NAME", help="The cell that learns, e.g. lstm.")  # fmt: skip
@click.option("--window", "windows", type=click.IntRange(2), multiple=True, default=(4, 16, 32), show_default=True,
              metavar="N", help="Steps of a segment, exact or mean; may be repeated.")  # fmt: skip
@click.option(
    "--length", type=click.IntRange(4), default=64, show_default=True, metavar="N", help="T, steps of a sequence."
)
@click.option(
    "--batch", type=click.IntRange(1), default=16, show_default=True, metavar="N", help="B, sequences of a minibatch."
)
@click.option("--units", type=click.IntRange(1), default=64, show_default=True, metavar="N", help="H, hidden units.")
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    metavar="N",
    help="Minibatches of each training run.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, 1e6, min_open=True, max_open=True),
    metavar="X",
    help="Learning rate; 1 for an RNN, 4 if gated.",
)
@click.option(
    "--seeds", type=click.IntRange(2), default=3, show_default=True, metavar="N", help="Training runs of each kind."
)
@click.option(
    "--little",
    type=click.IntRange(1),
    default=4000,
    show_default=True,
    metavar="N",
    help="Characters of a text to overfit.",
)
@click.option(
    "--minibatches", type=click.IntRange(3), default=24, show_default=True, metavar="N", help="Gradients compared."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="The first seed.")
@click.option("--jobs", "-j", type=click.IntRange(1), default=os.cpu_count(), show_default="the cores",
              metavar="N", help="Number of processes.")  # fmt: skip
@options.scheduler
@click.option("--panel", metavar="NAME", help="Also draw this panel on its own, large enough for a slide.")
def strategies(
    file: Path | None,
    output: Path,
    cell: str,
    windows: tuple[int, ...],
    length: int,
    batch: int,
    units: int,
    steps: int,
    rate: float | None,
    seeds: int,
    little: int,
    minibatches: int,
    seed: int,
    jobs: int,
    scheduler: str | None,
    panel: str | None,
) -> None:
    """Compare full and truncated BPTT on the text in FILE.

    bpttcheck measures the cost and the learning of full, regularly and randomly truncated BPTT. Without a FILE it uses
    Python's own documentation topics. Results go to the folder of --output one by one: after an interruption, run the
    same command to continue.
    """
    console = new_console()
    rate = rate or (1.0 if cell.startswith("rnn") else 4.0)
    study = Study(
        Model(cell, length, batch, units), tuple(sorted(set(windows))), steps, rate, seeds, little, minibatches, seed
    )
    try:
        if not math.isfinite(rate):
            raise ValueError(f"--rate must be a number, not {rate}")
        if max(windows) >= length:
            raise ValueError(f"a window must be shorter than the sequences of {length} steps, not {max(windows)}")
        in_training = [name for row in training_panels(study.windows) for name in dict.fromkeys(row)]
        in_quality = [name for row in QUALITY for name in row]
        if panel not in (None, *in_quality, *in_training):
            raise ValueError(f"there is no panel {panel!r}; there are {', '.join(in_quality + in_training)}")
        text = read_text(file, length)
        if not length < little <= len(text.training):
            raise ValueError(
                f"--little must lie between {length + 1} and the {len(text.training)} characters there are"
            )
        study.claim(output, text)
        console.print(f"{text.name}: {len(text.training)} characters to learn, seeds {seed} to {seed + seeds - 1}")
        print_cuts(console, text, windows[0], seed)
        _draw(console, lambda: draw_cuts(output / "cuts.png", text, windows[0], seed))
        with _progress(console) as show, workers(jobs, scheduler) as (pool, _):
            results = study.results(text, output, pool, show)
        found = findings(study, results)
        print_tables(console, found)
        print_answers(console, found)
        write_json(output / "findings.json", found)
        _draw(console, lambda: draw_quality(output / "quality.png", found))
        _draw(console, lambda: draw_training(output / "training.png", found))
        if panel is not None:
            draw = draw_quality if panel in in_quality else draw_training
            _draw(console, lambda: draw(output / f"{panel}.png", found, panel))
    except KeyboardInterrupt:
        console.print(f"interrupted: what is done is in {output}; the same command goes on", highlight=False)
        sys.exit(INTERRUPTED)
    except BrokenExecutor:
        stop(RuntimeError(f"a worker process died; what is done is in {output}, and the same command goes on"))
    except (OSError, ValueError, ImportError) as error:
        stop(error)


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on a terminal, else a line for each job."""
    if not console.is_terminal:
        yield lambda done, total, name: console.print(f"{done} of {total}: {name}", highlight=False)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("starting")
        yield lambda done, total, name: bar.update(task, completed=done, total=total, description=name)


def _draw(console: Console, draw: Callable[[], Path]) -> None:
    """Draw a picture; without matplotlib the study goes on without pictures."""
    try:
        console.print(f"drawn: {draw()}", highlight=False, soft_wrap=True)
    except ImportError as error:
        console.print(f"not drawn: {error}", markup=False, highlight=False, soft_wrap=True)
