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

    Names are those of `bpttcheck.cases.blocks.named`. An array without axes stays an array.
    """

    def changed(name: str, array: Array) -> Array:
        found = change(name, array)
        return np.asarray(found) if isinstance(found, np.generic) else found

    def tree(layers: Any, prefix: str) -> Any:
        return layers and tuple(
            tuple(
                {name: changed(place(k, d) + prefix + name, array) for name, array in leaf.items()}
                for d, leaf in enumerate(directions)
            )
            for k, directions in enumerate(layers)
        )

    objective = case.objective
    if objective is not None:
        objective = objective.with_readout({name: changed(name, a) for name, a in objective.readout.items()})
    return replace(
        case,
        objective=objective,
        x=case.x.copy() if is_tokens(case.x) else changed("x", case.x),
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


def ordinary(case: Case, cotangents: Cotangents) -> tuple[Case, Cotangents]:
    """The problem at an ordinary size: nothing exceeds 3, and weights are divided by the root of their fan-in.

    Which axis is the fan-in is not known of every cell: the smallest is taken for the fan-out. Vectors, which may be
    what a state is multiplied with at each step, are at most 1.
    """

    def smaller(name: str, array: Array) -> Array:
        if name == "x" or "initial." in name:
            return np.clip(array, -3, 3)
        if array.ndim < 2 or array.size == 0:
            return np.clip(array, -1, 1)
        size = float(np.sqrt(np.mean(np.square(array, dtype=np.float64)))) or 1.0
        scaled: Array = np.clip(array / size, -3, 3) / (array.size / min(array.shape)) ** 0.5
        return scaled.astype(array.dtype)

    clipped = Cotangents(*(trees.each(lambda a: np.clip(a, -3, 3), part) for part in cotangents))
    return with_arrays(case, smaller), clipped


def first_steps(case: Case, cotangents: Cotangents, steps: int) -> tuple[Case, Cotangents]:
    """The problem of the first steps alone, with the cotangents of final states at their end."""
    objective, dy = case.objective, cotangents.y
    if objective is not None:
        weights = None if objective.weights is None else objective.weights[:steps]
        objective = replace(objective, targets=objective.targets[:steps], weights=weights)
    lengths = None if case.lengths is None else np.minimum(case.lengths, steps)
    short = replace(case, x=case.x[:steps], lengths=lengths, objective=objective)
    return short, Cotangents(None if dy is None else dy[:steps], cotangents.final)


def in_float64(case: Case, cotangents: Cotangents) -> tuple[Case, Cotangents]:
    """The same numbers in float64."""

    def wide(array: Array) -> Array:
        return array.astype(np.float64)

    exact = replace(with_arrays(case, lambda _, array: wide(array)), dtype="float64")
    return exact, Cotangents(*(trees.each(wide, part) for part in cotangents))


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
