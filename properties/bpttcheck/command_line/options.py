"""The options that `verify` and `matrix` share."""

from pathlib import Path

import click

from bpttcheck.command_line import completion

law = click.option(
    "--law",
    "law_ids",
    multiple=True,
    metavar="ID",
    shell_complete=completion.law_ids,
    help="Only this law; may be repeated.",
)
cell = click.option(
    "--cell",
    "cells",
    multiple=True,
    metavar="NAME",
    shell_complete=completion.cells,
    help="Only this cell, e.g. lstm; may be repeated.",
)
dtype = click.option(
    "--dtype",
    "dtypes",
    multiple=True,
    metavar="NAME",
    shell_complete=completion.dtypes,
    help="Only this dtype; may be repeated.",
)
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
