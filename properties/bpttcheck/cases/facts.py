"""The special features of a case, in addition to its sizes, in words."""

from collections.abc import Sequence

import numpy as np

from bpttcheck.contract import Case
from bpttref import Blocks, Full, Last, Links, Regular, Window

_SHOWN = 12  # numbers of a list


def facts(case: Case) -> list[str]:
    """Phrases such as "Regular(tau=7), which is longer than T = 5" and "lengths 3, 1"."""
    T, found = case.T, []
    rule = case.truncation
    if isinstance(rule, Regular | Window | Blocks | Last):
        longest = max(vars(rule).values())
        found.append(f"{rule}, which is longer than T = {T}" if longest > T else str(rule))
    elif isinstance(rule, Links):
        found.append(f"Links(xi=({_listed(rule.xi)}))")
    elif rule != Full():
        found.append(str(rule))
    if T == 0:
        found.append("no step at all")
    if case.lengths is not None:
        found.append(f"lengths {_listed(case.lengths.tolist())}")
    if case.resets is not None:
        places = [f"step {t} of row {b}" for t, b in np.argwhere(case.resets)[:_SHOWN]]
        found.append(f"resets to {case.reset_to} before {', '.join(places) or 'no step'}")
    if case.initial is None:
        found.append("no initial states")
    if case.once:
        found.append("a pullback that is called once")
    if case.wanted is not None:
        found.append(f"gradients wanted of {', '.join(sorted(case.wanted)) or 'nothing'}")
    return found


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{n:.6g}" for n in numbers[:_SHOWN]) + ", ..." * (len(numbers) > _SHOWN)
