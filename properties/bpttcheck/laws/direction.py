"""Two directions: the second is the first, run over the sequence backwards."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bpttcheck.cases.blocks import Named, has_steps
from bpttcheck.contract import Cotangents
from bpttcheck.laws.law import NO_REFERENCE, Law, outputs, two_directions
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.tolerance import Measured
from bpttcheck.measuring.trial import Trial


def _reverse(trial: Trial) -> Iterator[Comparison]:
    case, dy = trial.case, trial.cotangents.y
    if case.lengths is not None or len(case.parameters) > 1 or len(case.parameters[0]) < 2 or dy is None:
        return
    H = dy.shape[-1] // 2
    second = np.concatenate([0 * dy[..., :H], dy[..., H:]], axis=-1)
    flipped = replace(
        case,
        x=case.x[::-1].copy(),
        parameters=((case.parameters[0][1],),),
        initial=case.initial and ((case.initial[0][1],),),
        objective=None,
    )
    got = _as_reverse(trial.results(case, Cotangents(second)), H)
    alone = trial.results(flipped, Cotangents(dy[::-1, :, H:].copy()))
    expected = {name: array[::-1] if has_steps(name) else array for name, array in alone.items()}
    spread = Measured({}, _as_reverse(trial.measure(case, Cotangents(second))[0].spread, H))
    yield from trial.compare(got, expected, spread, spread)


def _as_reverse(both: Named, H: int) -> Named:
    """The arrays of the second of two directions, named as if it were the only one."""
    second = {n.removeprefix("reverse."): a for n, a in both.items() if n.startswith("reverse.")}
    return second | {n: a[..., H:] if n == "y" else a for n, a in both.items() if has_steps(n)}


LAWS = (
    Law(
        "reverse-is-flipped",
        "The reverse direction equals a forward run over the flipped sequence, flipped back; so do its gradients.",
        "r(x) = flip(f(flip(x)))",
        "Schuster and Paliwal, Bidirectional recurrent neural networks, 1997",
        _reverse,
        (outputs("y"), two_directions),
        {"T": 2},
        kept=NO_REFERENCE,
    ),
)
