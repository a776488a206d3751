"""Gradients by central differences with one Richardson extrapolation, and an estimate of their error.

D(h) = (f(w + h) - f(w - h)) / 2h has error c h^2 + ...; (4 D(h/2) - D(h)) / 3 removes c. Only the forward pass takes
part.
"""

from typing import Any

import numpy as np

from bpttref.arrays import Array
from bpttref.oracles.replicates import Directions, Problem, objective_of_moved, paths

_STEP = 2.0**-10


def differences(problem: Problem, along: Directions | None = None) -> dict[tuple[Any, ...], tuple[Array, Array]]:
    """For every array of a float64 problem, by its path: the gradient, and an estimate of its error.

    along: directions ``(K, size)`` by path; then it is the K derivatives along these. The estimate of the error is the
    last correction plus the rounding of the objective over the step.
    """
    found = {}
    for path in paths(problem):
        f = {k: objective_of_moved(problem, path, k * _STEP, along) for k in (-1.0, -0.5, 0.5, 1.0)}
        wide, narrow = (f[1.0] - f[-1.0]) / (2 * _STEP), (f[0.5] - f[-0.5]) / _STEP
        size = np.maximum(np.abs(f[1.0]), 1.0)
        found[path] = (4 * narrow - wide) / 3, np.abs(narrow - wide) + 2**-50 * size / _STEP
    return found
