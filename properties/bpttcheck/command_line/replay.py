"""``bpttcheck replay``."""

import runpy
import sys
from pathlib import Path

import click

from bpttcheck.command_line.ending import AT_FAULT, FAILED, PASSED


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
def replay(path: Path) -> None:
    """Put a failure on file to its subject again.

    PATH is a folder that verify wrote, or the replay.py in it. The answer is FIXED, FAILED (exit status 1) or ERROR
    (exit status 2).
    """
    try:
        wrong = runpy.run_path(str(path / "replay.py" if path.is_dir() else path))["check"]()
    except Exception as error:
        click.echo(f"ERROR: {type(error).__name__}: {error}")
        sys.exit(AT_FAULT)
    click.echo(f"FAILED: {wrong}" if wrong else "FIXED")
    sys.exit(FAILED if wrong else PASSED)
