"""The divisor of a mean: the steps of a row, the rows, or the steps of all rows."""

import numpy as np

from bpttcheck.contract import Capabilities
from bpttref.arrays import Array


def scale_of(capabilities: Capabilities, T: int, B: int, lengths: Array | None) -> float | Array:
    """The factor of each loss by the declared reduction: a number or, if rows differ in this, one for each row."""
    ragged = lengths is not None and not capabilities.padding_counts
    steps = lengths if ragged and lengths is not None else np.full(B, T)
    if "last" in capabilities.outputs:
        steps = np.minimum(1, steps)
    of_row = 1 / np.maximum(1, steps)
    found = {
        "mean-of-steps": of_row if ragged else float(of_row.min(initial=1)),
        "mean-of-rows": 1 / max(1, B),
        "mean": 1 / max(1, int(steps.sum())),
    }
    return found.get(capabilities.reduction, 1.0)
