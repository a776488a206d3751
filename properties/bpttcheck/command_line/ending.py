"""How a command ends: exit statuses, and one sentence for what a person can mend."""

import sys
from collections.abc import Collection
from typing import NoReturn

import click

PASSED, FAILED, AT_FAULT, UNSURE, INTERRUPTED = 0, 1, 2, 3, 130


def stop(error: Exception, traceback: bool = False) -> NoReturn:
    """One sentence on standard error and exit status 2."""
    if traceback:
        raise error
    message = error.message if isinstance(error, click.UsageError) else str(error)
    click.echo(f"bpttcheck: {message or type(error).__name__}", err=True)
    sys.exit(AT_FAULT)


def exit_status(statuses: Collection[str], *, at_fault: bool, failing: bool) -> int:
    """That of a verdict with results of these ``statuses``. at_fault, failing: whether something else is, or does."""
    if at_fault or "error" in statuses:
        return AT_FAULT
    if failing or "failed" in statuses:
        return FAILED
    return UNSURE if "unsure" in statuses else PASSED
