"""A case or its cotangents, changed in one respect."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import numpy as np

from bpttcheck.cases.blocks import has_rows, nested, place, streams
from bpttcheck.contract import Case, Cotangents, CustomCell, Outputs
from bpttcheck.custom_cell import Domain, inside
from bpttcheck.dtypes import FORMATS, rounded
from bpttref import trees, zero_states
from bpttref.arrays import Array
from bpttref.network import States


def with_arrays(case: Case, change: Callable[[str, Array], Array]) -> Case:
    """The case with each floating array replaced by ``change(name, array)``; arrays of whole numbers are copied.

    Names are as in `bpttcheck.cases.blocks.named`. An array without axes stays an array.
    """

    def changed(name: str, array: Array) -> Array:
        found = change(name, array) if array.dtype.kind in "fc" else array.copy()
        return np.asarray(found) if isinstance(found, np.generic) else found

    def tree(layers: Any, prefix: str) -> Any:
        return layers and tuple(
            tuple(
                {name: changed(place(k, d) + prefix + name, array) for name, array in leaf.items()}
                for d, leaf in enumerate(directions)
            )
            for k, directions in enumerate(layers)
        )

    x = {name: changed(name, array) for name, array in streams(case.x).items()}
    objective = case.objective
    if objective is not None:
        objective = objective.with_readout({name: changed(name, a) for name, a in objective.readout.items()})
    return replace(
        case,
        objective=objective,
        x=nested(x),
        parameters=tree(case.parameters, ""),
        initial=tree(case.initial, "initial."),
    )


def behind(case: Case) -> Array:
    """Which steps ``(T, B)`` lie behind the end of their row."""
    lengths = np.full(case.B, case.T) if case.lengths is None else case.lengths
    behind: Array = np.arange(case.T)[:, None] >= lengths
    return behind


def with_padding(case: Case, number: float) -> Case:
    """The case with a number behind the ends of its rows; a finite one is first moved into the domain, and in a domain
    of whole numbers it is the first of them."""

    def padded(name: str, array: Array) -> Array:
        domain, fill = domain_of(case, name), np.full_like(array, 0)
        if isinstance(domain, range):
            fill[...] = domain.start
        elif array.dtype.kind == "f":
            fill[...] = number if not np.isfinite(number) else min(number, FORMATS[case.dtype].most / 16)
            fill = put_inside(case, name, fill) if np.isfinite(number) else fill
        ends = behind(case).reshape(*array.shape[:2], *[1] * (array.ndim - 2))
        return np.where(ends, fill, array)

    return replace(case, x=nested({name: padded(name, array) for name, array in streams(case.x).items()}))


def of_steps(case: Case, steps: slice | Array) -> Case:
    """The case with only these steps, from its initial states; the lengths stay as they are."""
    resets = None if case.resets is None else case.resets[steps]
    return replace(case, x=trees.each(lambda array: array[steps], case.x), resets=resets)


def resets_far(case: Case) -> bool:
    """Whether rows are reset to initial states, which a later piece of a sequence is not given."""
    return case.reset_to == "initial" and case.resets is not None and bool(case.resets.any())


def saturating(case: Case) -> Collection[str]:
    """The names of the arrays that saturate the units of a case's cell where they are large."""
    return case.cell.saturates if isinstance(case.cell, CustomCell) else ("W_hx", "b_hx")


def saturated(case: Case) -> Case:
    """The case with numbers of 1e4, each with its sign, in all arrays that saturate its cell's units."""
    names = saturating(case)

    def large(name: str, array: Array) -> Array:
        return put_inside(case, name, 1e4 * np.sign(array)) if name.rpartition(".")[2] in names else array

    return with_arrays(case, large)


def ordinary(case: Case, cotangents: Cotangents) -> tuple[Case, Cotangents]:
    """The problem with ordinary numbers: nothing exceeds 3, and weights are divided by the root of their fan-in.

    The axis of the fan-in is not known for every cell: the smallest axis counts as the fan-out. Vectors are at most 1,
    because they may multiply a state at each step.
    """

    def smaller(name: str, array: Array) -> Array:
        return put_inside(case, name, shrunk(name, array))

    def shrunk(name: str, array: Array) -> Array:
        if has_rows(name):
            return np.clip(array, -3, 3)
        if array.ndim < 2 or array.size == 0:
            return np.clip(array, -1, 1)
        size = float(np.sqrt(np.mean(np.square(array, dtype=np.float64)))) or 1.0
        scaled: Array = np.clip(array / size, -3, 3) / (array.size / min(array.shape)) ** 0.5
        return scaled.astype(array.dtype)

    clipped = Cotangents(*(trees.each(lambda a: np.clip(a, -3, 3), part) for part in cotangents))
    return with_arrays(case, smaller), clipped


