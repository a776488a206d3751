"""``bpttcheck replay``."""

import sys
from pathlib import Path

import click

from bpttcheck.command_line import options
from bpttcheck.exit_status import AT_FAULT, FAILED, PASSED
from bpttcheck.explaining.replaying import check_file
from bpttcheck.running.child import Child, in_words


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@options.timeout
def replay(path: Path, timeout: float) -> None:
    """Run a recorded failure again.

    PATH is a folder that verify wrote, or the replay.py in it. bpttcheck prints FIXED, FAILED (exit status 1) or
    ERROR (exit status 2).
    """
    file = path / "replay.py" if path.is_dir() else path
    try:
        wrong, *_ = Child("", timeout).ask(check_file, file)
    except Exception as error:
        click.echo(f"ERROR: {in_words(error)}")
        sys.exit(AT_FAULT)
    click.echo(f"FAILED: {wrong}" if wrong else "FIXED")
    sys.exit(FAILED if wrong else PASSED)
