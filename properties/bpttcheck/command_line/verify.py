"""``bpttcheck verify``."""

import math
import re
import runpy
import secrets
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bpttcheck.adapters import TargetError, cell_named, installed, judged_together, load
from bpttcheck.case_file import CaseFile
from bpttcheck.command_line import completion, options
from bpttcheck.command_line.catalogue import chosen_laws
from bpttcheck.command_line.ending import INTERRUPTED, exit_status, stop
from bpttcheck.command_line.terminal import new_console
from bpttcheck.contract import Implementation, require
from bpttcheck.explanation import Explanation, explain
from bpttcheck.junit import to_junit
from bpttcheck.known_failures import KnownFailure, read_known_failures, settle
from bpttcheck.laws import Law
from bpttcheck.page import blank_page, to_html
from bpttcheck.parallel import Outcome, Question, Share, judge_here, judge_in_processes, shares
from bpttcheck.record import Record, Run, to_json
from bpttcheck.report import print_failure, print_verdict
from bpttcheck.verdict import BAD, Own, Result, summary
from bpttcheck.versions import libraries


@dataclass(frozen=True)
class Reports:
    """The files that a verdict is written to; None where one was not asked for."""

    json_file: Path | None
    junit_file: Path | None
    html_file: Path | None

    def prepare(self) -> None:
        """Find out before the work whether it can be written.

        Raises OSError, ValueError if two are one file, and ImportError without Jinja.
        """
        files = [file.resolve() for file in (self.json_file, self.junit_file, self.html_file) if file is not None]
        if len(set(files)) < len(files):
            raise ValueError("--json, --junit and --html ask for the same file: give each a name of its own")
        for file in files:
            file.open("a").close()
        if self.html_file is not None:
            blank_page("verdict")

    def write(self, run: Run, explained: Sequence[Explanation] = ()) -> str:
        """All that is known by now; returns why that could not be done, or nothing."""
        try:
            if self.junit_file is not None:
                self.junit_file.write_text(to_junit(run.results), encoding="utf-8")
            if self.json_file is not None:
                self.json_file.write_text(to_json(run) + "\n", encoding="utf-8")
            if self.html_file is not None:
                self.html_file.write_text(to_html(run, explained), encoding="utf-8")
        except OSError as error:
            return f"the verdict could not be written: {error}"
        return ""


@click.command()
@click.argument("targets", nargs=-1, shell_complete=completion.targets)
@options.law
@options.cell
@options.dtype
@click.option("--where-declared", is_flag=True, help="Leave out a cell or dtype that no target has, with no complaint.")
@options.examples
@click.option("--budget", type=click.FloatRange(0, min_open=True), default=math.inf, metavar="SECONDS",
              help="Stop drawing cases after so long, shared by all cells.")  # fmt: skip
@click.option("--sizes", callback=lambda _, __, text: _sizes(text), metavar="T=N,B=N,D=N,H=N",
              help="Cases of these sizes alone; any may be left out.")  # fmt: skip
@click.option(
    "--case",
    "case_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="This case alone: an .npz file with x and weights, and perhaps initial states, lengths, cotangents.",
)
@click.option("--against", metavar="TARGET", default="", shell_complete=completion.targets,
              help="The target whose numbers are right, in place of the reference.")  # fmt: skip
