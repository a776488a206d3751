"""How a command ends that cannot do its work: one sentence for what a person can mend."""

import signal
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


def end_as_interrupted() -> None:
    """What asks this process to end, and what a terminal sends that goes away, ends it as Ctrl-C does."""
    for name in ("SIGTERM", "SIGHUP"):  # there are not all of them on Windows
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores one
            signal.signal(number, signal.default_int_handler)
