"""The edges: no step at all, gates that are saturated, arrays in unusual layouts."""

from collections.abc import Callable, Iterator

import numpy as np

from bpttcheck.cases.blocks import has_steps, named
from bpttcheck.cases.changes import of_steps, saturated, saturating, with_arrays
from bpttcheck.contract import Cotangents
from bpttcheck.laws.law import Law, carried_cotangents, empty, gradients, saturating_cell, wide_range
from bpttcheck.measuring.calls import AdapterError, Refused
from bpttcheck.measuring.comparisons import Comparison, Violation
from bpttcheck.measuring.trial import Trial
from bpttref.arrays import Array


def _empty(trial: Trial) -> Iterator[Comparison]:
    if trial.case.lengths is not None:
        return
    case, final = of_steps(trial.case, slice(0)), trial.cotangents.final
    dy = None if trial.cotangents.y is None else trial.cotangents.y[:0]
    outputs, pullback = trial.run(case)
    got, expected = named(outputs), {n.replace("initial.", "final."): a for n, a in named_states(trial).items()}
    yield from trial.compare(got, expected)
    pulled = trial.pull(pullback, Cotangents(dy, final))
    back = {n.replace("final.", "initial."): a for n, a in named(Cotangents(None, final)).items()}
    zeros = {n: np.zeros_like(a) for n, a in pulled.items() if n not in back and not has_steps(n)}
    yield from trial.compare(pulled, back | zeros, alive=back | trial.gradients)


def named_states(trial: Trial) -> dict[str, Array]:
    return {n: a for n, a in trial.expected().items() if "initial." in n}


def _saturated(trial: Trial) -> Iterator[Comparison]:
    for name, array in trial.results(saturated(trial.case), trial.cotangents).items():
        if not np.isfinite(array).all():
            large = " and ".join(saturating(trial.case))
            raise Violation(f"{name} is not finite where {large} are made 1e4, each number with its sign")
        yield Comparison(name, 0.0, 1.0)


def _every_other_place(array: Array, step: int) -> Array:
    if not array.ndim:
        return array
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)[..., ::step]
    wide[...] = array
    return wide


def _read_only(array: Array) -> Array:
    locked = array.copy()
    locked.flags.writeable = False
    return locked


_LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "Fortran order": lambda array: array.copy(order="F"),
    "every other place": lambda array: _every_other_place(array, 2),
    "negative strides": lambda array: _every_other_place(array, -2),
    "read-only arrays": _read_only,
}


def _layout(trial: Trial) -> Iterator[Comparison]:
    """The same numbers in Fortran order, in every other place of an array, backwards in memory, or read-only."""
    layout = trial.one_of(tuple(_LAYOUTS))

    def laid_out(_: str, array: Array) -> Array:
        return _LAYOUTS[layout](array)

    y, final = trial.handed.cotangents
    cotangents = Cotangents(
        None if y is None else laid_out("y", y),
        final and tuple(tuple({k: laid_out(k, a) for k, a in leaf.items()} for leaf in layer) for layer in final),
    )
    expected = trial.returned  # a case that the implementation declines raises Refused here
    try:
        outputs, pullback = trial.run(with_arrays(trial.case, laid_out), copy=False)
        results = named(outputs) | (
            {} if pullback is None else trial.pull(pullback, trial.handed._replace(cotangents=cotangents))
        )
    except AdapterError as error:
        cause = error.__cause__ or error
        raise Refused(f"{layout}: {type(cause).__name__}: {cause}") from error
    yield from trial.compare(results, expected, trial.measured, trial.measured)


LAWS = (
    Law(
        "empty-sequence",
        "Without steps, final states equal initial states, and so do their cotangents; all other gradients are zero.",
        "f(s) = s for T = 0",
        "the empty composition is the identity",
        _empty,
        (gradients, carried_cotangents, empty),
    ),
    Law(
        "saturated-is-finite",
        "Saturated gates give finite outputs and gradients.",
        "|a| = 1e4",
        "sigmoid and tanh are bounded, and so are their derivatives",
        _saturated,
        (saturating_cell, wide_range),
    ),
    Law(
        "any-layout",
        "The memory layout of the arrays does not matter.",
        "f(x) is a function of values",
        "bpttcheck.contract",
        _layout,
    ),
)
