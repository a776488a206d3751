"""Options that several commands share."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from bpttcheck.command_line import completion
from bpttcheck.running.time_limit import OF_A_CALL

Decorated = TypeVar("Decorated", bound=Callable[..., Any] | click.Command)


def several(
    option: str, name: str, metavar: str, complete: completion.Completer, what: str
) -> Callable[[Decorated], Decorated]:
    """An option that chooses, and may be repeated."""
    said = f"Only this {what}; may be repeated."
    return click.option(option, name, multiple=True, metavar=metavar, shell_complete=complete, help=said)


law = several("--law", "law_ids", "ID", completion.law_ids, "law")
cell = several("--cell", "cells", "NAME", completion.cells, "cell, e.g. lstm")
dtype = several("--dtype", "dtypes", "NAME", completion.dtypes, "dtype")
examples = click.option(
    "--examples", type=click.IntRange(1), default=40, show_default=True, metavar="N", help="Cases per cell and dtype."
)
seed = click.option("--seed", type=click.IntRange(0), metavar="N", help="Draw the same cases again.")
known_failures = click.option(
    "--known-failures",
    "known_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Failures that are expected; known-failures.toml if it is there.",
)
html = click.option(
    "--html",
    "html_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the same as one page; needs jinja2.",
)
timeout = click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=OF_A_CALL,
    show_default=True,
    metavar="SECONDS",
    callback=lambda _, __, seconds: number(seconds),
    help="Give up a call of a target after so long.",
)


def number(seconds: float) -> float:
    """Raises click.BadParameter for what is none."""
    if math.isnan(seconds):
        raise click.BadParameter("nan is no number of seconds")
    return seconds
