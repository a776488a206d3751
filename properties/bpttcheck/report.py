"""A verdict as a table for people and as JSON for programs, from the same results."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from bpttcheck.verdict import Result, summary
from bpttcheck.xray import Xray, in_words
from bpttref import Strategy

_MARKS = {
    "passed": "[green]passed[/]",
    "failed": "[bold red]FAILED[/]",
    "error": "[bold red]ERROR[/]",
    "unsure": "[bold magenta]unsure[/]",
    "vacuous": "[yellow]vac.[/]",
    "skipped": "[dim]skip[/]",
    "unfinished": "[yellow]open[/]",
}


def print_verdict(console: Console, results: Sequence[Result]) -> None:
    """Tables of laws by cell, one per subject and dtype, the reasons below, and a closing sentence."""
    for subject in dict.fromkeys(result.subject for result in results):
        chosen = [result for result in results if result.subject == subject]
        for dtype in dict.fromkeys(result.dtype for result in chosen):
            console.print(f"\n[bold]{subject}, {dtype}[/]: worst error / tolerance", highlight=False)
            console.print(_table([result for result in chosen if result.dtype == dtype]))
        _print_reasons(console, chosen)
    console.print(summary(results), markup=False, highlight=False)


def _table(results: Sequence[Result]) -> Table:
    """Laws by cells, narrow enough for 80 columns with six cells."""
    cells = list(dict.fromkeys(result.cell for result in results))
    by_place = {(result.law, result.cell): result for result in results}
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1), pad_edge=False)
    table.add_column("law", no_wrap=True)
    for cell in cells:
        table.add_column(cell.replace("-", "\n"), justify="right", no_wrap=True)
    for law in dict.fromkeys(result.law for result in results):
        places = [by_place.get((law, cell)) for cell in cells]
        table.add_row(law, *("" if result is None else _mark(result) for result in places))
    return table


def _mark(result: Result) -> str:
    return f"[green]{result.margin:.3f}[/]" if result.status == "passed" else _MARKS[result.status]


def _print_reasons(console: Console, results: Sequence[Result]) -> None:
    """Each failure with its case; each reason for skipping once, with the laws it concerns."""
    for result in results:
        if result.status in ("failed", "error", "unsure"):
            where = f"{result.law} on {result.cell} {result.dtype}"
            console.print(f"{_MARKS[result.status]} {where}: ", end="")
            console.print(result.reason, markup=False, highlight=False)
            if result.case is not None:
                console.print(f"    smallest case found: {result.case}", markup=False, highlight=False)
    skipped: dict[tuple[str, str], set[str]] = {}
    for result in results:
        if result.status in ("skipped", "vacuous", "unfinished"):
            skipped.setdefault((result.status, result.reason), set()).add(result.law)
    for (status, reason), laws in skipped.items():
        console.print(f"{status} {', '.join(sorted(laws))}: {reason}", highlight=False, markup=False)


def to_json(results: Sequence[Result], versions: dict[str, str]) -> str:
    """Every result and the versions in play; margins that are not finite are written as strings."""
    rows = [asdict(result) for result in results]
    for row in rows:
        for holder in (row, row["worst"] or {}):
            for key, value in holder.items():
                if isinstance(value, float) and value in (float("inf"), float("-inf")) or value != value:
                    holder[key] = str(value)
    return json.dumps({"schema": 1, "versions": versions, "summary": summary(results), "results": rows}, indent=1)


def print_xray(console: Console, name: str, asked: Strategy, seen: Xray) -> None:
    """The matrices as numbers, and what they are in words."""
    console.print(f"{name}, asked for {asked}", markup=False, highlight=False)
    for what, M in (("through inputs", seen.inputs), ("through parameters", seen.parameters)):
        if M is not None:
            leak = seen.leak if what == "through inputs" else 0.0
            console.print(f"\n{what}: {in_words(M, leak)}", markup=False, highlight=False)
            for row in range(len(M)):
                numbers = " ".join(f"{M[row, s]:5.2f}" for s in range(row + 1))
                console.print(f"  t={row:<3d}{numbers}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"\ndeclared: {in_words(seen.declared)}", markup=False, highlight=False)


def draw_xray(file: Path, name: str, asked: Strategy, seen: Xray) -> None:
    """Draw the declared matrix beside those that were seen. Raises ImportError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: python -m pip install 'bpttcheck[plots]'") from error
    panels = {"declared": seen.declared, "through inputs": seen.inputs, "through parameters": seen.parameters}
    shown = {title: M for title, M in panels.items() if M is not None}
    figure = Figure(figsize=(3.4 * len(shown), 3.9), layout="constrained")
    largest = max(1.0, *(float(np.nanmax(np.abs(M))) for M in shown.values()))
    for axes, (title, M) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        lower = np.where(np.tri(len(M), dtype=bool), M, np.nan)
        picture = axes.imshow(lower, cmap="viridis", vmin=0, vmax=largest)
        axes.set(title=title, xlabel="use at step s", ylabel="loss at step t")
    figure.colorbar(picture, ax=figure.axes, shrink=0.7, label="M[t, s]")
    figure.suptitle(f"{name}: {asked}")
    figure.savefig(file, dpi=150)