@options.seed
@click.option("--derandomize", "seed", flag_value=0, type=int, help="The same cases on every run: --seed 0, for CI.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write every result here.")
@click.option(
    "--failures",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("bpttcheck-failures"),
    show_default=True,
    help="Write each failure here, in a folder of its own.",
)
@click.option(
    "--junit", "junit_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the same as JUnit XML."
)
@options.html
@options.known_failures
@click.option("--jobs", "-j", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Processes.")
@click.option("--quiet", "-q", is_flag=True, help="Print failures and the closing sentence alone.")
@click.option("--traceback", is_flag=True, help="Show the traceback where a target or the command is at fault.")
def verify(
    targets: tuple[str, ...],
    law_ids: tuple[str, ...],
    cells: tuple[str, ...],
    dtypes: tuple[str, ...],
    where_declared: bool,
    examples: int,
    budget: float,
    sizes: dict[str, int],
    case_file: Path | None,
    against: str,
    seed: int | None,
    json_file: Path | None,
    failures: Path,
    junit_file: Path | None,
    html_file: Path | None,
    known_file: Path | None,
    jobs: int,
    quiet: bool,
    traceback: bool,
) -> None:
    """Judge TARGETS by the laws of right backpropagation.

    A target is a name of `bpttcheck targets`, package.module:object, path/to/file.py:object or "exec:command". Without
    one, the built-in reference and every supported library that is installed are judged. The table [tool.bpttcheck] of
    a pyproject.toml sets what the command line does not.

    Exit status: 0 all laws that ran passed; 1 a law failed; 2 a target or the command is at fault; 3 the reference is
    in doubt; 130 interrupted.
    """
    targets = targets or judged_together(installed())
    reports = Reports(json_file, junit_file, html_file)
    try:
        reports.prepare()
        known = read_known_failures(known_file)
        laws = chosen_laws(law_ids)
        subjects, records = _loaded(targets, json_file is not None, traceback)
        if not where_declared:
            _check_selection(list(subjects.values()), cells, dtypes)
        case = CaseFile(case_file.resolve()) if case_file else None
        own = Own(sizes, case, load(against) if against else None)
        todo = _fitting(shares(subjects, cells, dtypes), subjects, own)
    except (TargetError, click.UsageError, OSError, ValueError, ImportError) as error:
        stop(error, traceback)
    run = Run(secrets.randbelow(2**32) if seed is None else seed, examples, list(records.values()))
    console, aside = new_console(), new_console(quiet)
    asked = Question(tuple(law.id for law in laws), examples, budget, run.seed, tuple(known), sizes, case, against)
    found: dict[Share, list[Result]] = {}
    still_failing = False
    try:
        aside.print(f"seed {run.seed}, {examples} examples per cell and dtype{own}", markup=False, highlight=False)
        for target in subjects:
            still_failing |= _found_again(console, aside, target, against, laws, failures, known)
        for share, outcome in _judged(aside, todo, subjects, asked, jobs):
            if isinstance(outcome, list):
                found[share] = [replace(result, subject=records[share.target].name) for result in outcome]
            elif traceback:
                raise outcome
            else:
                sentence = f"{share.target}, {share.cell} {share.dtype}: {outcome or type(outcome).__name__}"
                records[share.target].errors.append(sentence)
    except KeyboardInterrupt:
        run.interrupted = True
        console.print("interrupted: the verdict so far, without what was under way")
    met = {entry for share, its in found.items() for entry in settle(its, share.target, known)}
    for target, record in records.items():
        record.results = [result for share in todo if share.target == target for result in found.get(share, [])]
    print_verdict(console, [result for result in run.results if result.status in BAD or not quiet])
    unwritten = reports.write(run)  # also for the case that what follows is interrupted
    stale = []
    if not run.interrupted:
        if explained := _explained(console, records, subjects, failures, own, against):
            unwritten = reports.write(run, explained)
        stale = [entry for entry in known if entry not in met and entry.concerns(subjects, laws, cells, dtypes)]
    for entry in stale:
        console.print(f"FAILED the known failure of {entry.law}, {entry}: it matches nothing; remove it", markup=False)
    forward_only = any(not subject.capabilities().gradients for subject in subjects.values())
    _close(console, run, unwritten, forward_only, failing=still_failing or bool(stale))


def _explained(
    console: Console,
    records: dict[str, Record],
    subjects: dict[str, Implementation],
    failures: Path,
    own: Own,
    against: str,
) -> list[Explanation]:
    """What is to be said of each cell that fails, which is printed and goes into the records."""
    explained = []
    for target, subject in subjects.items():
        for explanation in explain(target, subject, records[target].results, failures, own, against):
            explained.append(explanation)
            records[target].diagnoses[explanation.first.cell] = explanation.cause()
            print_failure(console, explanation, named=len(subjects) > 1)
    return explained


def _close(console: Console, run: Run, unwritten: str, forward_only: bool, failing: bool) -> NoReturn:
    """The closing sentences, and the exit status."""
    console.print(f"\n{summary(run.results)}", markup=False, highlight=False)
    if forward_only:
        console.print("[bold yellow]A forward-only subject was judged: nothing is said about its gradients.[/]")
    if failing:
        console.print("Failures on file, or known failures that match nothing, make this run fail: see above.")
    spoiled = [sentence for record in run.targets for sentence in record.errors]
    spoiled += [unwritten] if unwritten else []
    if run.results and all(result.status == "skipped" for result in run.results):
        spoiled.append("nothing was judged: what was selected asks for what is not declared")
    for sentence in spoiled:
        click.echo(f"bpttcheck: {sentence}", err=True)
    if run.interrupted:
        sys.exit(INTERRUPTED)
    statuses = {result.status for result in run.results}
    sys.exit(exit_status(statuses, at_fault=bool(spoiled), failing=failing))


def _judged(
    console: Console, todo: list[Share], subjects: dict[str, Implementation], asked: Question, jobs: int
) -> Iterator[tuple[Share, Outcome]]:
    """All shares with their results, or with what went wrong, while the terminal shows where it is."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=console.quiet or not console.is_terminal) as bar:
        task = bar.add_task("starting", total=None)

        def show(result: Result) -> None:
            words = f"{result.subject}  {result.cell} {result.dtype}  {result.law}  {result.examples} examples"
            bar.update(task, description=words)

        if jobs == 1:
            yield from judge_here(todo, subjects, asked, show)
            return
        for share, outcome in judge_in_processes(todo, asked, jobs):
            bar.update(task, description=f"{share.target}  {share.cell} {share.dtype} is judged")
            yield share, outcome


def _loaded(
    targets: tuple[str, ...], in_detail: bool, traceback: bool
) -> tuple[dict[str, Implementation], dict[str, Record]]:
    """The targets that can be loaded, and a record of each, by a name that no other has.

    in_detail: whether the records name the libraries, which takes a moment. Raises TargetError if there is none to
    judge.
    """
    subjects: dict[str, Implementation] = {}
    records: dict[str, Record] = {}
    errors: list[TargetError] = []
    for target in targets:
        try:
            subject = subjects[target] = load(target)
            used = libraries(subject) if in_detail else {}
            records[target] = Record(target, subject.name, used, subject.capabilities().conventions)
        except TargetError as error:
            if traceback:
                raise
            errors.append(error)
            records[target] = Record(target, errors=[str(error)])
    if not subjects:
        raise errors[0]
    named = Counter(subject.name for subject in subjects.values())
    for target, subject in subjects.items():
        if named[subject.name] > 1:  # two files that were begun from one template, say
            records[target].name = f"{subject.name} ({target})"
    return subjects, records


def _found_again(
    console: Console,
    aside: Console,
    target: str,
    against: str,
    laws: tuple[Law, ...],
    failures: Path,
    known: list[KnownFailure],
) -> bool:
    """Put the failures that are on file for a target to it, before new cases are drawn; whether one still fails."""
    failing = False
    for path in sorted(failures.glob("*/replay.py")) if failures.is_dir() else []:
        with suppress(Exception):  # a file that no longer runs is replay's affair
            written = runpy.run_path(str(path))
            if (written["TARGET"], written.get("AGAINST", "")) != (target, against):
                continue
            if written["LAW"] in {law.id for law in laws}:
                wrong, place = written["check"](), (target, written["case"].cell.name, written["case"].dtype)
                expected = any(entry.covers(*place, written["LAW"]) for entry in known)
                failing |= bool(wrong) and not expected
                said = f"{'known' if expected else 'FAILED still'}: {wrong}" if wrong else "FIXED"
                (console if wrong and not expected else aside).print(f"{path}: {said}", markup=False, soft_wrap=True)
    return failing


def _sizes(text: str | None) -> dict[str, int]:
    """What ``T=70,B=4`` says. Raises click.UsageError."""
    pairs = re.findall(r"(?:^|,)([TBDH])=([1-9][0-9]*)(?=,|$)", text or "")
    said_once = len(dict(pairs)) == len(pairs) > 0
    if text is not None and not (said_once and ",".join(f"{name}={size}" for name, size in pairs) == text):
        raise click.UsageError(f"--sizes {text}: write T=70,B=4,D=5,H=6, each once, at least 1; some may be left out")
    return {name: int(size) for name, size in pairs}


def _fitting(todo: list[Share], subjects: dict[str, Implementation], own: Own) -> list[Share]:
    """The shares for which the user's own case and the implementation that is right will do.

    Raises ValueError, with a sentence, if there is none.
    """
    if own.sizes and own.case:
        raise ValueError("--case has sizes of its own: leave out --sizes")
    if against := own.against:
        require(against, "be what others are judged against", inputs=(), outputs=(), gradients=())
    fitting, reasons = [], []
    for share in todo:
        subject = subjects[share.target]
        try:
            capabilities = subject.capabilities().at(own.sizes)
            if own.case is not None:
                own.case.holds(cell_named(subject, share.cell), share.dtype, capabilities)
            if against and share.cell not in {cell.name for cell in against.capabilities().cells}:
                raise ValueError(f"{against.name}, which is to be right, has no cell {share.cell}")
            fitting.append(share)
        except ValueError as error:
            reasons.append(error)
    if reasons and not fitting:
        raise reasons[0]
    return fitting


def _check_selection(subjects: list[Implementation], cells: tuple[str, ...], dtypes: tuple[str, ...]) -> None:
    """A selection that matches nothing would judge nothing and look like success."""
    declared = [subject.capabilities() for subject in subjects]
    known_cells = sorted({cell.name for capabilities in declared for cell in capabilities.cells})
    known_dtypes = sorted({dtype for capabilities in declared for dtype in capabilities.dtypes})
    for what, chosen, known in (("cell", cells, known_cells), ("dtype", dtypes, known_dtypes)):
        for name in chosen:
            if name not in known:
                raise click.UsageError(f"no target has the {what} {name!r}; there are {', '.join(known)}")
