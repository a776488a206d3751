"""The implementation agrees with the reference."""

from collections.abc import Iterator

from bpttcheck.contract import Cotangents
from bpttcheck.laws.law import Law, clips, gradients, known_cell, right_numbers
from bpttcheck.measuring.clipping import below, clipped
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.handing import Handed, in_terms_of
from bpttcheck.measuring.scales import measure
from bpttcheck.measuring.trial import Trial
from bpttref import trees


def _forward(trial: Trial) -> Iterator[Comparison]:
    return trial.compare(trial.outputs, trial.measured.values, trial.measured)


def _pullback(trial: Trial) -> Iterator[Comparison]:
    return trial.compare(trial.gradients, trial.measured.values, trial.measured)


def _clipped(trial: Trial) -> Iterator[Comparison]:
    """Beyond the bound, by a factor of at least 2 to 4, the loop clips with the cotangent of y or without it."""
    clips, case = trial.capabilities.clips, trial.case
    assert clips is not None
    factor = below(clips, case, trial.cotangents) * trial.one_of((4.0, 64.0))
    cotangents = Cotangents(*(trees.scale(part, factor) for part in trial.cotangents))
    got = trial.pull(trial.forward[1], Handed(in_terms_of(trial.capabilities, case, cotangents)))
    (plain,) = measure(case, cotangents, replicates=trial.replicates)
    ways = []
    for carried in (False, True):
        clipping = clipped(clips, case, carried=carried)
        (measured,) = measure(clipping, cotangents, replicates=trial.replicates)
        alive = {name: measured.values[name] - plain.values[name] for name in got}
        ways.append(list(trial.compare(got, measured.values, measured, alive=alive)))
    yield from min(ways, key=lambda comparisons: max((c.margin for c in comparisons), default=0.0))


LAWS = (
    Law(
        "forward-reference",
        "Outputs and final states follow the cell's equations.",
        "s_t = f(x_t, s_{t-1}; w)",
        "the equations at the top of bpttref/cells/*.py",
        _forward,
        (right_numbers(),),
        every_case=True,
        direct=True,
    ),
    Law(
        "pullback-reference",
        "Every gradient equals the reference's, for independent cotangents of all outputs.",
        "sbar_{t-1} = J_t' sbar_t + ybar_{t-1}",
        "Dive into Deep Learning, 9.7.2",
        _pullback,
        (right_numbers(), gradients),
        every_case=True,
        direct=True,
        kept="it is the most sensitive law, and where it fails the correct numbers are known",
    ),
    Law(
        "clipped-reference",
        "The backward loop clips the cotangents that exceed the declared bound, and no others.",
        "sbar_{t-1} = clip(J_t' clip(sbar_t) + ybar_{t-1}), with one of the two",
        "Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013",
        _clipped,
        (gradients, clips, known_cell),
        {"T": 2},
        kept="other laws use cotangents below the bound",
    ),
)
