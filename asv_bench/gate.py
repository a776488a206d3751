"""Is HEAD worse than BASE? Both are built and measured on this machine, by turns.

    tox -e bench-gate -- BASE

Exit status: 0 no worse, 1 worse (each worse cell is named with its ratio), 2 nothing was found out. What looks worse
in a series that is not exact is measured again, and must look worse again.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from asv_runs import Cells, git, measure, measured, refuse
from limits import Change, changes, pattern
from rich.console import Console
from rich.table import Table


def commit(name: str) -> str:
    """The full hash of a commit; ends the command if there is none."""
    try:
        return git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    except subprocess.CalledProcessError:
        refuse(f"{name!r} is not a commit here")


def run(base: str, head: str, series: str) -> tuple[Cells, Cells]:
    """The cells of both; ends the command if either has none."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            measure([base, head], Path(folder), "this-machine", series, "--interleave-rounds")
            found = measured(Path(folder), "this-machine")
        except (RuntimeError, OSError) as error:
            refuse(f"nothing was measured: {error}")
    for name in (base, head):
        if all(value is None for value in found.get(name, {}).values()):
            refuse(f"nothing was measured at {described(name)}: either it cannot be built or every benchmark failed")
    return found[base], found[head]


def compare(base: str, head: str, series: str) -> list[Change]:
    """All changes. What looks worse, but is not exact, is measured again, and that is what counts."""
    found = changes(*run(base, head, series))
    doubtful = [c.cell for c in found if c.worse and c.after is not None and not c.limit.exact]
    if not doubtful:
        return found
    again = changes(*run(base, head, "|".join(f"^{re.escape(str(cell))}$" for cell in doubtful)))
    second = {change.cell: change for change in again}
    return [second.get(change.cell, change) for change in found]


def described(name: str) -> str:
    return git("log", "-1", "--format=%h (%s)", name)


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
@click.option("--exact", is_flag=True, help="Only memory and quality, whose numbers are the same on every run.")
@click.option("--bench", "-b", "series", help="Only benchmarks that match this regular expression.")
def main(base: str, head: str, exact: bool, series: str | None) -> None:
    """Compare HEAD with BASE; uncommitted changes are not seen."""
    before, after = commit(base), commit(head)
    if before == after:
        refuse(f"{base} and {head} are the same commit")
    found = compare(before, after, series or pattern(exact))
    worse = [change for change in found if change.worse]
    if not found:
        refuse("nothing was measured: no benchmark that has a limit ran at both commits")
    if worse:
        print_worse(worse)
    verdict = f"worse in {len(worse)} of" if worse else "no worse in"
    click.echo(f"{described(after)} against {described(before)}: {verdict} {len(found)} cells")
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
