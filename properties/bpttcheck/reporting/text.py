"""A verdict as a table on a terminal."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bpttcheck.explaining.explanation import Explanation
from bpttcheck.running.results import Result

_MARKS = {
    "passed": "[green]passed[/]",
    "failed": "[bold red]FAILED[/]",
    "error": "[bold red]ERROR[/]",
    "unsure": "[bold magenta]unsure[/]",
    "vacuous": "[yellow]vac.[/]",
    "skipped": "[dim]skip[/]",
    "known": "[yellow]known[/]",
    "unfinished": "[yellow]open[/]",
}

_PLAIN: dict[str, Any] = {"markup": False, "highlight": False}


def print_verdict(console: Console, results: Sequence[Result], verbose: bool = False) -> None:
    """Print a table of laws by cell for each implementation and dtype, and the remarks below it.

    verbose: whether laws that were skipped have a row, and a line with the reason; else they are only counted.
    """
    for subject in dict.fromkeys(result.subject for result in results):
        chosen = [result for result in results if result.subject == subject]
        for dtype in dict.fromkeys(result.dtype for result in chosen):
            alike = [result for result in chosen if result.dtype == dtype]
            console.print(f"\n[bold]{escape(subject)}, {dtype}[/]: worst error / tolerance", highlight=False)
            console.print(_table(alike, verbose))
            for inside in sorted({result.inside for result in alike} - {""}):
                cells = dict.fromkeys(result.cell for result in alike if result.inside == inside)
                console.print(f"{', '.join(cells)}: with the tolerances of operations in {inside} format", **_PLAIN)
        for reason in reasons(chosen):
            if verbose or not reason.startswith("skipped "):
                console.print(reason, **_PLAIN)
        skipped = {result.law for result in chosen if result.status == "skipped"}
        if skipped and not verbose:
            number = f"{len(skipped)} law{'s' * (len(skipped) > 1)}"
            console.print(f"skipped {number} on some or all cells; --verbose gives the reasons", **_PLAIN)


def print_tried(console: Console, results: Sequence[Result]) -> None:
    """The cases of each cell and dtype, by kind and size."""
    for place in dict.fromkeys((r.subject, r.cell, r.dtype) for r in results):
        tried = next(r.tried for r in results if (r.subject, r.cell, r.dtype) == place)
        console.print(
            wrapped(f"tried on {' '.join(place[1:])}: {tried}", console.width, "  "), **_PLAIN, soft_wrap=True
        )


def print_failure(console: Console, explained: Explanation, *, named: bool = False) -> None:
    """The failures of one cell: the first law that it breaks, on the smallest case, and the others by name.

    named: whether to say whose cell it is.
    """
    first = explained.first
    of = f" of {first.subject}" if named else ""
    head = f"{first.law}{of} on {first.cell} {first.dtype}: {first.reason}"
    console.print(f"\n{_MARKS[first.status]} ", end="")
    console.print(wrapped(head, console.width - 8, "  "), **_PLAIN, soft_wrap=True)
    for heading, text in explained.lines():
        line, *more = text.split("\n")
        said = f"    {heading}: {line}" if heading else f"    {line}"
        console.print(
            said if heading == "reproduce" else wrapped(said, console.width, 6 * " "), **_PLAIN, soft_wrap=True
        )
        for line in more:
            console.print(wrapped(f"      {line}", console.width, 8 * " "), **_PLAIN, soft_wrap=True)


def wrapped(text: str, columns: int, indent: str) -> str:
    """The text in lines of this width, indented except for the first; no name is broken, as "W_hh[gates f, i]"."""
    whole = re.sub(r"\[[^\]]*\]", lambda name: name[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(whole, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ")


def _table(results: Sequence[Result], verbose: bool) -> Table:
    """Laws by cells, narrow enough for 80 columns with six cells; without the laws that all cells skip."""
    cells = list(dict.fromkeys(result.cell for result in results))
    by_place = {(result.law, result.cell): result for result in results}
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1), pad_edge=False)
    table.add_column("law", no_wrap=True)
    for cell in cells:
        table.add_column(escape(cell.replace("-", "\n")), justify="right", no_wrap=True)
    for law in dict.fromkeys(result.law for result in results):
        places = [by_place.get((law, cell)) for cell in cells]
        if not verbose and all(result is None or result.status == "skipped" for result in places):
            continue
        table.add_row(law, *("" if result is None else _mark(result) for result in places))
    return table


def _mark(result: Result) -> str:
    """The margin of a law that passed, and its number of cases if these are few; else a word."""
    if result.status != "passed":
        return _MARKS[result.status]
    return f"[green]{result.margin:.3f}[/]" + f"\n[yellow]{result.proved}[/]" * result.seldom


def reasons(results: Sequence[Result]) -> Iterator[str]:
    """Each reason for which laws of an implementation were not tested, once, and the warnings of the run."""
    groups: dict[tuple[str, str], dict[str, set[str]]] = {}
    for result in results:
        if result.status in ("known", "skipped", "vacuous", "unfinished"):
            groups.setdefault((result.status, result.reason), {}).setdefault(result.law, set()).add(result.cell)
        if result.status in ("failed", "error") and result.case is None:
            groups.setdefault((result.status.upper(), result.reason), {}).setdefault(result.law, set()).add(result.cell)
        for remark in result.in_part:
            groups.setdefault(remark, {}).setdefault(result.law, set()).add(result.cell)
        for warning in result.warnings:
            groups.setdefault(("note", f"the implementation warned: {warning}"), {}).setdefault("", set()).add(
                result.cell
            )
    cells = {result.cell for result in results}
    for (status, reason), laws in groups.items():
        names = ", ".join(sorted(law for law in laws if law))
        of = set().union(*laws.values())
        where = f" on {', '.join(sorted(of))}" if of != cells else ""
        yield f"{f'{status} {names}'.strip()}{where}: {reason}"
