"""The pullback is a linear function of the cotangents."""

from collections.abc import Iterator

import numpy as np

from bpttcheck.blocks import Named
from bpttcheck.contract import Cotangents
from bpttcheck.laws.law import Law, gradients, reusable
from bpttcheck.trial import Comparison, Trial
from bpttref import trees
from bpttref.network import States


def _linear(trial: Trial) -> Iterator[Comparison]:
    """Each output's cotangent alone, the others absent: the gradients add up to those of all together."""
    parts = [Cotangents(trial.cotangents.y)]
    final = trial.cotangents.final
    if final is not None:
        parts += [Cotangents(None, _only(final, name)) for name in final[0][0]]
    pullback = trial.forward[1]
    total: Named = {}
    for part in parts:
        pulled = trial.pull(pullback, part)
        total = {name: total.get(name, 0) + a.astype(np.float64) for name, a in pulled.items()}
    yield from trial.compare(trial.gradients, total, trial.measured, *(trial.measure(part) for part in parts))


def _only(final: States, name: str) -> States:
    return tuple(tuple({k: a if k == name else 0 * a for k, a in leaf.items()} for leaf in layer) for layer in final)


def _scaled(trial: Trial) -> Iterator[Comparison]:
    """A power of two scales without rounding; 128 is beyond the thresholds at which loops are clipped."""
    y, final = (None if part is None else trees.scale(part, 128) for part in trial.cotangents)
    scaled = trial.pull(trial.forward[1], Cotangents(y, final))
    back = {name: array.astype(np.float64) / 128 for name, array in scaled.items()}
    yield from trial.compare(trial.gradients, back, trial.measured, trial.measured)


LAWS = (
    Law(
        "linear-in-cotangents",
        "Gradients add up over the cotangents of y and of each final state; an absent cotangent is zero.",
        "P(u + v) = P(u) + P(v), P(0) = 0",
        "a pullback is a linear map",
        _linear,
        (gradients, reusable),
    ),
    Law(
        "scales-with-cotangents",
        "Cotangents 128 times as large give gradients 128 times as large.",
        "P(a u) = a P(u)",
        "a pullback is a linear map; clipping inside the loop over time is not",
        _scaled,
        (gradients, reusable),
    ),
)
