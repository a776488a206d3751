"""``bpttcheck remedies``."""

import os
import secrets
import sys
from concurrent.futures import BrokenExecutor
from pathlib import Path

import click
from rich.progress import Progress

from bpttcheck.command_line import completion, options
from bpttcheck.command_line.ending import stop
from bpttcheck.command_line.terminal import new_console
from bpttcheck.exit_status import INTERRUPTED
from bpttcheck.misspelt import did_you_mean
from bpttcheck.reporting.files import check, write
from bpttcheck.studies.pictures import new_figure
from bpttcheck.studies.remedies import REMEDIES, Run, measure
from bpttcheck.studies.remedies_report import PANELS, draw_remedies, print_remedies, to_json
from bpttcheck.workers import workers

_File = click.Path(dir_okay=False, path_type=Path)


@click.command()
@options.several("--remedy", "names", "NAME", completion.among(remedy.name for remedy in REMEDIES), "remedy")
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, metavar="N", help="Networks per remedy.")
@click.option(
    "--steps", type=click.IntRange(1), default=200, show_default=True, metavar="N", help="Steps of gradient descent."
)
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Generate the same problem and networks again.")
@click.option("--jobs", "-j", type=click.IntRange(1), default=os.cpu_count(), show_default="the cores",
              metavar="N", help="Number of processes.")  # fmt: skip
@click.option("--json", "json_file", type=_File, help="Write every run here.")
@click.option("--png", type=_File, help="Draw the learning curves here; needs matplotlib.")
@click.option("--svg", type=_File, help="Draw the learning curves here; needs matplotlib.")
@options.panel(*PANELS)
def remedies(
    names: tuple[str, ...],
    seeds: int,
    steps: int,
    seed: int | None,
    jobs: int,
    json_file: Path | None,
    png: Path | None,
    svg: Path | None,
    panel: str | None,
) -> None:
    """Measure remedies for gradients that explode.

    Clipping, initialisations, gates and truncation, all on one problem.
    """
    known = [remedy.name for remedy in REMEDIES]
    pictures = [file for file in (png, svg) if file is not None]
    try:
        for name in names:
            if name not in known:
                near = did_you_mean(name, known)
                raise click.UsageError(f"there is no remedy {name!r}; there are {', '.join(known)}{near}")
        if pictures:
            new_figure(1, 1)
        check(json=json_file, png=png, svg=svg)
    except (click.UsageError, OSError, ValueError, ImportError) as error:
        stop(error)
    seed = secrets.randbelow(2**32) if seed is None else seed
    names = names or tuple(known)
    console = new_console()
    console.print(f"seed {seed}, {seeds} networks per remedy, {steps} steps", highlight=False)
    runs: list[Run] = []
    interrupted = False
    try:
        with (
            Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
            workers(min(jobs, len(names) * seeds)) as (pool, _),
        ):
            task = progress.add_task("starting", total=len(names) * seeds)
            for run in measure(names, seed, seeds, steps, pool):
                runs.append(run)
                progress.update(task, advance=1, description=f"{run.remedy}, seed {run.number}")
    except BrokenExecutor:
        stop(RuntimeError("a worker process died; the same command with --seed and fewer --jobs may go through"))
    except KeyboardInterrupt:
        interrupted = True
        console.print(f"interrupted: {len(runs)} of {len(names) * seeds} runs are done", highlight=False)
    print_remedies(console, runs)
    if json_file is not None:
        write(json_file, to_json(runs, {"seed": seed, "seeds": seeds, "steps": steps}) + "\n")
    if pictures:
        draw_remedies(pictures, runs, panel)
    sys.exit(INTERRUPTED if interrupted else 0)
