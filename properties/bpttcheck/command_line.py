"""The command ``bpttcheck``: arguments and exit codes, nothing else."""

import platform
import secrets
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bpttcheck.adapters import TargetError, installed, load
from bpttcheck.contract import Implementation
from bpttcheck.faults import FAULTS
from bpttcheck.laws import LAWS, Law
from bpttcheck.report import print_verdict, to_json
from bpttcheck.verdict import Result, judge

PASSED, FAILED, AT_FAULT, INTERRUPTED = 0, 1, 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bpttcheck")
def main() -> None:
    """Is this backpropagation through time right?"""


@main.command()
@click.argument("targets", nargs=-1)
@click.option("--law", "law_ids", multiple=True, metavar="ID", help="Only this law; may be repeated.")
@click.option("--cell", "cells", multiple=True, metavar="NAME", help="Only this cell, e.g. lstm; may be repeated.")
@click.option("--dtype", "dtypes", multiple=True, metavar="NAME", help="Only this dtype; may be repeated.")
@click.option("--examples", type=click.IntRange(1), default=30, show_default=True, help="Cases per cell and dtype.")
@click.option("--seed", type=click.IntRange(0), help="Draw the same cases again.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write every result here.")
@click.option("--traceback", is_flag=True, help="Show the traceback where a target or the command is at fault.")
def verify(
    targets: tuple[str, ...],
    law_ids: tuple[str, ...],
    cells: tuple[str, ...],
    dtypes: tuple[str, ...],
    examples: int,
    seed: int | None,
    json_file: Path | None,
    traceback: bool,
) -> None:
    """Judge TARGETS: reference, torch, package.module:object or path/to/file.py:object.

    Without a target, the built-in reference and every supported library that is installed. Exit status: 0 all laws
    that ran passed; 1 a law failed; 2 a target or the command is at fault; 130 interrupted.
    """
    try:
        if json_file is not None:
            json_file.touch()  # before the work, not after it
        laws = _chosen_laws(law_ids)
        subjects = [load(target) for target in targets or installed()]
        _check_selection(subjects, cells, dtypes)
    except (TargetError, click.UsageError, OSError) as error:
        _stop(error, traceback)
    seed = secrets.randbelow(2**32) if seed is None else seed
    console = Console()
    results: list[Result] = []
    try:
        console.print(f"seed {seed}, {examples} examples per cell and dtype", highlight=False)
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
        ) as progress:
            task = progress.add_task("starting", total=None)

            def show(result: Result) -> None:
                words = f"{result.subject}  {result.cell} {result.dtype}  {result.law}  {result.examples} examples"
                progress.update(task, description=words)

            for subject in subjects:
                for result in judge(
                    subject, laws, cells=cells, dtypes=dtypes, examples=examples, seed=seed, progress=show
                ):
                    results.append(result)
    except KeyboardInterrupt:
        console.print("interrupted: the verdict so far, without the cell and dtype under way")
        _finish(console, results, json_file)
        sys.exit(INTERRUPTED)
    except Exception as error:
        _stop(error, traceback)
    _finish(console, results, json_file)
    statuses = {result.status for result in results}
    if any(not subject.capabilities().gradients for subject in subjects):
        console.print("[bold yellow]A forward-only subject was judged: nothing is said about its gradients.[/]")
    sys.exit(AT_FAULT if "error" in statuses else FAILED if statuses & {"failed"} else PASSED)


@main.command("laws")
@click.argument("law_id", required=False)
def list_laws(law_id: str | None) -> None:
    """List the laws, or explain one."""
    console = Console()
    try:
        chosen = _chosen_laws((law_id,) if law_id else ())
    except click.UsageError as error:
        _stop(error, False)
    for law in chosen:
        console.print(f"[bold]{law.id}[/]  {law.statement}", highlight=False)
        if law_id:
            console.print(f"    {law.equation}\n    source: {law.source}", markup=False, highlight=False)


@main.command("faults")
def list_faults() -> None:
    """List the planted faults; `bpttcheck verify fault:ID` judges one."""
    for fault in FAULTS:
        click.echo(f"{fault.id}\n    {fault.statement} {fault.source}")


def _chosen_laws(ids: tuple[str, ...]) -> tuple[Law, ...]:
    known = {law.id: law for law in LAWS}
    for law_id in ids:
        if law_id not in known:
            raise click.UsageError(f"there is no law {law_id!r}; `bpttcheck laws` lists them")
    return tuple(known[law_id] for law_id in ids) or LAWS


def _check_selection(subjects: list[Implementation], cells: tuple[str, ...], dtypes: tuple[str, ...]) -> None:
    """A selection that matches nothing would judge nothing and look like success."""
    declared = [subject.capabilities() for subject in subjects]
    known_cells = sorted({cell.name for capabilities in declared for cell in capabilities.cells})
    known_dtypes = sorted({dtype for capabilities in declared for dtype in capabilities.dtypes})
    for what, chosen, known in (("cell", cells, known_cells), ("dtype", dtypes, known_dtypes)):
        for name in chosen:
            if name not in known:
                raise click.UsageError(f"no target has the {what} {name!r}; there are {', '.join(known)}")


def _finish(console: Console, results: list[Result], json_file: Path | None) -> None:
    print_verdict(console, results)
    if json_file is not None:
        versions = {"bpttcheck": version("bpttcheck"), "numpy": np.__version__, "python": platform.python_version()}
        json_file.write_text(to_json(results, versions) + "\n")


def _stop(error: Exception, traceback: bool) -> Any:
    """One sentence on standard error and exit status 2."""
    if traceback:
        raise error
    message = error.message if isinstance(error, click.UsageError) else str(error)
    click.echo(f"bpttcheck: {message or type(error).__name__}", err=True)
    sys.exit(AT_FAULT)
