"""``bpttcheck gradients``."""

from collections.abc import Sequence
from pathlib import Path

import click

from bpttcheck.command_line import completion, options
from bpttcheck.command_line.ending import stop
from bpttcheck.command_line.terminal import new_console
from bpttcheck.contract import Implementation
from bpttcheck.measuring.calls import AdapterError, Refused, capabilities_of
from bpttcheck.measuring.comparisons import Violation
from bpttcheck.printable import printable
from bpttcheck.reporting.files import check, write
from bpttcheck.running.child import Child
from bpttcheck.studies.gradients import Analysis, Setting, analyse
from bpttcheck.studies.gradients_report import PANELS, draw_analyses, print_analyses, to_json
from bpttcheck.studies.pictures import new_figure
from bpttcheck.targets import TargetError, cell_named
from bpttcheck.versions import versions

_SIDE_BY_SIDE = ("rnn-tanh", "lstm", "gru-after")  # of the reference, which has more
_DEFAULT = Setting()
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("target", default="reference", shell_complete=completion.targets)
@options.cell
@click.option(
    "--length", type=int, metavar="N", default=_DEFAULT.length, show_default=True, help="Steps of the sequence."
)
@click.option("--units", type=int, metavar="N", default=_DEFAULT.units, show_default=True, help="Hidden units.")
@click.option(
    "--inputs", type=int, metavar="N", default=_DEFAULT.inputs, show_default=True, help="Features of the input."
)
@click.option(
    "--scale",
    type=float,
    metavar="X",
    default=_DEFAULT.scale,
    show_default=True,
    help="Approximate spectral radius of W_hh.",
)
@click.option(
    "--gate-bias",
    type=float,
    metavar="X",
    default=_DEFAULT.gate_bias,
    show_default=True,
    help="Added to the bias of the gate that keeps the state.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=_DEFAULT.seed,
    show_default=True,
    metavar="N",
    help="Seed of weights and inputs.",
)
@click.option("--png", type=_FILE, help="Draw the curves here; needs matplotlib.")
@click.option("--svg", type=_FILE, help="Draw the curves here; needs matplotlib.")
@options.panel(*PANELS)
@click.option("--json", "json_file", type=_FILE, help="Write every number here.")
@options.timeout
def gradients(
    target: str,
    cells: tuple[str, ...],
    length: int,
    units: int,
    inputs: int,
    scale: float,
    gate_bias: float,
    seed: int,
    png: Path | None,
    svg: Path | None,
    panel: str | None,
    timeout: float,
    json_file: Path | None,
) -> None:
    """Show how gradients vanish or explode with the lag.

    TARGET is a target of `bpttcheck verify`, or the reference if it is left out. bpttcheck prints norms, eigenvalues,
    the lag beyond which float32 loses the gradient, and the effect of the gates.
    """
    pictures = [file for file in (png, svg) if file is not None]
    console = new_console()
    try:
        setting = Setting(length, units, inputs, scale, gate_bias, seed)
        child = Child(target, timeout)
        name, chosen = child.ask(_introduced, cells or (_SIDE_BY_SIDE if target == "reference" else ()))
        if pictures:
            new_figure(1, 1)  # a picture or file that cannot be made is an error here, before the work
        check(json=json_file, png=png, svg=svg)
        analyses = [child.ask(_analysed, cell, setting) for cell in chosen]
        print_analyses(console, name, setting, analyses)
        if pictures:
            draw_analyses(pictures, name, setting, analyses, panel)
        for file in pictures:
            console.print(f"drawn: {file}", markup=False, highlight=False)
        if json_file is not None:
            write(json_file, to_json(name, setting, analyses, versions()) + "\n")
    except (TargetError, AdapterError, Refused, Violation, ValueError, OSError, ImportError) as error:
        stop(error)


def _introduced(subject: Implementation, names: Sequence[str]) -> tuple[str, list[str]]:
    """Its name, and the names of its cells, all or the chosen ones. Raises TargetError."""
    cells = [cell_named(subject, name) for name in dict.fromkeys(names)] or capabilities_of(subject).cells
    return printable(subject.name), [cell.name for cell in cells]


def _analysed(subject: Implementation, cell: str, setting: Setting) -> Analysis:
    return analyse(subject, cell_named(subject, cell), setting)
