"""The end of a command that cannot do its work: one sentence for a mistake that the user can correct."""

import sys
from typing import NoReturn

import click

from bpttcheck.exit_status import AT_FAULT


def stop(error: Exception, traceback: bool = False) -> NoReturn:
    """One sentence on standard error and exit status 2."""
    if traceback:
        raise error
    message = error.message if isinstance(error, click.UsageError) else str(error)
    click.echo(f"bpttcheck: {message or type(error).__name__}", err=True)
    sys.exit(AT_FAULT)
