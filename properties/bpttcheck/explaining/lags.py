"""How far back a gradient is correct."""

from typing import Any

import numpy as np

from bpttcheck.cases.changes import only_y
from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.kinks import near_kink
from bpttcheck.cases.realising import realise
from bpttcheck.contract import CustomCell, Implementation, TwoPhase
from bpttcheck.explaining.battery import LONG
from bpttcheck.explaining.looking import beside, truth
from bpttcheck.measuring.calls import Refused, capabilities_of
from bpttcheck.measuring.comparisons import Violation
from bpttcheck.measuring.trial import Trial
from bpttref import Cell


def lags_of(subject: Implementation, right: Implementation, cell: Cell | CustomCell, dtype: str) -> str:
    """The lags at which dx is incorrect, for only the loss at the last of many steps."""
    capabilities = capabilities_of(subject)
    sizes: dict[str, Any] = {"T": LONG} | {
        n: min(capabilities.sizes.get(n, (size,))) for n, size in (("B", 2), ("D", 3), ("H", 4))
    }
    draw = Draw(
        **sizes, layers=1, bidirectional=False, ragged=False, tokens=False, rounded=False, weight_scale=0.5, seed=3
    )
    case, cotangents = realise(draw, cell, dtype, capabilities)
    offered = "x" in capabilities.gradients and "y" in capabilities.outputs and "dense" in capabilities.inputs
    trial = beside(Trial(subject, capabilities, case, cotangents), right)
    if not isinstance(subject, TwoPhase) or not offered or trial.calls.declines(case) or near_kink(case):
        return ""
    last = only_y(cotangents, slice(LONG - 1, LONG))
    try:
        true, got = truth(trial, right, case, last), trial.gradients_of(case, last)
    except (Refused, Violation):  # something is missing
        return ""
    found = list(trial.compare(trial.by_step(got), trial.by_step(true.values), true))
    places = [f"[t={t}]" for t in reversed(range(LONG))]
    steps = [max((c for c in found if c.block.endswith(at)), key=lambda c: c.margin, default=None) for at in places]
    wrong = [lag for lag, step in enumerate(steps) if step and step.margin > 1]
    if not wrong:
        return f"From the last loss dx is correct at every lag up to {LONG - 1}."
    zero = not any(np.any(step.got) for step in (steps[lag] for lag in wrong) if step and step.got is not None)
    seen = [lag for lag, step in enumerate(steps) if lag >= wrong[0] and step and (step.alive or step.margin > 1)]
    ends = "on" if wrong == seen else f"to {wrong[-1]}, not at each"
    return f"From the last loss dx is {'zero' if zero else 'incorrect'} from lag {wrong[0]} {ends}."
