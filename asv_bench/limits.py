"""When is a cell worse? By a ratio and by an amount, both: the table of limits, in the unit of each series."""

import math
from typing import NamedTuple

from asv_runs import Cell, Cells


class Limit(NamedTuple):
    series: str  # the beginning of a method's name
    ratio: float
    amount: float
    exact: bool  # the same number on every run


TIMED = Limit("over_products", 1.08, 0, exact=False)  # above the noise that noise.py has recorded
# An increase of an exact series above 1 % is worse; amounts are there for numbers that are close to 0. The last three
# are too noisy for the gate: the history marks their changes by these limits.
LIMITS = (
    Limit("track_calls", 1.01, 0, exact=True),
    Limit("track_bytes", 1.01, 0, exact=True),
    Limit("track_multiply_adds", 1.01, 0, exact=True),
    Limit("track_instructions", 1.01, 0, exact=True),
    Limit("track_forward_steps", 1.01, 0, exact=True),
    Limit("track_passes", 1.01, 0, exact=True),
    Limit("track_reference_passes", 1.01, 0, exact=True),
    Limit("track_peak_bytes", 1.01, 4096, exact=True),
    Limit("track_states_kept", 1.01, 0.002, exact=True),
    Limit("track_peak_over_theory", 1.01, 0.01, exact=True),
    Limit("track_bias", 1.01, 1e-9, exact=True),
    Limit("track_variance", 1.01, 1e-9, exact=True),
    Limit("track_cosine_loss", 1.01, 1e-9, exact=True),
    TIMED,
    Limit("track_over_products", 1.20, 0.2, exact=False),
    Limit("track_time_exponent", 1.00, 0.15, exact=False),
    Limit("peakmem_", 1.10, 16e6, exact=False),
)


class Change(NamedTuple):
    cell: Cell
    before: float
    after: float | None  # None: it fails now
    limit: Limit

    @property
    def ratio(self) -> float:
        return math.inf if self.after is None else self.after / self.before

    @property
    def worse(self) -> bool:
        return self.after is None or (self.ratio > self.limit.ratio and self.after - self.before > self.limit.amount)


def exact_pattern() -> str:
    """The regular expression of the series that are the same on every run."""
    names = "|".join(limit.series for limit in LIMITS if limit.exact)
    return rf"^(memory|quality|work|verification)\.\w+\.({names})"


def changes(before: Cells, after: Cells) -> list[Change]:
    """The cells that were measured before, with their limits; cells that are skipped at either end are left out."""
    found = []
    for cell, old in before.items():
        limit, new = limit_of(cell), after.get(cell, math.nan)
        if limit and old is not None and not math.isnan(old) and (new is None or not math.isnan(new)):
            found.append(Change(cell, old, new, limit))
    return found


def limit_of(cell: Cell) -> Limit | None:
    """The first row of the table that begins the cell's method; None for peers, and where nothing is gated."""
    module, _, method = cell.benchmark.split(".")
    return next((limit for limit in LIMITS if method.startswith(limit.series) and module != "peers"), None)
