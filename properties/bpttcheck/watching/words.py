"""The findings about a module, in sentences: how far calls of backward reach, and where its state is cut."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from bpttcheck.watching.chunks import Row, rounds_of, rows_of, unreached
from bpttcheck.watching.probe_words import probe_sentences
from bpttcheck.watching.record import ForwardCall, Kind, Record, Trace


def sentences(record: Record, trace: Trace) -> list[str]:
    """All sentences about one module."""
    rows = rows_of(record, trace)
    if not trace.calls:
        return [_nothing(record)]
    if not rows:
        return [f"No call of backward reaches any of its {many(trace.steps, 'step')}."]
    rounds = rounds_of(rows)
    said = (
        [] if len(rounds) == len(rows) else ["Calls of backward with no forward call between them count as one here."]
    )
    said += [*_reach(rounds, record.failed), *_state(trace, rounds)]
    said += probe_sentences(record, trace.name)
    if missed := unreached(trace, rows):
        said.append(f"{many(missed, 'forward call')} {is_(missed)} reached by no backward, as in an evaluation.")
    return said


def _nothing(record: Record) -> str:
    if record.left_out["recomputed"]:
        return "No step was seen: inside a reentrant checkpoint none can be. Pass use_reentrant=False to checkpoint."
    if record.left_out["no gradient"]:
        return "No step was seen: all forward calls ran without gradients."
    return "No step was seen: it was not called, or it ran compiled before the watch began."


def _reach(rows: list[Row], failed: int | None) -> list[str]:
    """How far calls reach. failed: the call that ended with an error."""
    said = []
    for form, some in _grouped(rows).items():
        who, own = f"{len(some)} of {len(rows)} calls of backward reach", "their own chunk"
        if len(some) == len(rows):
            who, own = f"{'The one' if len(rows) == 1 else 'Each'} call of backward reaches", "its own chunk"
        said.append(f"{who} {form.format(own=own)}.")
    if any(len(row.before) for row in rows):
        said.append(_beyond(rows, failed))
    if zeros := sum(int(np.sum(row.norms == 0)) for row in rows):
        said.append(f"{zeros} of the gradients {is_(zeros)} exactly zero (cut, masked or underflow).")
    if unmeasured := sum(int(np.sum(np.isnan(row.norms))) for row in rows if row.number != failed):
        said.append(
            f"At {many(unmeasured, 'step')} that a call passes through, no gradient of the input was computed, or it "
            "is not finite."
        )
    return said


def _grouped(rows: list[Row]) -> dict[str, list[Row]]:
    """Rows by the part of their own steps that they reach."""
    complete = [row for row in rows if len(row.of_own) == len(row.own_steps)]
    groups: dict[str, list[Row]] = {}
    if complete:
        groups[f"{_steps([len(row.own_steps) for row in complete])} of {{own}}"] = complete
    for row in rows:
        k, n = len(row.of_own), len(row.own_steps)
        if k < n:
            part = "last " if k and np.array_equal(row.of_own, row.own_steps[n - k :]) else ""
            some = f"only {f'the {part}' if part else ''}{k if k > 1 or not part else ''}".rstrip() if k else "none"
            form = f"{some} of the {n} steps of {{own}}"
            groups.setdefault(form, []).append(row)
    if len(groups) > 4:
        partial = [row for row in rows if len(row.of_own) < len(row.own_steps)]
        groups = {form: some for form, some in groups.items() if some is complete}
        groups[f"{_steps([len(row.of_own) for row in partial])} of {{own}}, and not all"] = partial
    return groups


def _beyond(rows: list[Row], failed: int | None) -> str:
    """A sentence that calls reach steps of earlier calls."""
    beyond = [row for row in rows if len(row.before)]
    first = beyond[0]
    owners = [
        row.number for row in rows if row.number < first.number and np.intersect1d(row.own_steps, first.before).size
    ]
    said = f"Call {first.number} reaches {f'steps of {_calls(owners)}' if owners else 'steps before its own chunk'}"
    if first.number == failed:
        return f"{said}, and ended there with an error: the state was not detached."
    back = [len(row.reached) for row in beyond]
    if len(beyond) > 2 and len(set(back[-2:])) == 1:
        last = beyond[-1]
        of = f"{back[-1]} steps, {len(last.of_own)} of its own chunk"
        return f"{said}: the graph is retained. Call {last.number} reaches {of}."
    more = f" {len(beyond)} of {len(rows)} calls reach steps of earlier ones." if len(beyond) > 1 else ""
    return f"{said}: the graph is retained, and memory grows.{more}"


def _state(trace: Trace, rows: list[Row]) -> list[str]:
    """The kind of state at the first forward call of each chunk, and inside of chunks."""
    if not trace.sees_state:
        return ["Its state was not seen, so nothing is said of where it is cut."]
    chunks = list(dict.fromkeys(row.own for row in rows if row.own))
    edge = [trace.calls[own[0]] for own in chunks[1:]]
    inside = [trace.calls[i] for own in chunks for i in own[1:]]
    if inside and set(_counted(trace, inside)) == {_SAID[Kind.DETACHED]}:
        said = ["The state is detached at every step: truncated to blocks of 1, no gradient passes to the step before."]
    else:
        said = [*_inside(trace, inside), *(_at_edges(trace, edge, rows) if edge else _at_start(trace, chunks))]
    calls = [*edge, *inside]
    if new := sum(call.state.new_rows > 0 for call in calls):
        said.append(
            f"In {many(new, 'forward call')} some rows of the state start from zeros: episodes or sequences begin."
        )
    if moved := [call for call in calls if call.state.moved_rows]:
        said.append(
            f"In {many(len(moved), 'forward call')} rows of the state were other rows of the batch before "
            f"({moved[0].state.moved_rows} of them at step {moved[0].first}): sequences go on in the state of others."
        )
    return said


def _inside(trace: Trace, calls: list[ForwardCall]) -> list[str]:
    kinds = _counted(trace, calls)
    usual = set(kinds) <= {_SAID[Kind.CARRIED]} or set(kinds) <= _ZEROS
    return [] if usual else [f"Inside of chunks {_listed(kinds, len(calls))}."]


def _at_start(trace: Trace, chunks: list[tuple[int, ...]]) -> list[str]:
    """The sentences for a single chunk."""
    if not (kinds := _counted(trace, [trace.calls[own[0]] for own in chunks])):
        return []
    return ["The state starts from zeros."] if set(kinds) <= _ZEROS else [f"At the start {_listed(kinds, 1)}."]


def _at_edges(trace: Trace, calls: list[ForwardCall], rows: list[Row]) -> list[str]:
    kinds = _counted(trace, calls)
    said = _listed(kinds, len(calls))
    said = f"{said[0].upper()}{said[1:]}"
    detached = _SAID[Kind.DETACHED]
    if set(kinds) <= _ZEROS:
        return ["The state starts from zeros: separate sequences."]
    if detached in kinds and set(kinds) <= _ZEROS | {detached} and not any(len(row.before) for row in rows):
        lengths = sorted({len(row.own_steps) for row in rows})
        blocks = f"blocks of {'at most ' if len(lengths) > 1 else ''}{lengths[-1]}"
        return [f"{said}: truncated to {blocks}{', in separate sequences' if len(kinds) > 1 else ''}."]
    if set(kinds) == {_SAID[Kind.CARRIED]}:
        return [f"{said} from chunk to chunk."]
    return [f"At the start of chunks {said[0].lower()}{said[1:]}."]


_SAID = {
    Kind.ABSENT: "the state starts from zeros",
    Kind.ZERO: "the state starts from zeros",
    Kind.CARRIED: "the state is carried with its graph",
    Kind.DETACHED: "the state is carried in value and detached",
    Kind.REPLACED: "the state is replaced by values without a graph",
    Kind.COMPUTED: "the state has other values, computed or learned, with a graph",
    Kind.UNSEEN: "the state is not seen",
}
_ZEROS = {_SAID[Kind.ZERO], _SAID[Kind.ABSENT]}
_FROM = {
    Kind.CARRIED: "the state is the last one of {source}, with its graph",
    Kind.DETACHED: "the state is the last one of {source}, detached",
}


def _counted(trace: Trace, calls: Sequence[ForwardCall]) -> Counter[str]:
    return Counter(_said(trace, call) for call in calls)


def _said(trace: Trace, call: ForwardCall) -> str:
    """The state of a forward call in words."""
    state = call.state
    if len(set(state.kinds)) > 1:
        names = trace.parts if len(trace.parts) == len(state.kinds) else tuple(map(str, range(len(state.kinds))))
        parts = ", ".join(f"{name} {kind}" for name, kind in zip(names, state.kinds, strict=True))
        return f"the parts of the state differ ({parts})"
    kind = state.kinds[0]
    if state.source not in ("", trace.name) and kind in _FROM:
        return _FROM[kind].format(source=state.source)
    if state.without_gradient and kind == Kind.DETACHED:
        return "the state comes from steps that ran without gradients, and is cut there"
    return _SAID[kind]


def _listed(kinds: Counter[str], total: int) -> str:
    """The sentences, with their numbers where they differ."""
    if len(kinds) == 1:
        return next(iter(kinds))
    return "; ".join(f"{said} in {count} of {total}" for said, count in kinds.most_common())


def _steps(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    if low == high:
        return f"the {low} steps" if low != 1 else "the 1 step"
    return f"all steps ({low} to {high})"


def _calls(numbers: list[int]) -> str:
    return f"call {numbers[0]}" if len(numbers) == 1 else f"calls {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def many(number: int, what: str) -> str:
    """A number with its noun: "1 step", "2 steps"."""
    return f"{number} {what}{'s' * (number != 1)}"


def is_(number: int) -> str:
    """The verb for a number of things: is, or are."""
    return "is" if number == 1 else "are"
