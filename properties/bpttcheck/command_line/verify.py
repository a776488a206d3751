"""``bpttcheck verify``."""

import math
import re
import secrets
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click
from click.core import ParameterSource
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bpttcheck.cases.case_file import CaseFile
from bpttcheck.command_line import completion, options
from bpttcheck.command_line.catalogue import chosen_laws
from bpttcheck.command_line.ending import stop
from bpttcheck.command_line.terminal import new_console
from bpttcheck.contract import LARGEST
from bpttcheck.exit_status import INTERRUPTED
from bpttcheck.explaining.explanation import Explanation, explain
from bpttcheck.explaining.replaying import found_again
from bpttcheck.reporting.files import Reports
from bpttcheck.reporting.text import print_failure, print_tried, print_verdict
from bpttcheck.running.child import Died
from bpttcheck.running.known_failures import read_known_failures
from bpttcheck.running.question import Question
from bpttcheck.running.results import BAD, so_far, summary
from bpttcheck.running.run import Record, Run, unmet
from bpttcheck.running.time_limit import TimeLimit
from bpttcheck.targets import TargetError, installed
from bpttcheck.workers import Workers, workers


@click.command()
@click.argument("targets", nargs=-1, shell_complete=completion.targets)
@options.law
@options.cell
@options.dtype
@click.option("--where-declared", is_flag=True, help="Ignore a cell or dtype that no target has.")
@options.examples
@click.option("--budget", type=options.Seconds(), default=math.inf, metavar="SECONDS",
              help="Continue with larger cases for this time: 90, 10m or 2h; with --examples, stop then.")  # fmt: skip
@options.timeout
@click.option(
    "--in-process", is_flag=True, help="Run the targets in this process, for a debugger; a crash ends the command."
)
@click.option("--sizes", callback=lambda _, __, text: _sizes(text), metavar="T=N[,N]",
              help="Only cases of these sizes, e.g. T=63,64,65,H=128; any of T, B, D, H.")  # fmt: skip
@click.option(
    "--case",
    "case_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Only this case: an .npz file with x and weights, and perhaps initial states, lengths, cotangents.",
)
@click.option("--against", metavar="TARGET", default="", shell_complete=completion.targets,
              help="The target whose numbers are correct, in place of the reference.")  # fmt: skip
@options.seed
@click.option("--derandomize", is_flag=True, help="The same cases on every run: --seed 0, for CI.")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write every result to this file."
)
@click.option(
    "--failures",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("bpttcheck-failures"),
    show_default=True,
    help="Write each failure to its own folder in this one.",
)
@click.option(
    "--junit", "junit_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the verdict as JUnit XML."
)
@options.html
@click.option("--badge", "badge_file", type=click.Path(dir_okay=False, path_type=Path),
              help="Write JSON for a badge of shields.io here.")  # fmt: skip
