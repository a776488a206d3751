"""Two directions: the second is the first, run over the sequence backwards."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bpttcheck.blocks import Named, named
from bpttcheck.contract import Cotangents
from bpttcheck.laws.law import NO_REFERENCE, Law, gradients, outputs, two_directions
from bpttcheck.tolerance import Measured
from bpttcheck.trial import Comparison, Trial


def _reverse(trial: Trial) -> Iterator[Comparison]:
    case, dy = trial.case, trial.cotangents.y
    if case.lengths is not None or len(case.parameters) > 1 or len(case.parameters[0]) < 2 or dy is None:
        return
    H = dy.shape[-1] // 2
    second = np.concatenate([0 * dy[..., :H], dy[..., H:]], axis=-1)
    both = trial.gradients_of(case, Cotangents(second))
    flipped = replace(
        case,
        x=case.x[::-1].copy(),
        parameters=((case.parameters[0][1],),),
        initial=case.initial and ((case.initial[0][1],),),
        objective=None,
    )
    alone, pullback = trial.vjp(flipped)
    pulled = trial.pull(pullback, Cotangents(dy[::-1, :, H:].copy()))
    got = {"y": trial.outputs["y"][..., H:]}
    got |= {n.removeprefix("reverse."): a for n, a in (both | trial.outputs).items() if n.startswith("reverse.")}
    expected = named(alone) | pulled
    spread = _as_reverse(trial.measure(case, Cotangents(second))[0].spread, H)
    expected["y"] = expected["y"][::-1]
    if "x" in both:
        got["x"], expected["x"] = both["x"], pulled["x"][::-1]
    yield from trial.compare(got, expected, Measured({}, spread), Measured({}, spread))


def _as_reverse(spread: Named, H: int) -> Named:
    found = {n.removeprefix("reverse."): a for n, a in spread.items() if n.startswith("reverse.")}
    return found | {n: a[..., H:] if n == "y" else a for n, a in spread.items() if n in ("x", "y")}


LAWS = (
    Law(
        "reverse-is-flipped",
        "The reverse direction is a forward run over the flipped sequence, flipped back; its gradients, too.",
        "r(x) = flip(f(flip(x)))",
        "Schuster and Paliwal, Bidirectional recurrent neural networks, 1997",
        _reverse,
        (gradients, outputs("y"), two_directions),
        {"T": 2},
        kept=NO_REFERENCE,
    ),
)
