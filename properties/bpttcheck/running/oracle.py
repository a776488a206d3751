"""Before a law fails on an implementation, the reference is checked: by complex step, differences and forward mode."""

import math
from typing import Any

import numpy as np

from bpttcheck.cases.blocks import place
from bpttcheck.cases.changes import all_states
from bpttcheck.cases.kinks import at_kink
from bpttcheck.contract import Case, Cotangents, CustomCell
from bpttcheck.measuring.scales import measure
from bpttcheck.measuring.tolerance import FACTOR
from bpttref import Full
from bpttref.arrays import Array
from bpttref.inputs import is_tokens
from bpttref.oracles import Problem, complex_step, differences, forward_mode
from bpttref.oracles.replicates import array_at, paths
from bpttref.trees import each


def reference_is_confirmed(case: Case, cotangents: Cotangents) -> bool:
    """Whether the reference's gradients at this case are confirmed; they are not if two oracles contradict a number.

    They run on stacks of one direction without lengths, truncation or tokens, away from kinks, across which differences
    are no derivatives; elsewhere they cannot check, and the answer is True. If an array is too large to move each
    number, they use sums of all its numbers with random signs. Forward mode checks the parameters of a single layer
    that is not too large. Differences, which cost most, run only where another oracle contradicts: on their own they
    would not be two.
    """
    if (
        isinstance(case.cell, CustomCell)
        or any(len(directions) > 1 for directions in case.parameters)
        or case.lengths is not None
        or case.initial is None
        or case.resets is not None
        or case.truncation != Full()
        or is_tokens(case.x)
        or at_kink(case)
    ):
        return True
    (measured,) = measure(case, cotangents)
    initial, final = (all_states(case, states) for states in (case.initial, cotangents.final))
    arrays = (case.parameters, case.x, initial, cotangents.y, final)
    parameters, x, initial, dy, final = (each(lambda a: a.astype(np.float64), tree) for tree in arrays)
    problem = Problem(case.cell, parameters, x, initial, Cotangents(dy, final))
    along = {path: _directions(problem, path) for path in paths(problem)}
    by_forward_mode = _by_forward_mode(problem)
    for path, gradient in complex_step(problem, along).items():
        kind, layer, name = path if len(path) == 3 else ("", 0, "x")
        full_name = place(layer, 0) + "initial." * (kind == "initial") + name
        directions = along[path]
        true = directions @ measured.values[full_name].ravel()
        spread = np.abs(directions) @ measured.spread[full_name].ravel()
        scale = FACTOR * spread + 1e-12 * np.abs(true).max(initial=0) + 1e-300
        against = (np.abs(true - gradient) > scale) * 1
        if kind == "parameters" and name in by_forward_mode:
            against = against + (np.abs(true - directions @ by_forward_mode[name]) > scale)
        if against.any():
            value, error = differences(problem, along)[path]
            against = against + (np.abs(true - value) > scale + 16 * error)
        if np.any(against > 1):
            return False
    return True


_WORK = 2**24  # multiply-adds of all copies of a problem, each with a number moved: some tenths of a second


def _directions(problem: Problem, path: tuple[Any, ...]) -> Array:
    """Unit vectors for the numbers of an array, or fewer vectors of random signs and length 1, ``(K, size)``."""
    size, most = array_at(problem, path).size, max(1, _WORK // _multiply_adds(problem))
    if size <= most:
        return np.eye(size)
    signs: Array = np.where(np.random.default_rng(size).random((most, size)) < 0.5, -1.0, 1.0)
    return signs / math.sqrt(size)


def _multiply_adds(problem: Problem) -> int:
    """The multiply-adds in the products of one forward pass."""
    steps, rows, _ = problem.x.shape
    return int(steps * rows * sum(array.size for (layer,) in problem.parameters for array in layer.values()))


def _by_forward_mode(problem: Problem) -> dict[str, Array]:
    """Real-time recurrent learning, row by row: vectors ``(size,)``. Only for one layer and with a cotangent of y."""
    dy, final = problem.cotangents
    size = sum(array.size for array in problem.parameters[0][0].values())
    if len(problem.parameters) > 1 or dy is None or size * _multiply_adds(problem) > _WORK:
        return {}
    cell, parameters, state = problem.cell, problem.parameters[0][0], problem.initial[0][0]

    def row(states: Any, b: int) -> Array:
        return np.concatenate([states[name][b] for name in cell.states])

    total = np.zeros(size)
    for b in range(dy.shape[1]):
        dfinal = None if final is None else row(final[0][0], b)
        total += forward_mode(cell, parameters, problem.x[:, b], row(state, b), dy[:, b], dfinal)
    edges = np.cumsum([array.size for array in parameters.values()])[:-1]
    return dict(zip(parameters, np.split(total, edges), strict=True))
