"""How large an error may be: measured for each case, not chosen. A block may err by `FACTOR` times its scale of
legitimate error; `bpttcheck.measuring.scales` measures the scale."""

import math
from dataclasses import dataclass

import numpy as np

from bpttcheck.cases.blocks import Named
from bpttcheck.dtypes import FORMATS, Format

FACTOR = 16.0  # several times the largest ratio of error to scale that correct libraries showed


@dataclass(frozen=True)
class Measured:
    """Values in float64 by name, and for each element the scale of legitimate error.

    ``values`` is empty where the true values are not known.
    """

    values: Named
    spread: Named


def allowed(scale: float, size: float, format: Format, operations: int, terms: int = 1) -> float:
    """The tolerance of a block: ``scale`` is its largest spread, ``size`` its largest value, a sum of ``terms``.

    A result is rounded at least once; and each operation may lose a number that is too small. Adding the same number
    again and again errs in one direction, by at most 2/3 of a roundoff each time, which noise does not show. But noise
    shows how much of a sum may err so: the more of its terms are alike, the more their noise averages out.
    """
    rounding = format.inside * size
    noise = (
        scale - (1 + math.log2(max(1, terms))) * FORMATS["float64"].eps * size
    )  # without the reference's own rounding
    ratio = min(2.5 * rounding / noise, terms) if noise > 0 else terms
    alike = min(terms, (1 + terms / 64) * ratio**2)
    return FACTOR * scale + max(FACTOR / 2, 2 / 3 * alike) * rounding + operations * format.lost


def as_stored(measured: Measured, format: Format) -> Measured:
    """The same where the results of operations in a finer format are stored in a coarser one: each is rounded by up to
    a roundoff of its own, once."""
    if format.inside == format.eps:
        return measured
    rounding = (format.eps - format.inside) / FACTOR
    spread = {n: s + rounding * np.abs(measured.values[n]) for n, s in measured.spread.items()}
    return Measured(measured.values, spread)


def in_range(size: float, scale: float, format: Format) -> bool:
    """Whether the dtype can hold a block at all; one that it cannot hold proves nothing."""
    return math.isfinite(size + scale) and size + scale < format.most / 1024