def first_steps(case: Case, cotangents: Cotangents, steps: int) -> tuple[Case, Cotangents]:
    """The problem of only the first steps, with the cotangents of final states at their end."""
    objective, dy = case.objective, cotangents.y
    if objective is not None:
        weights = None if objective.weights is None else objective.weights[:steps]
        objective = replace(objective, targets=objective.targets[:steps], weights=weights)
    lengths = None if case.lengths is None else np.minimum(case.lengths, steps)
    short = replace(of_steps(case, slice(steps)), lengths=lengths, objective=objective)
    return short, Cotangents(None if dy is None else dy[:steps], cotangents.final)


def in_float64(case: Case, cotangents: Cotangents) -> tuple[Case, Cotangents]:
    """The same numbers in float64."""

    def wide(array: Array) -> Array:
        return array.astype(np.float64)

    exact = replace(with_arrays(case, lambda _, array: wide(array)), dtype="float64")
    return exact, Cotangents(*(trees.each(wide, part) for part in cotangents))


def only_ends(case: Case, y: Array) -> Array:
    """Outputs or cotangents ``(T, B, ..)``, zero except at the last step of each row."""
    lengths = np.full(case.B, case.T) if case.lengths is None else case.lengths
    ends = np.arange(case.T)[:, None] == lengths - 1
    return np.where(ends[:, :, None], y, 0).astype(y.dtype)


def only_y(outputs: Outputs | Cotangents, steps: slice) -> Cotangents:
    """Cotangents of y at some steps only, zero at the others."""
    assert outputs.y is not None
    dy = np.zeros_like(outputs.y)
    dy[steps] = outputs.y[steps]
    return Cotangents(dy)


def other_problem(case: Case) -> Case:
    """Another problem of the same shapes."""
    return with_arrays(case, lambda name, array: put_inside(case, name, 0.5 * array + 0.25))


def with_other_steps(case: Case, k: int) -> Case:
    """Other numbers in the steps from k on."""

    def other(name: str, array: Array) -> Array:
        domain = range(case.sizes["D"]) if "D" in case.sizes and array.ndim == 2 else domain_of(case, name)
        if domain is bool:
            return ~array
        if isinstance(domain, range):
            following: Array = np.array(domain)[(array - domain.start + domain.step) // domain.step % len(domain)]
            return following
        return put_inside(case, name, -2 * array + 1)

    x = {name: np.concatenate([array[:k], other(name, array[k:])]) for name, array in streams(case.x).items()}
    return replace(case, x=nested(x))


def domain_of(case: Case, name: str) -> Domain | None:
    """The domain of an array of a case."""
    return case.cell.domain(name) if isinstance(case.cell, CustomCell) else None


def meant_to_differ(case: Case, name: str) -> bool:
    """Whether gradients of an array are declared to differ from the derivatives of the forward pass."""
    return isinstance(case.cell, CustomCell) and name.rpartition(".")[2] in case.cell.surrogate


def all_states(case: Case, given: States | None) -> States | None:
    """States of a known cell, or cotangents of states, with zeros for those that are absent."""
    if given is None or isinstance(case.cell, CustomCell) or given[0][0].keys() >= {*case.cell.states}:
        return given
    zeros = zero_states(case.cell, case.parameters, case.B)
    return tuple(
        tuple({name: own.get(name, array) for name, array in all_.items()} for own, all_ in zip(*layers, strict=True))
        for layers in zip(given, zeros, strict=True)
    )


def zero_where(tree: States | None, names: Collection[str]) -> States | None:
    """Cotangents or gradients of states, zero for the states of these names."""
    found: States | None = tree and tuple(
        tuple({name: np.zeros_like(a) if name in names else a for name, a in leaf.items()} for leaf in layer)
        for layer in tree
    )
    return found


def handed_back(case: Case, states: States | None, like: States | None) -> States | None:
    """Gradients of initial states as cotangents of the final states of the steps before.

    like: the final states; some take no cotangent, and may have no gradient.
    """
    if states is None or not isinstance(case.cell, CustomCell) or not case.cell.without_cotangent:
        return states
    ((given,),), ((ends,),) = states, like or states
    zeros = {name: np.zeros_like(ends[name]) for name in case.cell.without_cotangent}
    return (({**given, **zeros},),)


def put_inside(case: Case, name: str, array: Array) -> Array:
    """New numbers for an array of a case, put into its domain, in its dtype."""
    return rounded(inside(domain_of(case, name), array), case.dtype)


def copied(cotangents: Cotangents) -> Cotangents:
    """The cotangents in arrays of their own."""
    return Cotangents(trees.copy(cotangents.y), trees.copy(cotangents.final))
