"""The findings of single outputs, in sentences: how far they reach, and whether they reach across a boundary."""

from collections.abc import Iterator

import numpy as np

from bpttcheck.watching.record import Probed, Record
from bpttref.arrays import Array

_BITS = 24  # of the significand of float32


def probe_sentences(record: Record, name: str) -> list[str]:
    """The sentences for one module; none where it was not probed."""
    probed = [one for one in record.probed if one.module == name]
    if not probed:
        return []
    said = [*_decay(max(probed, key=lambda one: (np.count_nonzero(one.norms.any(1)), one.step)))]
    others = [(one, rows) for one in probed if len(rows := _other_rows(one))]
    if others:
        one, rows = others[0]
        said.append(
            f"Output {one.step} of row {one.row} reaches inputs of other rows ({_listed(rows)}): rows of the batch "
            "leak into each other."
        )
    crossing = list(_crossing(record, probed))
    if crossing:
        said.append(f"{crossing[0]}. Outputs that reach across a boundary: {len(crossing)} of {len(probed)}.")
    elif record.starts is not None:
        said.append(f"Outputs that reach across a boundary: none of {len(probed)}.")
    return said


def _decay(one: Probed) -> list[str]:
    """How fast the gradient of an output decays along the steps before it."""
    norms = np.linalg.norm(one.norms[one.steps <= one.step], axis=1)[::-1]
    if not norms.any() or not np.isfinite(norms).all():
        return []
    half = int(np.searchsorted(np.cumsum(norms), norms.sum() / 2)) + 1
    seen = int(np.flatnonzero(norms >= norms.max() * 2.0**-_BITS)[-1]) + 1
    steps = "its own step" if half == 1 else f"the last {half} steps"
    beyond = f"; each step beyond the last {seen} has less than 2^-{_BITS} of the largest" if seen < len(norms) else ""
    return [f"Of the gradient of output {one.step}, half of the norm comes from {steps}{beyond}."]


def _other_rows(one: Probed) -> Array:
    """The rows of the batch, other than its own, that an output reaches."""
    if one.row is None:
        return np.zeros(0, int)
    rows: Array = np.setdiff1d(np.flatnonzero(one.norms.any(0)), [one.row])
    return rows


def _crossing(record: Record, probed: list[Probed]) -> Iterator[str]:
    """Outputs that reach steps before the beginning of their own sequence."""
    for one in probed:
        if record.starts is None or one.row is None or one.step >= len(record.starts):
            continue
        begun = np.flatnonzero(record.starts[: one.step + 1, one.row])
        reached = one.steps[one.norms[:, one.row] > 0]
        if len(begun) and len(reached) and reached[0] < begun[-1]:
            yield (
                f"Output {one.step} of row {one.row}, whose sequence begins at step {begun[-1]}, reaches back to step "
                f"{reached[0]}"
            )


def _listed(rows: Array) -> str:
    shown = ", ".join(map(str, rows[:4]))
    return f"{shown}, ..." if len(rows) > 4 else shown
