"""``bpttcheck xray``."""

import sys
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import click

from bpttcheck.command_line import completion, options
from bpttcheck.command_line.ending import stop
from bpttcheck.command_line.terminal import new_console
from bpttcheck.contract import Implementation
from bpttcheck.exit_status import FAILED, PASSED
from bpttcheck.explaining.xray import Xray
from bpttcheck.explaining.xray import xray as take_xray
from bpttcheck.measuring.calls import AdapterError, Refused, capabilities_of
from bpttcheck.measuring.comparisons import Violation
from bpttcheck.printable import printable
from bpttcheck.reporting.files import check
from bpttcheck.reporting.xray import PANELS, draw_xray, print_xray
from bpttcheck.running.child import Child
from bpttcheck.studies.pictures import new_figure
from bpttcheck.targets import TargetError, cell_named
from bpttref import Blocks, Full, Last, Links, Random, Regular, Strategy, Window


@click.command()
@click.argument("target", shell_complete=completion.targets)
@click.option("--cell", "cell_name", metavar="NAME", shell_complete=completion.cells,
              help="The cell; the target's first cell if left out.")  # fmt: skip
@click.option("--strategy", type=click.Choice(["full", "regular", "window", "blocks", "last", "random", "links"]),
              default="regular", show_default=True, metavar="NAME",
              help="Request full, regular, window, blocks, last, random or links.")  # fmt: skip
@click.option(
    "--tau",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    metavar="N",
    help="Steps: tau; k2 of blocks; k of last.",
)
@click.option("--k1", type=click.IntRange(1), default=2, show_default=True, metavar="N", help="Steps: k1 of blocks.")
@click.option("--pi", type=float, default=0.5, show_default=True, metavar="P",
              help="Probability with which random keeps a link.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="Seed of random.")
@click.option("--xi", default="1,0,2", show_default=True, metavar="NUMBERS",
              help="Multipliers of links into steps 1, 2, 3, again and again.")  # fmt: skip
@click.option(
    "--length", type=click.IntRange(2), default=12, show_default=True, metavar="N", help="Steps of the sequence."
)
@click.option(
    "--png", type=click.Path(dir_okay=False, path_type=Path), help="Draw the matrices here; needs matplotlib."
)
@click.option(
    "--svg", type=click.Path(dir_okay=False, path_type=Path), help="Draw the matrices here; needs matplotlib."
)
@options.panel(*PANELS)
@options.timeout
def xray(
    target: str,
    cell_name: str | None,
    strategy: str,
    tau: int,
    k1: int,
    pi: float,
    seed: int,
    xi: str,
    length: int,
    png: Path | None,
    svg: Path | None,
    panel: str | None,
    timeout: float,
) -> None:
    """Show what the truncation of TARGET really keeps.

    bpttcheck prints the matrix M[t, s], from the loss at t to the use at s, as the gradients of inputs and the
    gradients of parameters show it, next to the requested matrix. A target that draws its own random links passes if
    each is cut or multiplied by 1/pi, in all gradients alike. Exit status: 0 both equal the requested matrix; 1 one
    does not, or full BPTT is incorrect already; 2 the target or the command has an error.
    """
    makers: dict[str, Callable[[], Strategy]] = {
        "full": Full,
        "regular": lambda: Regular(tau),
        "window": lambda: Window(tau),
        "blocks": lambda: Blocks(k1, tau),
        "last": lambda: Last(tau),
        "random": lambda: Random(pi, seed),
        "links": lambda: _links(xi, length),
    }
    console = new_console()
    try:
        if png or svg:
            new_figure(1, 1)  # found out before the work
        check(png=png, svg=svg)
        asked = makers[strategy]()
        name, seen = Child(target, timeout).ask(_seen, cell_name, asked, length)
        print_xray(console, name, asked, seen)
        for file in filter(None, (png, svg)):
            draw_xray(file, name, asked, seen, panel)
            console.print(f"drawn: {file}", highlight=False)
    except (TargetError, AdapterError, Refused, Violation, ValueError, OSError, ImportError, click.UsageError) as error:
        stop(error)
    sys.exit(PASSED if seen.as_declared else FAILED)


def _links(xi: str, length: int) -> Links:
    """Raises ValueError if these are no numbers."""
    try:
        numbers = [float(number) for number in xi.split(",")]
    except ValueError:
        raise ValueError(f"--xi takes numbers with commas between, such as 1,0,2, and not {xi!r}") from None
    return Links((1.0, *islice(cycle(numbers), length - 1)))


def _seen(subject: Implementation, cell_name: str | None, asked: Strategy, length: int) -> tuple[str, Xray]:
    cell = cell_named(subject, cell_name) if cell_name else capabilities_of(subject).cells[0]
    return printable(subject.name), take_xray(subject, cell, asked, length)