@options.known_failures
@click.option(
    "--jobs", "-j", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Number of processes."
)
@options.scheduler
@click.option("--verbose", "-v", is_flag=True, help="List each law that was skipped, with the reason.")
@click.option("--quiet", "-q", is_flag=True, help="Print only failures and the closing sentence.")
@click.option("--traceback", is_flag=True, help="Show the traceback if a target or the command has an error.")
def verify(
    targets: tuple[str, ...],
    law_ids: tuple[str, ...],
    cells: tuple[str, ...],
    dtypes: tuple[str, ...],
    where_declared: bool,
    examples: int,
    budget: float,
    timeout: float,
    in_process: bool,
    sizes: dict[str, tuple[int, ...]],
    case_file: Path | None,
    against: str,
    seed: int | None,
    derandomize: bool,
    json_file: Path | None,
    failures: Path,
    junit_file: Path | None,
    html_file: Path | None,
    badge_file: Path | None,
    known_file: Path | None,
    jobs: int,
    scheduler: str | None,
    verbose: bool,
    quiet: bool,
    traceback: bool,
) -> None:
    """Test TARGETS by the laws of correct backpropagation.

    A target is a name of `bpttcheck targets`, package.module:object, path/to/file.py:object or "exec:command". Without
    one, bpttcheck tests the built-in reference and every supported library that is installed. The table
    [tool.bpttcheck] of a pyproject.toml sets the options that the command line leaves out.

    Exit status: 0 all laws that ran passed; 1 a law failed; 2 a target or the command has an error; 3 the reference is
    in doubt; 130 interrupted.
    """
    reports, run = Reports(json_file, junit_file, html_file, badge_file), None
    try:
        reports.prepare()
        if in_process and (jobs > 1 or scheduler):
            raise ValueError("--in-process runs in one process: leave out --jobs and --scheduler")
        asked = Question(
            laws=tuple(law.id for law in chosen_laws(law_ids)),
            cells=cells,
            dtypes=dtypes,
            examples=_examples(examples, budget),
            budget=budget,
            timeout=timeout,
            seed=_seed(seed, derandomize),
            known=tuple(read_known_failures(known_file)),
            sizes=sizes,
            case=CaseFile(case_file.resolve()) if case_file else None,
            against=against,
        )
        chosen = tuple(dict.fromkeys(targets or installed()))
        run = Run(asked, [Record(target) for target in chosen])
        run = Run.of(
            chosen,
            asked,
            where_declared=where_declared,
            in_detail=json_file is not None,
            in_process=in_process,
            raising=traceback,
        )
        cluster = click.get_current_context().with_resource(workers(jobs, scheduler)) if scheduler else None
        reports.begin(run)
    except KeyboardInterrupt:
        _end_early(reports, run)
    except (TargetError, click.UsageError, OSError, ValueError, ImportError) as error:
        stop(error, traceback)
    elsewhere = reports.to_standard_output
    console, aside = new_console(aside=elsewhere), new_console(quiet, aside=elsewhere)
    limit = TimeLimit(budget)
    still_failing = _judge(console, aside, run, failures, jobs, cluster, traceback)
    unwritten = "" if elsewhere else reports.write(run)  # before the first output, which may fail
    print_verdict(console, [result for result in run.results if result.status in BAD or not quiet], verbose)
    if asked.examples is None:
        print_tried(aside, run.results)
    explained = [] if run.interrupted else _explained(console, run, failures, limit)
    if explained or elsewhere:
        unwritten = reports.write(run, explained)
    stale = [] if run.interrupted else unmet(asked, [r for r in run.targets if r.target in run.introduced])
    for entry in stale:
        console.print(f"FAILED the known failure of {entry.law}, {entry}: it matches nothing; remove it", markup=False)
    _close(console, run, unwritten, failing=still_failing or bool(stale))


def _end_early(reports: Reports, run: Run | None) -> NoReturn:
    """End an interrupted run before all targets were loaded; the reports say so, if there is a run."""
    with suppress(OSError):
        if run is not None:
            reports.begin(run)
    click.echo("interrupted", err=True)
    sys.exit(INTERRUPTED)


def _print_found_again(console: Console, aside: Console, run: Run, failures: Path) -> bool:
    """Run the failures on file again; whether one still fails that is not known."""
    failing = False
    for record in run.targets:
        if record.target in run.introduced:
            for again in found_again(run.places[record.target], record.target, failures, run.asked):
                failing |= again.failing
                record.errors += [f"{record.target}, {again.path}: {again.said}"] * again.died
                (console if again.failing else aside).print(f"{again.path}: {again.said}", markup=False, soft_wrap=True)
    return failing


