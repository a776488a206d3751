"""What an implementation is handed whose pullback is declared to be another than the plain one.

Laws speak of the plain pullback, which is linear in the cotangents of all outputs. A declared mean is the same of other
cotangents, so that these are changed where the implementation is called, and no law knows of it. A factor that is not
the declared one is then wrong like any other. A mean over the steps of each row divides by another number in each row
that has a length, so that no factor of the gradients would do.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from bpttcheck.cases.reductions import scale_of
from bpttcheck.contract import Capabilities, Case, Cotangents
from bpttcheck.dtypes import rounded
from bpttref import trees
from bpttref.arrays import Array


def plain(capabilities: Capabilities) -> Capabilities:
    """The same of an implementation with the plain pullback."""
    return replace(capabilities, reduction="given")


def handed(capabilities: Capabilities, case: Case, cotangents: Cotangents) -> Cotangents:
    """The cotangents of which an implementation gives what the plain pullback gives of ``cotangents``."""
    scale = 1.0 if capabilities.objectives else scale_of(capabilities, case.T, case.B, case.lengths)
    if np.all(scale == 1):
        return cotangents
    count = np.broadcast_to(np.rint(1 / np.asarray(scale)), case.B)

    def times(array: Array, rows: int) -> Array:
        """axis ``rows`` is that of the rows."""
        factors = count.reshape(-1, *[1] * (array.ndim - rows - 1))
        return rounded(np.multiply(array, factors, dtype=np.float64), case.dtype)

    y = None if cotangents.y is None else times(cotangents.y, 1)
    final: Any = trees.each(lambda array: times(array, 0), cotangents.final)
    return Cotangents(y, final)
