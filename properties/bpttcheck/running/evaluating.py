"""One law on one case."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bpttcheck.cases.blocks import array_of
from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.kinks import at_kink, near_kink
from bpttcheck.cases.realising import realise
from bpttcheck.laws import Law
from bpttcheck.laws.law import Asked
from bpttcheck.measuring.calls import Refused
from bpttcheck.measuring.comparisons import Comparison, Violation
from bpttcheck.measuring.scales import FEW, REPLICATES
from bpttcheck.measuring.trial import Trial


@dataclass(frozen=True)
class Finding:
    """One law on one case: the worst comparison, or the sentence of a violation, or neither if it proved nothing,
    perhaps because the implementation refused the case. alive: for each compared array, whether an incorrect number
    would show. sample: the comparisons, for a law over all cases. sees: the smallest error that it sees in each array,
    relative to the array's largest number."""

    worst: Comparison | None = None
    violation: str = ""
    refused: str = ""
    alive: Mapping[str, bool] = field(default_factory=dict)
    sample: Sequence[Comparison] = ()
    sees: Mapping[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return bool(self.violation) or (self.worst is not None and self.worst.margin > 1)

    @property
    def proves(self) -> bool:
        """Whether the law could have failed."""
        return self.failed or any(self.alive.values())

    def sentence(self) -> str:
        if self.violation or self.worst is None:
            return self.violation
        block = f"{self.worst.block}{self.worst.of}"
        if not np.isfinite(self.worst.error):
            return f"{block} is not finite, where finite numbers are expected"
        allowed = "nothing" if self.worst.exact else f"{self.worst.tolerance:.3g}"
        return f"{block} is off by {self.worst.error:.3g}, where {allowed} is allowed"


def evaluate(law: Law, trial: Trial) -> Finding:
    """Run one law on one `Trial`. Raises AdapterError if the implementation raises.

    An error that is large next to the tolerance of few replicates is measured by many before it counts.
    """
    trial = trial if law.direct else trial.of_several_calls
    finding = _evaluate(law, trial)
    worst = finding.worst
    if worst is not None and worst.margin > 1 / 2 and trial.replicates < REPLICATES:
        return _evaluate(law, trial.measured_well)
    return finding


def _evaluate(law: Law, trial: Trial) -> Finding:
    if any(trial.case.sizes.get(name, least) < least for name, least in law.smallest.items()):
        return Finding()
    trial.drawing_for(law.id)
    try:
        with np.errstate(all="ignore"):
            if not (law.decisive or law.in_chaos) and not trial.determined:
                return Finding()
            comparisons = list(law.check(trial))
    except Violation as violation:
        return Finding(violation=str(violation))
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, AssertionError) as error:
        said = f"{type(error).__name__}: {error}"
        return Finding(violation=f"what the implementation returned does not fit together: {said}")
    except Refused as refusal:
        return Finding(refused=str(refusal))
    if law.over_cases is not None:
        return Finding(sample=comparisons)
    return found_in(comparisons)


def found_in(comparisons: Sequence[Comparison]) -> Finding:
    """The worst of some comparisons, and which arrays they compared."""
    alive: dict[str, bool] = {}
    allowed: dict[str, tuple[float, float]] = {}
    for comparison in comparisons:
        array = array_of(comparison.block)
        alive[array] = alive.get(array, False) or comparison.alive
        tolerance, size = allowed.get(whole := array.partition("[")[0], (0.0, 0.0))
        allowed[whole] = max(tolerance, comparison.tolerance), max(size, comparison.size)
    sees = {array: tolerance / size for array, (tolerance, size) in allowed.items() if size > tolerance}
    return Finding(_first_wrong(comparisons), alive=alive, sees=sees)


def _first_wrong(comparisons: Sequence[Comparison]) -> Comparison | None:
    """The worst; but of several incorrect steps the first one.

    In gradients of inputs, which are computed backwards, this is the last step of the sequence.
    """
    worst = max(comparisons, key=lambda c: c.margin, default=None)
    if worst is None or worst.margin <= 1 or "[t=" not in worst.block:
        return worst
    array = worst.block.partition("[t=")[0]
    wrong = [
        (int(c.block[len(array) + 3 : -1]), c)
        for c in comparisons
        if c.margin > 1 and c.block.startswith(f"{array}[t=") and c.case is worst.case and c.of == worst.of
    ]
    return (min if array == "y" else max)(wrong, key=lambda step: step[0])[1]


def trial_of(asked: Asked, draw: Draw) -> Trial | None:
    """The `Trial` of a draw; None if a pre-activation is so near to a kink that rounding decides its side.

    The user's own case is not left out: there an infinite scale of error leaves open the numbers that depend on the
    side.
    """
    case, cotangents = realise(draw, *asked.place)
    own = draw.file is not None
    if near_kink(case) and not own:
        return None
    problem = asked.subject, asked.capabilities, case, cotangents, asked.against
    return Trial(*problem, kinks=own and at_kink(case), replicates=FEW)
