"""``bpttcheck watch``."""

import sys
from pathlib import Path

import click

from bpttcheck.command_line.ending import stop
from bpttcheck.command_line.terminal import new_console
from bpttcheck.exit_status import PASSED
from bpttcheck.printable import printable
from bpttcheck.reporting.files import check
from bpttcheck.studies.pictures import new_figure


@click.command()
@click.argument("script", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--calls",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    metavar="N",
    help="End the script after N calls of backward.",
)
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Draw the picture here; needs matplotlib.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Draw the picture here; needs matplotlib.")
@click.option("--panel", metavar="MODULE", help="Draw only this module, large enough for a slide.")
def watch(
    script: Path, arguments: tuple[str, ...], calls: int, png: Path | None, svg: Path | None, panel: str | None
) -> None:
    """Run a PyTorch SCRIPT and show how far back its gradients go.

    bpttcheck runs the script unchanged, with the ARGUMENTS after "--", and watches all recurrent modules of torch.nn
    that it calls. Exit status: 0 it saw something; 2 the script failed, called no recurrent module or no backward, or
    the command has an error.
    """
    console = new_console()
    try:
        if png or svg:
            new_figure(1, 1)  # found out before the work
        check(png=png, svg=svg)
        try:
            from bpttcheck.watching.torch_script import watch_script
        except ModuleNotFoundError as error:
            raise ImportError(f"watch needs {error.name}: python -m pip install 'bpttcheck[torch]'") from error
        seen, failed = watch_script(script, arguments, calls)
        if seen.record.traces:
            console.print(printable(str(seen)), markup=False, highlight=False, soft_wrap=True)
        if failed:
            raise ValueError(printable(failed))
        if not seen.record.backwards:
            raise ValueError(
                f"in {script} no call of backward reaches a recurrent module of torch.nn"
                if seen.record.traces
                else f"{script} calls no recurrent module of torch.nn; for a cell of your own use bpttcheck.torch.watch"
            )
        for file in filter(None, (png, svg)):
            seen.png(file, panel)
            console.print(f"drawn: {file}", highlight=False)
    except (ValueError, OSError, ImportError) as error:
        stop(error)
    sys.exit(PASSED)
