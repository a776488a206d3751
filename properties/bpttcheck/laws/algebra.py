"""The pullback is a linear function of the cotangents."""

from collections.abc import Iterator

import numpy as np

from bpttcheck.cases.blocks import Named
from bpttcheck.cases.changes import zero_where
from bpttcheck.contract import Cotangents
from bpttcheck.laws.law import Law, gradients, reusable, wide_range
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.tolerance import Measured
from bpttcheck.measuring.trial import Trial
from bpttref import trees

_FACTORS = (2.0**7, 2.0**40, 2.0**-60)  # powers of two scale without rounding


def _linear(trial: Trial) -> Iterator[Comparison]:
    """Each output's cotangent on its own, the others absent: the gradients add up to the gradients of all together.

    In a large problem the cotangents of all final states count as one.
    """
    parts = [Cotangents(trial.cotangents.y)]
    final = trial.cotangents.final
    if final is not None:
        names = final[0][0].keys()
        some = [names] if trial.large else [{name} for name in names]
        parts += [Cotangents(None, zero_where(final, names - alone)) for alone in some]
    pullback = trial.forward[1]
    total: Named = {}
    for part in parts:
        pulled = trial.pull(pullback, part)
        total = {name: total.get(name, 0) + a.astype(np.float64) for name, a in pulled.items()}
    yield from trial.compare(trial.gradients, total, trial.measured, *trial.measure(trial.case, *parts))


def _scaled(trial: Trial) -> Iterator[Comparison]:
    """Scales above the thresholds at which loops clip, and below the thresholds at which they flush to zero."""
    factor = trial.one_of(_FACTORS)
    y, final = (None if part is None else trees.scale(part, factor) for part in trial.cotangents)
    scaled = trial.pull(trial.forward[1], Cotangents(y, final))
    expected = {name: array.astype(np.float64) * factor for name, array in trial.gradients.items()}
    spread = Measured({}, {name: 2 * factor * s for name, s in trial.measured.spread.items()})
    yield from trial.compare(scaled, expected, spread)


LAWS = (
    Law(
        "linear-in-cotangents",
        "Gradients add up over the cotangents of y and of each final state; an absent cotangent counts as zero.",
        "P(u + v) = P(u) + P(v), P(0) = 0",
        "a pullback is a linear map",
        _linear,
        (gradients, reusable),
    ),
    Law(
        "scales-with-cotangents",
        "Cotangents that are 2^7, 2^40 or 2^-60 times as large give gradients that change by the same factor.",
        "P(a u) = a P(u)",
        "a pullback is a linear map; clipping inside the loop over time is not",
        _scaled,
        (gradients, reusable, wide_range),
    ),
)
