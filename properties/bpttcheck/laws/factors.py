"""Laws for 16 bits: an incorrect factor that no single case is precise enough to show is estimated over all cases.

A gradient that is 2 % too large is within the rounding of each single case. But rounding differs from case to case, and
a factor does not. So each block of the results is regressed on the correct numbers, and the estimates of the cases are
averaged, each with the weight of its precision. Their scatter shows how precise the average is.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from bpttcheck.cases.blocks import array_of
from bpttcheck.dtypes import FORMATS
from bpttcheck.laws.law import Law, coarse_format, gradients, right_numbers
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.trial import Trial
from bpttref.arrays import Array

_NORMAL = 5.6  # standard errors, which a normal number exceeds once in 10^8
_FEWEST = 10  # cases; none weighs more than the tenth most precise


def _of_case(trial: Trial) -> Iterator[Comparison]:
    return trial.compare(trial.gradients, trial.measured.values, trial.measured)


def _over_cases(cases: Sequence[Sequence[Comparison]], dtype: str) -> Iterator[Comparison]:
    """The factor of each block, and its tolerance: its error, and half a roundoff, which all results may share."""
    found: dict[str, list[tuple[float, float]]] = {}
    for comparisons in cases:
        sums: dict[str, tuple[float, float]] = {}
        for c in comparisons:
            block = array_of(c.block)
            if c.got is not None and c.expected is not None and np.isfinite(c.got).all() and c.tolerance > 0:
                right = c.expected.astype(np.float64) / c.tolerance
                product, square = sums.get(block, (0.0, 0.0))
                sums[block] = product + float(np.sum(c.got / c.tolerance * right)), square + float(np.sum(right**2))
        for block, (product, square) in sums.items():
            if square > 0:
                found.setdefault(block, []).append((product / square, square))
    for block, pairs in sorted(found.items()):
        if len(pairs) >= _FEWEST:
            factors, precision = np.array(pairs).T
            factor, error = _average(factors, np.minimum(precision, np.sort(precision)[-_FEWEST]))
            name = f"the factor of {block} over {len(pairs)} cases"
            yield Comparison.of_numbers(name, factor, 1.0, error + FORMATS[dtype].eps / 2)


def _average(numbers: Array, weights: Array) -> tuple[float, float]:
    """The weighted mean, and the error that it exceeds once in 10^8, from the scatter of the numbers.

    The quantile of Student's t is by the approximation of Gaver and Kafadar (1984).
    """
    mean, total = float(np.average(numbers, weights=weights)), weights.sum()
    freedom = float(total**2 / np.sum(weights**2)) - 1  # as many numbers of equal weight would have
    scatter = float(np.sqrt(np.sum((weights * (numbers - mean)) ** 2)) / total * np.sqrt((freedom + 1) / freedom))
    quantile = np.sqrt(freedom * np.expm1(_NORMAL**2 * (freedom - 1.5) / (freedom - 1) ** 2))
    return mean, float(quantile) * scatter


LAWS = (
    Law(
        "factors-over-cases",
        "Over all cases of a run in 16 bits, no block of a gradient is too large or too small by a constant factor.",
        "sum w <got, true> / sum w <true, true> = 1",
        "weighted regression through the origin",
        _of_case,
        (right_numbers(), gradients, coarse_format),
        every_case=True,
        over_cases=_over_cases,
        kept="it finds a factor that the rounding of each single case hides",
    ),
)
