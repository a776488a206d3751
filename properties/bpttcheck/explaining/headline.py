"""The order in which failures are reported, and the conclusion from all broken laws together."""

from collections.abc import Collection, Sequence

import numpy as np

from bpttcheck.dtypes import FORMATS
from bpttcheck.laws import LAWS
from bpttcheck.running.results import Result

_BY_ID = {law.id: law for law in LAWS}
_LINEAR = {"linear-in-cotangents", "scales-with-cotangents"}
_ROUNDINGS = 2.0**10  # of a number: one or many roundings explain an error up to this
_ALIKE = 1e-3  # of the largest error over tolerance: from here on a failure may be reported first


def in_order(broken: Sequence[Result]) -> list[Result]:
    """The results, the one that explains most first; the others in the order of laws, the finest dtype first.

    A law that rests on no other (an array is missing, say) explains most; then numbers that a call leaves behind or
    overwrites; a pullback that is not linear; outputs that depend on the future; the largest error over tolerance. An
    error within rounding, and an exception, explain least.
    """
    usual = sorted(broken, key=lambda result: (_place(result), FORMATS[result.dtype].eps))
    largest = max(map(_size, usual))
    first = min(usual, key=lambda result: (_tier(result, broken), _size(result) < _ALIKE * largest))
    return [first, *(result for result in usual if result is not first)]


def also_broken(broken: Sequence[Result]) -> dict[str, list[str]]:
    """All laws that fail, with their dtypes, except the first, and except laws that fail only by rounding.

    Such laws compare incorrect numbers of the implementation with each other. Those are larger than the correct
    numbers, from which the tolerance comes.
    """
    others: dict[str, list[str]] = {}
    for result in broken[1:]:
        if result.status != "error" and not _by_rounding_alone(result, broken):
            others.setdefault(result.law, []).append(result.dtype)
    return others


def together(broken: Sequence[Result], passed: Collection[str]) -> str:
    """The conclusion from the set of broken laws; empty if there is none. passed: ids of laws."""
    ids = {r.law for r in broken if r.status != "error" and not _by_rounding_alone(r, broken)}
    families = {_BY_ID[law].family for law in ids}
    if not ids:
        return ""
    if "purity" in families:
        return "a call changes what another one gives, or what it was given: look for buffers and states that are kept"
    if ids & _LINEAR:
        return "the pullback is not linear in the cotangents: look for clipping, or for a guard against large numbers"
    if families == {"randomized"}:
        return "truncation by a rule is correct: look at how links are drawn and weighted"
    if families <= {"truncation", "xray", "randomized"}:
        return "full BPTT is correct: look at where the truncation cuts, and at what crosses a cut"
    if families == {"batch"}:
        return "rows are not kept apart"
    if families == {"padding"}:
        return "look at what is done with the lengths of rows"
    if families == {"direction"}:
        return "look at the reverse direction"
    if "forward-reference" in ids and "own-forward-derivative" in passed:
        return (
            "the forward pass belongs to another cell, and the gradients are its derivatives: compare the conventions"
        )
    if "pullback-reference" in ids and "forward-reference" in passed:
        return "the forward pass is correct, and the gradients are not its derivatives"
    return ""


def _place(result: Result) -> int:
    return list(_BY_ID).index(result.law)


def _tier(result: Result, broken: Sequence[Result]) -> int:
    law = _BY_ID[result.law]
    kinds = (law.decisive, law.family == "purity", law.id in _LINEAR, law.id == "causality", True)
    if result.status == "failed" and not _by_rounding_alone(result, broken):
        return kinds.index(True)
    return len(kinds) + ("failed", "unsure", "error").index(result.status)


def _size(result: Result) -> float:
    """The error over tolerance; an error counts at most as much as the number itself."""
    most = 1 / FORMATS[result.dtype].eps
    return most if result.worst is None or not np.isfinite(result.margin) else min(result.margin, most)


def _by_rounding_alone(result: Result, broken: Sequence[Result]) -> bool:
    """Whether rounding may explain the error in each dtype, while another law is broken by a larger error."""
    return all(map(_as_rounding, _of_law(result.law, broken))) and not all(map(_as_rounding, broken))


def _of_law(law: str, broken: Sequence[Result]) -> list[Result]:
    return [result for result in broken if result.law == law]


def _as_rounding(result: Result) -> bool:
    worst = result.worst
    if worst is None or worst.got is None or worst.expected is None or not np.isfinite(worst.error):
        return False
    size = max(float(np.abs(worst.got).max(initial=0)), float(np.abs(worst.expected).max(initial=0)))
    return worst.error <= _ROUNDINGS * FORMATS[result.dtype].eps * size