def _judge(
    console: Console, aside: Console, run: Run, failures: Path, jobs: int, cluster: Workers | None, traceback: bool
) -> bool:
    """Run all shares while the terminal shows the progress; returns whether a failure on file still fails."""
    asked, own = run.asked, next(iter(run.introduced.values())).own
    said = f"seed {asked.seed}, {asked.cases}{own}"
    still_failing = False
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    try:
        aside.print(said, markup=False, highlight=False)
        still_failing = _print_found_again(console, aside, run, failures)
        with Progress(*columns, console=aside, transient=True, disable=aside.quiet or not aside.is_terminal) as bar:
            task = bar.add_task("starting", total=None)

            def show(turns: Sequence[object]) -> None:
                bar.update(
                    task,
                    description=escape("; ".join([f"so far {so_far(run.results)}", *map(str, turns)])),
                    refresh=True,
                )

            for _ in run.judge(jobs, show, workers=cluster, raising=traceback):
                pass
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the results so far are written
        run.interrupted = True
        console.print("interrupted: the verdict so far, without what was under way")
    return still_failing


def _explained(console: Console, run: Run, failures: Path, limit: TimeLimit) -> list[Explanation]:
    """The explanation of each cell that fails; it is printed and goes into the records."""
    explained = []
    for record in run.targets:
        if record.target in run.introduced:
            try:
                place = run.places[record.target]
                for explanation in explain(place, record.target, record.results, failures, run.asked, limit):
                    explained.append(explanation)
                    record.diagnoses[explanation.first.cell] = explanation.cause()
                    print_failure(console, explanation, named=len(run.introduced) > 1)
            except Died as death:
                record.errors.append(f"{record.target} could not be explained: {death}")
            except KeyboardInterrupt:
                console.print("\ninterrupted: the verdict is whole, but not all that fails is explained")
                break
    return explained


def _close(console: Console, run: Run, unwritten: str, failing: bool) -> NoReturn:
    """The closing sentences, and the exit status."""
    console.print(f"\n{summary(run.results)}", markup=False, highlight=False)
    if any(not said.gradients for said in run.introduced.values()):
        console.print(
            "[bold yellow]A forward-only implementation was tested: the verdict says nothing about gradients.[/]"
        )
    if failing:
        console.print("Failures on file, or known failures that match nothing, make this run fail: see above.")
    for sentence in [*run.errors, *filter(None, [unwritten])]:
        click.echo(f"bpttcheck: {sentence}", err=True)
    run.end()
    sys.exit(run.exit_status(at_fault=bool(unwritten), failing=failing))


def _examples(examples: int, budget: float) -> int | None:
    """The number of cases; None, for as many as the time allows, if only the time is given."""
    said = click.get_current_context().get_parameter_source("examples") is not ParameterSource.DEFAULT
    return examples if said or math.isinf(budget) else None


def _seed(seed: int | None, derandomize: bool) -> int:
    """The seed: the command line comes before settings. Raises ValueError if it has both options."""
    written = click.get_current_context().get_parameter_source
    if {written("seed"), written("derandomize")} == {ParameterSource.COMMANDLINE}:
        raise ValueError("--derandomize is --seed 0: leave out one of them")
    if derandomize and written("seed") is not ParameterSource.COMMANDLINE:
        return 0
    return secrets.randbelow(2**32) if seed is None else seed


def _sizes(text: str | None) -> dict[str, tuple[int, ...]]:
    """The sizes in ``T=63,64,65,B=4``. Raises click.UsageError."""
    said = re.findall(r"(?:^|,)([TBDH])=([1-9][0-9]*(?:,[1-9][0-9]*)*)(?=,[TBDH]=|$)", text or "")
    if text is not None and (",".join(map("=".join, said)) != text or len(dict(said)) < len(said) or not said):
        raise click.UsageError(
            f"--sizes {text}: write T=70,B=4,D=5,H=6, each once, at least 1, several as T=63,64; some may be left out"
        )
    sizes = {name: tuple(map(int, numbers.split(","))) for name, numbers in said}
    if too_large := [name for name, numbers in sizes.items() if max(numbers) > LARGEST]:
        raise click.UsageError(f"--sizes {text}: {too_large[0]} must be at most {LARGEST}")
    return sizes
