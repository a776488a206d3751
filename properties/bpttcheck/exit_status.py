"""The exit statuses of all commands, and of processes in words."""

from collections.abc import Collection
from signal import Signals

PASSED, FAILED, AT_FAULT, UNSURE, INTERRUPTED = 0, 1, 2, 3, 130


def how_it_ended(status: int) -> str:
    """The end of a process with this ``returncode``: "was killed by SIGSEGV"."""
    names = {s.value: s.name for s in Signals}
    return f"was killed by {names.get(-status, -status)}" if status < 0 else f"ended with exit status {status}"


def exit_status(statuses: Collection[str], *, at_fault: bool, failing: bool) -> int:
    """The exit status of a verdict with results of these ``statuses``. at_fault, failing: whether something else is at
    fault, or fails."""
    if at_fault or "error" in statuses:
        return AT_FAULT
    if failing or "failed" in statuses:
        return FAILED
    return UNSURE if "unsure" in statuses else PASSED
