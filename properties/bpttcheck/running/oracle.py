"""Before a subject is accused the reference is tried: complex step, differences and forward mode vote on it."""

from typing import Any

import numpy as np

from bpttcheck.cases.blocks import place
from bpttcheck.cases.kinks import at_kink
from bpttcheck.contract import Case, Cotangents, CustomCell
from bpttcheck.measuring.tolerance import FACTOR, measure
from bpttref import Full
from bpttref.arrays import Array
from bpttref.inputs import is_tokens
from bpttref.oracles import Problem, complex_step, differences, forward_mode
from bpttref.trees import each


def reference_is_confirmed(case: Case, cotangents: Cotangents) -> bool:
    """Whether the reference's gradients at this case stand; they fall if two oracles contradict a number.

    They run on stacks of one direction without lengths, truncation or tokens (forward mode on a single layer, for its
    parameters), away from kinks, across which differences say nothing of a derivative; elsewhere there is nothing to
    say, and the answer is True.
    """
    if (
        isinstance(case.cell, CustomCell)
        or any(len(directions) > 1 for directions in case.parameters)
        or case.lengths is not None
        or case.initial is None
        or case.truncation != Full()
        or is_tokens(case.x)
        or at_kink(case)
    ):
        return True
    (measured,) = measure(case, cotangents)
    arrays = (case.parameters, case.x, case.initial, cotangents.y, cotangents.final)
    parameters, x, initial, dy, final = (each(lambda a: a.astype(np.float64), tree) for tree in arrays)
    problem = Problem(case.cell, parameters, x, initial, Cotangents(dy, final))
    by_differences, by_forward_mode = differences(problem), _by_forward_mode(problem)
    for path, gradient in complex_step(problem).items():
        kind, layer, name = path if len(path) == 3 else ("", 0, "x")
        full_name = place(layer, 0) + "initial." * (kind == "initial") + name
        true = measured.values[full_name]
        scale = FACTOR * measured.spread[full_name] + 1e-12 * np.abs(true).max(initial=0) + 1e-300
        value, error = by_differences[path]
        against = (np.abs(true - gradient) > scale) * 1 + (np.abs(true - value) > scale + 16 * error)
        if kind == "parameters" and name in by_forward_mode:
            against = against + (np.abs(true - by_forward_mode[name]) > scale)
        if np.any(against > 1):
            return False
    return True


def _by_forward_mode(problem: Problem) -> dict[str, Array]:
    """Real-time recurrent learning, row by row, where there is one layer and a cotangent of y."""
    dy, final = problem.cotangents
    if len(problem.parameters) > 1 or dy is None:
        return {}
    cell, parameters, state = problem.cell, problem.parameters[0][0], problem.initial[0][0]

    def row(states: Any, b: int) -> Array:
        return np.concatenate([states[name][b] for name in cell.states])

    total = np.sum(
        [
            forward_mode(
                cell,
                parameters,
                problem.x[:, b],
                row(state, b),
                dy[:, b],
                None if final is None else row(final[0][0], b),
            )
            for b in range(dy.shape[1])
        ],
        axis=0,
    )
    edges = np.cumsum([array.size for array in parameters.values()])[:-1]
    parts = np.split(total, edges)
    return {name: part.reshape(array.shape) for (name, array), part in zip(parameters.items(), parts, strict=True)}
