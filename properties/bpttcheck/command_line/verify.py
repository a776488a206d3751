"""``bpttcheck verify``."""

import platform
import runpy
import secrets
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bpttcheck.adapters import TargetError, installed, load
from bpttcheck.cases import realise
from bpttcheck.command_line.catalogue import chosen_laws
from bpttcheck.command_line.ending import AT_FAULT, FAILED, INTERRUPTED, PASSED, UNSURE, stop
from bpttcheck.contract import CustomCell, Implementation
from bpttcheck.diagnosis import diagnose
from bpttcheck.failure import write_failure
from bpttcheck.laws import Law
from bpttcheck.report import print_failure, print_verdict, to_json
from bpttcheck.trial import AdapterError
from bpttcheck.verdict import Result, judge, summary
from bpttref import Cell


@click.command()
@click.argument("targets", nargs=-1)
@click.option("--law", "law_ids", multiple=True, metavar="ID", help="Only this law; may be repeated.")
@click.option("--cell", "cells", multiple=True, metavar="NAME", help="Only this cell, e.g. lstm; may be repeated.")
@click.option("--dtype", "dtypes", multiple=True, metavar="NAME", help="Only this dtype; may be repeated.")
@click.option("--examples", type=click.IntRange(1), default=40, show_default=True, help="Cases per cell and dtype.")
@click.option("--seed", type=click.IntRange(0), help="Draw the same cases again.")
@click.option("--derandomize", "seed", flag_value=0, type=int, help="The same cases on every run: --seed 0, for CI.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write every result here.")
@click.option(
    "--failures",
    type=click.Path(path_type=Path),
    default=Path("bpttcheck-failures"),
    show_default=True,
    help="Write each failure here, in a folder of its own.",
)
@click.option("--traceback", is_flag=True, help="Show the traceback where a target or the command is at fault.")
def verify(
    targets: tuple[str, ...],
    law_ids: tuple[str, ...],
    cells: tuple[str, ...],
    dtypes: tuple[str, ...],
    examples: int,
    seed: int | None,
    json_file: Path | None,
    failures: Path,
    traceback: bool,
) -> None:
    """Judge TARGETS: reference, torch, equinox, flax-linen, flax-nnx, haiku, package.module:object or
    path/to/file.py:object.

    Without a target, the built-in reference and every supported library that is installed. Exit status: 0 all laws
    that ran passed; 1 a law failed; 2 a target or the command is at fault; 3 the reference is in doubt; 130
    interrupted.
    """
    try:
        if json_file is not None:
            json_file.touch()  # before the work, not after it
        laws = chosen_laws(law_ids)
        targets = targets or tuple(installed())
        subjects = [load(target) for target in targets]
        _check_selection(subjects, cells, dtypes)
    except (TargetError, click.UsageError, OSError) as error:
        stop(error, traceback)
    seed = secrets.randbelow(2**32) if seed is None else seed
    console = Console()
    results: list[Result] = []
    still_failing = False
    try:
        console.print(f"seed {seed}, {examples} examples per cell and dtype", highlight=False)
        for target in targets:
            still_failing |= _found_again(console, target, laws, failures)
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
        console.print(summary(results), markup=False, highlight=False)
        sys.exit(INTERRUPTED)
    except Exception as error:
        stop(error, traceback)
    _finish(console, results, json_file)
    for target, subject in zip(targets, subjects, strict=True):
        _explain(console, target, subject, results, failures)
    console.print(f"\n{summary(results)}", markup=False, highlight=False)
    statuses = {result.status for result in results}
    if any(not subject.capabilities().gradients for subject in subjects):
        console.print("[bold yellow]A forward-only subject was judged: nothing is said about its gradients.[/]")
    if still_failing:
        statuses.add("failed")
    ordered = (("error", AT_FAULT), ("failed", FAILED), ("unsure", UNSURE))
    sys.exit(next((code for status, code in ordered if status in statuses), PASSED))


def _found_again(console: Console, target: str, laws: tuple[Law, ...], failures: Path) -> bool:
    """Put the failures that are on file for a target to it, before new cases are drawn; whether one still fails."""
    failing = False
    for path in sorted(failures.glob("*/replay.py")) if failures.is_dir() else []:
        with suppress(Exception):  # a file that no longer runs is replay's affair
            written = runpy.run_path(str(path))
            if written["TARGET"] == target and written["LAW"] in {law.id for law in laws}:
                wrong = written["check"]()
                failing |= bool(wrong)
                console.print(f"{path}: {'FAILED still: ' + wrong if wrong else 'FIXED'}", markup=False, soft_wrap=True)
    return failing


def _explain(console: Console, target: str, subject: Implementation, results: list[Result], failures: Path) -> None:
    """For each cell that failed what is wrong, its diagnosis, and a folder for each failure."""
    failed = [r for r in results if r.subject == subject.name and r.status in ("failed", "unsure") and r.case]
    cells = {cell.name: cell for cell in subject.capabilities().cells}
    for name in dict.fromkeys(r.cell for r in failed):
        broken = sorted(
            (r for r in failed if r.cell == name), key=lambda r: r.dtype, reverse=True
        )  # float64 tells faults apart
        diagnosis, file = "", None
        with suppress(AdapterError):
            first = broken[0]
            assert first.case is not None
            problem = realise(first.case, cells[name], first.dtype, subject.capabilities())
            found = diagnose(subject, cells[name], first.dtype, failing=[problem])
            diagnosis = found.sentence() if found else ""
        try:
            file, *_ = [_written(failures, target, subject, r, cells[name]) for r in broken]
        except OSError as error:
            console.print(
                f"the failures could not be written: {error}; --failures DIR names another folder", markup=False
            )
        print_failure(console, broken, diagnosis, file)
    if len(failed) > 1 and failures.is_dir():
        console.print(f"each of {len(failed)} failures has a folder in {failures}", highlight=False)


def _written(failures: Path, target: str, subject: Implementation, result: Result, cell: Cell | CustomCell) -> Path:
    assert result.case is not None
    case, cotangents = realise(result.case, cell, result.dtype, subject.capabilities())
    return write_failure(failures, target, subject, result.law, result.reason, case, cotangents, result.worst)


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
