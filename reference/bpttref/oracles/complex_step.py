"""Gradients by the complex step (Squire and Trapp, 1998): Im f(w + i h) / h, without any subtraction.

With h = 2^-100 the truncation error is far below rounding. Only the forward pass takes part.
"""

from typing import Any

from bpttref.arrays import Array
from bpttref.oracles.replicates import Directions, Problem, objective_of_moved, paths

_STEP = 2.0**-100


def complex_step(problem: Problem, along: Directions | None = None) -> dict[tuple[Any, ...], Array]:
    """The gradient of ``<cotangents, outputs>`` for every array of a float64 problem, by its path.

    along: directions ``(K, size)`` by path; then it is the K derivatives along these.
    """
    return {path: objective_of_moved(problem, path, 1j * _STEP, along).imag / _STEP for path in paths(problem)}
