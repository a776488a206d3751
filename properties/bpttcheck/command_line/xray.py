"""``bpttcheck xray``."""

import sys
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from bpttcheck.adapters import TargetError, cell_named, load
from bpttcheck.command_line.ending import FAILED, PASSED, stop
from bpttcheck.report import draw_xray, print_xray
from bpttcheck.trial import AdapterError, Refused
from bpttcheck.xray import in_words
from bpttcheck.xray import xray as take_xray
from bpttref import Blocks, Full, Last, Regular, Strategy, Window


@click.command()
@click.argument("target")
@click.option("--cell", "cell_name", help="The cell; the target's first if it is not given.")
@click.option("--strategy", type=click.Choice(["full", "regular", "window", "blocks", "last"]), default="regular")
@click.option("--tau", type=click.IntRange(1), default=4, show_default=True, help="tau, k2 of blocks, k of last.")
@click.option("--k1", type=click.IntRange(1), default=2, show_default=True, help="k1 of blocks.")
@click.option("--length", type=click.IntRange(2), default=12, show_default=True, help="Steps of the sequence.")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Draw the matrices here.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Draw the matrices here.")
def xray(
    target: str,
    cell_name: str | None,
    strategy: str,
    tau: int,
    k1: int,
    length: int,
    png: Path | None,
    svg: Path | None,
) -> None:
    """Show which matrix M[t, s] the truncation of TARGET really applies: from the loss at t to the use at s."""
    makers: dict[str, Callable[[], Strategy]] = {
        "full": Full,
        "regular": lambda: Regular(tau),
        "window": lambda: Window(tau),
        "blocks": lambda: Blocks(k1, tau),
        "last": lambda: Last(tau),
    }
    console = Console()
    try:
        asked = makers[strategy]()
        subject = load(target)
        cell = cell_named(subject, cell_name) if cell_name else subject.capabilities().cells[0]
        seen = take_xray(subject, cell, asked, length)
        print_xray(console, subject.name, asked, seen)
        for file in filter(None, (png, svg)):
            draw_xray(file, subject.name, asked, seen)
            console.print(f"drawn: {file}", highlight=False)
    except (TargetError, AdapterError, Refused, ValueError, OSError, ImportError, click.UsageError) as error:
        stop(error)
    differs = seen.in_words(asked) != in_words(seen.declared)
    sys.exit(FAILED if differs else PASSED)
