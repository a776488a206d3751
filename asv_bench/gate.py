"""Is HEAD worse than BASE? Exact numbers first, then times, of both on this machine.

    tox -e bench-gate -- BASE

Exit status: 0 no worse, 1 worse (each worse cell is named with its ratio), 2 nothing was found out. Exact numbers are
measured once for each commit. A time that looks worse is measured again in a new process, and must look worse again.
A commit that makes a series worse on purpose says so in its message, ``Accepts: work.Step.track_bytes`` as a last line.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from asv_runs import HERE, Cell, Cells, git, measure, measured, python, refuse
from limits import TIMED, Change, changes, exact_pattern
from noise import false_alarms, fastest, recorded
from rich.console import Console
from rich.table import Table

EXACT = HERE / ".asv" / "exact"


def commit(name: str) -> str:
    """The full hash of a commit; ends the command if there is none."""
    try:
        return git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    except subprocess.CalledProcessError:
        refuse(f"{name!r} is not a commit here")


def exact(base: str, head: str, series: str) -> list[Change]:
    """The changes of the exact series; ends the command if a commit has none."""
    try:
        measure([base, head], EXACT, "this-machine", series, "--skip-existing-successful")
        found = measured(EXACT, "this-machine")
    except (RuntimeError, OSError) as error:
        refuse(f"nothing was measured: {error}")
    for name in (base, head):
        if all(value is None for value in found.get(name, {}).values()):
            refuse(f"nothing was measured at {described(name)}: either it cannot be built or every benchmark failed")
    return [change for change in changes(found[base], found[head]) if re.search(series, str(change.cell))]


def timed(base: str, head: str, series: str) -> list[Change]:
    """The changes of the times; times that look worse are measured again, and the second result counts."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = (reference(name, Path(folder)) for name in (base, head))
        found = changes(*times(before, after, series))
        doubtful = [change.cell for change in found if change.worse]
        if not doubtful:
            return found
        again = changes(*times(before, after, "|".join(f"^{re.escape(str(cell))}$" for cell in doubtful)))
    second = {change.cell: change for change in again}
    return [second.get(change.cell, change) for change in found]


def reference(name: str, folder: Path) -> Path:
    """The folder that holds the ``bpttref`` of a commit, put below ``folder``."""
    archive = subprocess.run(["git", "-C", HERE.parent, "archive", name, "reference"], check=True, capture_output=True)
    (folder / name).mkdir()
    subprocess.run(["tar", "-x", "-C", folder / name], check=True, input=archive.stdout)
    return folder / name / "reference"


def times(before: Path, after: Path, series: str) -> tuple[Cells, Cells]:
    """CPU times of both over the time of the bare products; ends the command if one of them cannot run."""
    command = [python(), HERE / "paired.py", before, after, "--only", series]
    told = subprocess.run(command, capture_output=True, text=True)
    if told.returncode:
        refuse(f"nothing was timed: {told.stderr.strip().splitlines()[-1]}")
    found: tuple[Cells, Cells] = {}, {}
    for name, (base, head, products) in json.loads(told.stdout).items():
        benchmark, parameters = re.fullmatch(r"(.*)\((.*)\)", name).groups()
        for cells, seconds in zip(found, (base, head), strict=True):
            cells[Cell(benchmark, tuple(parameters.split(", ")))] = fastest(seconds) / min(products)
    return found


def described(name: str) -> str:
    return git("log", "-1", "--format=%h (%s)", name)


def accepted(base: str, head: str) -> set[str]:
    """The series that the messages of the commits in between accept."""
    return set(git("log", "--format=%(trailers:key=Accepts,valueonly)", f"{base}..{head}").split())


def print_worse(worse: Sequence[Change]) -> None:
    table = Table("worse", "before", "after", "ratio", "limit", box=None)
    for change in sorted(worse, key=lambda change: -change.ratio):
        after = "failed" if change.after is None else f"{change.after:.4g}"
        row = f"{change.before:.4g}", after, f"{change.ratio:.2f}", f"{change.limit.ratio:.2f}"
        table.add_row(str(change.cell), *row)
    Console(width=120).print(table)


@click.command()
@click.argument("base")
@click.argument("head", default="HEAD")
@click.option("--exact", "part", flag_value="exact", help="Only what is the same on every run.")
@click.option("--timed", "part", flag_value="timed", help="Only CPU times.")
@click.option("--bench", "-b", "series", help="Only cells that match this regular expression; with one of the others.")
def main(base: str, head: str, part: str | None, series: str | None) -> None:
    """Compare HEAD with BASE; uncommitted changes are not seen."""
    before, after = commit(base), commit(head)
    if before == after:
        refuse(f"{base} and {head} are the same commit")
    found = [] if part == "timed" else exact(before, after, series or exact_pattern())
    if part != "exact":
        found += timed(before, after, series or ".")
        alarms = false_alarms(recorded(), TIMED.ratio)
        click.echo(f"times: of gates without a change the share that names one is expected to be {alarms}")
    if not found:
        refuse("nothing was measured: no benchmark that has a limit ran at both commits")
    allowed = accepted(before, after)
    if allowed:
        click.echo(f"accepted by the messages of commits: {', '.join(sorted(allowed))}")
    worse = [change for change in found if change.worse and change.cell.benchmark not in allowed]
    if worse:
        print_worse(worse)
    verdict = f"worse in {len(worse)} of" if worse else "no worse in"
    click.echo(f"{described(after)} against {described(before)}: {verdict} {len(found)} cells")
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
