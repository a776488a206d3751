"""A case or its cotangents, changed in one respect."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bpttcheck.cases.blocks import place
from bpttcheck.contract import Case, Cotangents, Outputs
from bpttref import trees
from bpttref.arrays import Array
from bpttref.inputs import is_tokens


def with_arrays(case: Case, change: Callable[[str, Array], Array]) -> Case:
    """The case with each floating array replaced by ``change(name, array)``; tokens are copied.

    Names are those of `bpttcheck.cases.blocks.named`.
    """

    def tree(layers: Any, prefix: str) -> Any:
        return layers and tuple(
            tuple(
                {name: change(place(k, d) + prefix + name, array) for name, array in leaf.items()}
                for d, leaf in enumerate(directions)
            )
            for k, directions in enumerate(layers)
        )

    objective = case.objective
    if objective is not None:
        objective = objective.with_readout({name: change(name, a) for name, a in objective.readout.items()})
    return replace(
        case,
        objective=objective,
        x=case.x.copy() if is_tokens(case.x) else change("x", case.x),
        parameters=tree(case.parameters, ""),
        initial=tree(case.initial, "initial."),
    )


def behind(case: Case) -> Array:
    """Which steps ``(T, B)`` lie behind the end of their row."""
    steps, rows = case.x.shape[:2]
    return np.arange(steps)[:, None] >= (np.full(rows, steps) if case.lengths is None else case.lengths)


def saturated(case: Case) -> Case:
    """The case with input weights and biases of 1e4, so that every pre-activation is of that order."""

    def large(name: str, array: Array) -> Array:
        return (1e4 * np.sign(array)).astype(array.dtype) if name.rsplit(".", 1)[-1] in ("W_hx", "b_hx") else array

    return with_arrays(case, large)


def only_y(outputs: Outputs | Cotangents, steps: slice) -> Cotangents:
    """Cotangents of y at some steps alone, zero at the others."""
    assert outputs.y is not None
    dy = np.zeros_like(outputs.y)
    dy[steps] = outputs.y[steps]
    return Cotangents(dy)


def other_problem(case: Case) -> Case:
    """Another problem of the same shapes."""
    return with_arrays(case, lambda _, array: (0.5 * array + 0.25).astype(array.dtype))


def copied(cotangents: Cotangents) -> Cotangents:
    """The cotangents in arrays of their own."""
    return Cotangents(trees.copy(cotangents.y), trees.copy(cotangents.final))
