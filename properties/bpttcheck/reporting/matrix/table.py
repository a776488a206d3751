"""The matrix on a terminal, within 80 columns, or in a pipe."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bpttcheck.reporting.matrix.counts import STATUSES, broken, count, families, headline, version
from bpttcheck.running.results import BAD, Status, summary
from bpttcheck.running.run import Record, Run

_COLOURS = {"passed": "green", "known": "yellow", "vacuous": "yellow", "unfinished": "yellow", "skipped": "dim"}
_WIDTH = 24  # of the names of targets


def print_matrix(console: Console, runs: Sequence[Run]) -> None:
    """The number of laws by cell and dtype; then broken laws by name, untested targets, and a sentence."""
    records = [record for run in runs for record in run.targets]
    console.print("\nlaws by cell and dtype", highlight=False)
    console.print(_table(records))
    for record in records:
        for (status, cell), laws in broken(record, (*BAD, "known")).items():
            names = ", ".join(f"{law} ({', '.join(dtypes)})" for law, dtypes in laws.items())
            word = status.upper() if status in BAD else status
            console.print(Text.assemble((word, _style(status)), f" {record.target}, {cell}: {names}"))
        for sentence in (*record.errors, *record.unproved):
            said = sentence.removeprefix(f"{record.target}, ")
            console.print(Text.assemble(("NOT TESTED", _style("error")), f" {record.target}: {said}"))
    targets = f"{len(records)} target{'s' * (len(records) != 1)}"
    closing = f"{headline(runs)}. {targets}: {summary([r for record in records for r in record.results])}"
    console.print(f"\n{closing}", markup=False, highlight=False)


def _table(records: Sequence[Record]) -> Table:
    """Rows of targets, in each a line for each status that occurs; columns of families of cells."""
    columns = families(records)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1), pad_edge=False, show_lines=False)
    table.add_column("target", overflow="fold", max_width=_WIDTH)
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(name.replace("-", "\n").replace(" ", "\n"), justify="right", no_wrap=True)
    for record in records:
        counts = [count(record, name) for name in columns]
        met: list[Status] = [status for status in STATUSES if any(status in counted for counted in counts)]
        lines = [
            [f"[{_style(status)}]{word}[/]" for word in (status, *(counted.get(status, "") for counted in counts))]
            for status in met
        ]
        judged = lines or [["[bold red]not tested[/]" if record.errors else "[dim]nothing ran[/]"]]
        name = escape(f"{record.target} {version(record)}".strip())
        table.add_row(name, *("\n".join(column) for column in zip(*judged, strict=True)))
    return table


def _style(status: Status) -> str:
    return _COLOURS.get(status, "bold red")
