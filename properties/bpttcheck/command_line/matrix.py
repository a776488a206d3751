"""``bpttcheck matrix``."""

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from bpttcheck.command_line import completion, options
from bpttcheck.command_line.catalogue import chosen_laws
from bpttcheck.command_line.ending import stop
from bpttcheck.command_line.terminal import new_console
from bpttcheck.dtypes import FORMATS
from bpttcheck.exit_status import INTERRUPTED, exit_status
from bpttcheck.misspelt import did_you_mean
from bpttcheck.reporting.files import check, write
from bpttcheck.reporting.matrix.page import to_html
from bpttcheck.reporting.matrix.picture import draw_matrix
from bpttcheck.reporting.matrix.processes import Work, judge
from bpttcheck.reporting.matrix.table import print_matrix
from bpttcheck.reporting.page import blank_page
from bpttcheck.reporting.record import from_json
from bpttcheck.running.known_failures import read_known_failures
from bpttcheck.running.question import Question
from bpttcheck.running.results import summary
from bpttcheck.running.run import Record, Run, unmet
from bpttcheck.studies.pictures import new_figure
from bpttcheck.targets import installed
from bpttref import CELLS


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGET]...", shell_complete=completion.targets)
@options.html
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Draw the picture here; needs matplotlib.")
@options.law
@options.cell
@options.dtype
@options.examples
@options.seed
@options.known_failures
@click.option("--jobs", "-j", type=click.IntRange(1), default=1, show_default=True, metavar="N",
              help="Targets tested at the same time.")  # fmt: skip
@options.scheduler
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=3600, show_default=True,
              metavar="SECONDS", help="Stop testing a target after this time.")  # fmt: skip
def matrix(
    targets: tuple[str, ...],
    html_file: Path | None,
    png: Path | None,
    law_ids: tuple[str, ...],
    cells: tuple[str, ...],
    dtypes: tuple[str, ...],
    examples: int,
    seed: int | None,
    known_file: Path | None,
    jobs: int,
    scheduler: str | None,
    timeout: float,
) -> None:
    """Test each TARGET in its own process, and show all side by side.

    A TARGET is a target of `bpttcheck verify`, or a file NAME.json that `bpttcheck verify --json` wrote, perhaps on
    another machine. Without one: all built-in targets whose library is installed.

    Exit status: 0 no law failed, except for known failures; 1 a law failed, or a known failure matches nothing; 2 a
    target or the command has an error; 3 the reference is in doubt; 130 interrupted.
    """
    chosen = list(dict.fromkeys(targets or installed()))
    files = [target for target in chosen if target.endswith(".json")]
    try:
        asked = Question(
            laws=tuple(law.id for law in chosen_laws(law_ids)),
            cells=cells,
            dtypes=dtypes,
            examples=examples,
            seed=secrets.randbelow(2**32) if seed is None else seed,
            known=tuple(read_known_failures(known_file)),
        )
        runs = {file: _read(Path(file)) for file in files}
        if html_file is not None:
            blank_page("matrix/matrix")
        if png is not None:
            new_figure(1, 1)
        check(html=html_file, png=png)
    except (click.UsageError, OSError, ValueError, ImportError) as error:
        stop(error)
    to_judge = [target for target in chosen if target not in files]
    if html_file is not None:
        write(html_file, to_html([Run(asked, [Record(target, errors=["the run did not end"])]) for target in chosen]))
    console = new_console()
    interrupted = _judge(console, to_judge, Work(asked, known_file, timeout, scheduler), jobs, runs)
    in_order = [runs[target] for target in chosen]
    records = [record for run in in_order for record in run.targets]
    print_matrix(console, in_order)
    if html_file is not None:
        write(html_file, to_html(in_order))
    if png is not None:
        draw_matrix(png, in_order)
    if interrupted:
        sys.exit(INTERRUPTED)
    troubled = any(record.errors for record in records)
    if not troubled:
        _check_selection(records, cells, dtypes)
    stale = [] if troubled else unmet(asked, records)
    for entry in stale:
        console.print(f"FAILED the known failure of {entry.law}, {entry}: it matches nothing; remove it", markup=False)
    troubled |= any(record.unproved for record in records)
    statuses = {result.status for record in records for result in record.results}
    sys.exit(exit_status(statuses, at_fault=troubled, failing=bool(stale)))


def _judge(console: Console, targets: Sequence[str], work: Work, jobs: int, runs: dict[str, Run]) -> bool:
    """Test targets, and add their runs to the others; returns whether this was interrupted."""

    def finished(run: Run) -> None:
        (record,) = run.targets
        runs[record.target] = run
        said = " ".join([summary(record.results)] * bool(record.results) + record.errors)
        console.print(f"{record.target}: {said or 'nothing ran'}", markup=False, highlight=False)

    try:
        said = f"{len(targets)} targets, seed {work.asked.seed}, {work.asked.cases}"
        console.print(said, highlight=False)
        judge(targets, work, jobs, finished)
    except KeyboardInterrupt:
        console.print("interrupted: the matrix so far")
        for target in targets:
            runs.setdefault(target, Run(work.asked, [Record(target, errors=["interrupted before its turn"])]))
        return True
    return False


def _read(file: Path) -> Run:
    """The run in a file. Raises ValueError, with a sentence that names it, and OSError."""
    try:
        run = from_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no verdict: {error}") from error
    if run.interrupted:
        for record in run.targets:
            record.errors.append("interrupted: not all of it was tested")
    return run


def _check_selection(records: Sequence[Record], cells: tuple[str, ...], dtypes: tuple[str, ...]) -> None:
    """A selection that matches nothing has tested nothing, which must not look like success."""
    results = [result for record in records for result in record.results]
    for what, chosen, met, usual in (
        ("cell", cells, {r.cell for r in results}, [cell.name for cell in CELLS]),
        ("dtype", dtypes, {r.dtype for r in results}, FORMATS),
    ):
        for name in chosen:
            if name not in met:
                stop(click.UsageError(f"no target has the {what} {name!r}{did_you_mean(name, usual)}"))
