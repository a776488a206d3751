"""Errors with which backward ends where a state was not detached."""

from bpttcheck.watching.chunks import starts_anew
from bpttcheck.watching.record import Kind, Record, Trace

_ENDS = ("backward through the graph a second time", "modified by an inplace operation")


def explain(error: RuntimeError, record: Record) -> None:
    """Add a note to an error that a state which was not detached explains."""
    carried = [trace.name for trace in record.traces if _crosses(record, trace)]
    if carried and any(words in str(error) for words in _ENDS):
        record.failed = len(record.backwards)
        error.add_note(
            f"bpttcheck: the state of {', '.join(carried)} comes from before the last call of backward and was not "
            "detached. Backward therefore goes on into a graph that was freed, or whose weights have changed since. "
            "Detach the state between calls of backward: h = h.detach()."
        )


def _crosses(record: Record, trace: Trace) -> bool:
    """Whether the first forward call after a successful call of backward continues the graph before it."""
    made = sorted({backward.made.get(trace.name, 0) for backward in record.backwards} | {trace.steps})
    since = [call for call in trace.calls if call.first in made]
    return any(Kind.CARRIED in call.state.kinds and not starts_anew(trace, call) for call in since)
