"""The exit statuses of all commands."""

from collections.abc import Collection

PASSED, FAILED, AT_FAULT, UNSURE, INTERRUPTED = 0, 1, 2, 3, 130


def exit_status(statuses: Collection[str], *, at_fault: bool, failing: bool) -> int:
    """That of a verdict with results of these ``statuses``. at_fault, failing: whether something else is, or does."""
    if at_fault or "error" in statuses:
        return AT_FAULT
    if failing or "failed" in statuses:
        return FAILED
    return UNSURE if "unsure" in statuses else PASSED
