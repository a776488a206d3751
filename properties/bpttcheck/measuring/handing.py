"""The cotangents for an implementation that declares another pullback than the plain one.

Laws speak of the plain pullback, which is linear in the cotangents of all outputs. A declared mean is the plain
pullback of other cotangents: the code that calls the implementation changes them, and the laws need not know. A factor
other than the declared one is then a mistake like any other. A mean over the steps of each row divides by another
number in each row that has a length, so that a factor of the gradients would not be enough.

If only the last step has an output, laws see y of all steps, zero except there, and cotangents at other steps are
dropped. This is a linear map, too, so that the laws that compare gradients hold unchanged. Laws that need y of each
step do not run. A loop that clips gets cotangents that stay below its bound (`bpttcheck.measuring.clipping`).
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from bpttcheck.cases.changes import only_ends
from bpttcheck.cases.reductions import scale_of
from bpttcheck.contract import Capabilities, Case, Cotangents, Outputs
from bpttcheck.dtypes import rounded
from bpttcheck.measuring.clipping import below
from bpttcheck.measuring.comparisons import Violation
from bpttcheck.measuring.tolerance import Measured
from bpttref import trees
from bpttref.arrays import Array


def plain(capabilities: Capabilities) -> Capabilities:
    """The same of an implementation with the plain pullback."""
    outputs = tuple("y" if name == "last" else name for name in capabilities.outputs)
    return replace(capabilities, reduction="given", outputs=outputs, clips=None)


def received(capabilities: Capabilities, case: Case, outputs: Outputs) -> Outputs:
    """The outputs of the plain pullback. Raises Violation where there is not one y for each row that should be."""
    if "last" not in capabilities.outputs or outputs.y is None:
        return outputs
    if outputs.y.ndim != 2 or len(outputs.y) != case.B:
        expected = f"({case.B}, features), only for the last step"
        raise Violation(f"the output y has shape {outputs.y.shape}; expected {expected}")
    return outputs._replace(y=only_ends(case, np.broadcast_to(outputs.y, (case.T, *outputs.y.shape))))


def as_returned(capabilities: Capabilities, case: Case, measured: Measured) -> Measured:
    """The measured outputs in the form that the implementation returns."""
    if "last" not in capabilities.outputs:
        return measured
    values, spread = (
        {name: only_ends(case, array) if name == "y" else array for name, array in part.items()}
        for part in (measured.values, measured.spread)
    )
    return Measured(values, spread)


class Handed(NamedTuple):
    """Cotangents as an implementation gets them, and the divisor of its gradients."""

    cotangents: Cotangents
    factor: float = 1.0


def handed(capabilities: Capabilities, case: Case, cotangents: Cotangents) -> Handed:
    """The cotangents with which an implementation gives the plain pullback's gradients for ``cotangents``."""
    own = in_terms_of(capabilities, case, cotangents)
    if capabilities.clips is None:
        return Handed(own)
    factor = below(capabilities.clips, case, cotangents)
    return Handed(Cotangents(*(trees.scale(part, factor) for part in own)), factor)


def in_terms_of(capabilities: Capabilities, case: Case, cotangents: Cotangents) -> Cotangents:
    """Cotangents with which a pullback of the mean, or of the last step, equals the plain one for ``cotangents``,
    whatever their size."""
    y, final = cotangents
    if "last" in capabilities.outputs and y is not None:
        y = only_ends(case, y).sum(axis=0)
    scale = 1.0 if capabilities.objectives else scale_of(capabilities, case.T, case.B, case.lengths)
    if np.all(scale == 1):
        return Cotangents(y, final)
    count = np.broadcast_to(np.rint(1 / np.asarray(scale)), case.B)

    def times(array: Array, rows: int) -> Array:
        """The axis ``rows`` holds the rows."""
        factors = count.reshape(-1, *[1] * (array.ndim - rows - 1))
        return rounded(np.multiply(array, factors, dtype=np.float64), case.dtype)

    y = None if y is None else times(y, y.ndim - 2)
    scaled: Any = trees.each(lambda array: times(array, 0), final)
    return Cotangents(y, scaled)
