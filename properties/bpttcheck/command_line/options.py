"""Options that several commands share."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from bpttcheck.cases.drawing import USUALLY
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
    "--examples",
    type=click.IntRange(1),
    default=USUALLY,
    show_default=True,
    metavar="N",
    help="Cases per cell and dtype.",
)
seed = click.option("--seed", type=click.IntRange(0), metavar="N", help="Generate the same cases again.")
known_failures = click.option(
    "--known-failures",
    "known_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Expected failures; known-failures.toml if it exists.",
)
scheduler = click.option(
    "--scheduler", metavar="ADDRESS", help="Run on this Dask cluster, e.g. tcp://host:8786; needs distributed."
)
html = click.option(
    "--html",
    "html_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write an HTML page; needs jinja2.",
)


def panel(*names: str) -> Callable[[Decorated], Decorated]:
    """An option that chooses a panel of a picture."""
    said = f"Draw only this panel, large enough for a slide: {', '.join(names)}."
    return click.option("--panel", type=click.Choice(names), metavar="NAME", help=said)


class Seconds(click.FloatRange):
    """A time above 0: 90, 90s, 10m or 2h."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(0, min_open=True)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        """Seconds. Fails for text that is no time."""
        said = str(value)
        factor = {"s": 1, "m": 60, "h": 3600}.get(said[-1:], 0)
        try:
            seconds = float(said[:-1] if factor else said) * (factor or 1)
        except ValueError:
            self.fail(f"{said} is no time: write 90, 90s, 10m or 2h", parameter, context)
        if math.isnan(seconds):
            self.fail("nan is no number of seconds", parameter, context)
        return float(super().convert(seconds, parameter, context))


timeout = click.option(
    "--timeout",
    type=Seconds(),
    default=OF_A_CALL,
    show_default=True,
    metavar="SECONDS",
    help="Stop a call of a target after this time.",
)
