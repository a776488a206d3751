"""A user's loss and its gradients as an implementation; there may be clipping or an optimiser inside."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from zlib import crc32

import numpy as np

from bpttcheck.adapters.own_arrays.arguments import Arguments, Arrays
from bpttcheck.adapters.own_arrays.cell import sizes_of
from bpttcheck.adapters.own_arrays.finding import differentiated, tried
from bpttcheck.adapters.own_arrays.names import Sorted, floating, gradients, wrapped
from bpttcheck.adapters.own_arrays.translation import KINDS, arrays_of, gradients_of, turned
from bpttcheck.cases.drawing import draw_case
from bpttcheck.cases.realising import realise
from bpttcheck.contract import Capabilities, Case, CustomCell, Gradients, Outputs
from bpttcheck.measuring.calls import Refused
from bpttref import Strategy
from bpttref.arrays import Array

_NEAR = 1e-6  # relative: a number so near to the bound of a clip has been clipped


class OwnLoss:
    """``loss(p, x, states) -> (value, gradients)`` on a user's arrays; x and states are left out where there are none.

    clip: the bound at which it clips gradients, element by element or by their norm. Cases in which one is at the bound
    are refused, because the clipped gradient shows only the bound. rate: of a step of gradient descent inside, which
    changes the parameters that it is given, or returns new ones after the value; the gradient is their change over the
    rate.
    knobs: as of `OwnArrays`. weights: the keyword by which it takes a weight for the loss of each step; empty if not.
    declared: further fields of its `Capabilities`.
    """

    def __init__(
        self,
        cell: CustomCell,
        loss: Callable[..., Any],
        arguments: Arguments,
        example: Arrays,
        *,
        clip: float | None,
        rate: float | None,
        knobs: Mapping[str, type[Strategy]],
        weights: str,
        **declared: Any,
    ) -> None:
        self.name = cell.name
        self._loss, self._arguments, self._clip, self._rate = loss, arguments, clip, rate
        self._example, self._knobs, self._weights = example, knobs, weights
        _, returned = tried(self.name, "the example", self._called, example)
        self._returned = differentiated(self.name, returned, arguments)
        usual: dict[str, Any] = {
            "dtypes": ("float64",),
            "inputs": ("dense", "initial") if arguments.of_states else ("dense",),
            "outputs": (),
            "gradients": tuple(kind for argument, kind in KINDS.items() if argument in self._returned.arguments),
            "objectives": ("linear",),  # every case has the same one: the loss is the user's
            "truncations": tuple(dict.fromkeys(knobs.values())),
            "loss_weights": bool(weights),
            "default_initial": "none",
            "conventions": arguments.described(),
        }
        sizes = {**declared.pop("sizes", {}), **sizes_of(arguments, example, None)}
        self._declared = Capabilities(cells=(self._returned.left_out(cell),), **(usual | declared | {"sizes": sizes}))
        if "B" not in sizes:
            self._declared = self._of_rows()

    def capabilities(self) -> Capabilities:
        return self._declared

    def loss_and_gradients(self, case: Case) -> tuple[Outputs, Gradients]:
        chosen = turned(self._knobs, case)
        if self._weights and case.objective is not None:
            chosen[self._weights] = case.objective.weights
        value, by_argument = self._of(arrays_of(case, self._arguments, self._example), **chosen)
        found = gradients_of(case, self._arguments, by_argument, self._returned.absent)
        self._refuse_clipped(by_argument.get("p", {}))
        return Outputs(None, None, value), found

    def _called(self, arrays: Arrays, **chosen: Any) -> tuple[float, Any]:
        """The value, and the gradients as the user returned them."""
        before = arrays.p
        if self._rate is not None:  # it may step in place
            arrays = replace(arrays, p={name: array.copy() for name, array in before.items()})
        given = self._arguments.given(arrays)
        returned = self._loss(*given, **chosen)
        value, *rest = returned if isinstance(returned, tuple) else (returned,)
        if np.ndim(value) != 0:
            raise ValueError(f"the loss is an array of shape {np.shape(value)}; expected a number")
        if self._rate is None:
            if not rest:
                raise ValueError("only a value came back; expected a tuple of the value and the gradients")
            return float(value), rest[0](1.0) if callable(rest[0]) else rest[0]
        after = floating(wrapped(rest[0] if rest and rest[0] is not None else given[0], self._arguments.called["p"]))
        return float(value), Sorted(p=_changes(before, after, self._rate))

    def _of(self, arrays: Arrays, **chosen: Any) -> tuple[float, Sorted]:
        """The value, and the gradients by argument and name."""
        value, returned = self._called(arrays, **chosen)
        return value, gradients(returned, self._arguments.trees)

    def _refuse_clipped(self, parameters: Mapping[str, Any]) -> None:
        """Raise Refused where a gradient has been clipped."""
        if self._clip is None:
            return
        norms = [float(np.linalg.norm(a)) for a in parameters.values()]
        largest = [float(np.abs(a).max(initial=0)) for a in parameters.values()]
        near = _NEAR * self._clip
        if any(abs(size - self._clip) <= near for size in (*largest, *norms, float(np.linalg.norm(norms)))):
            raise Refused(f"a gradient is at the bound of {self._clip:g}, at which it is clipped")

    def _of_rows(self) -> Capabilities:
        """The capabilities, with the sum or mean over rows that the loss is; of one number of rows if it is neither.

        A case is drawn for it, because an example may be all zeros.
        """
        draw = draw_case(np.random.default_rng(0), self._declared, 0)
        case, _ = realise(draw, self._declared.cells[0], self._declared.dtypes[0], self._declared)
        once = arrays_of(case, self._arguments, self._example)
        twice = once.twice()
        (one, _), (two, _) = (tried(self.name, "a drawn case", self._of, arrays) for arrays in (once, twice))
        if abs(two - 2 * one) <= _NEAR * abs(two):
            return replace(self._declared, reduction="sum")
        if abs(two - one) <= _NEAR * abs(two):
            return replace(self._declared, reduction="mean")
        return replace(self._declared, sizes={**self._declared.sizes, "B": (self._example.B,)})


def _changes(before: Mapping[str, Array], after: Mapping[str, Array], rate: float) -> dict[str, Array]:
    """The gradients behind a step of gradient descent.

    They are known to half a unit in the last place of the parameters, over the rate: all steps are rounded to the same
    grid, so that no perturbed run would show it. Therefore as much is added at random, the same for the same numbers.
    """
    rng = np.random.default_rng([crc32(array.tobytes()) for array in (*before.values(), *after.values())])
    found = {}
    for name, array in before.items():
        grain = np.spacing(np.maximum(np.abs(array), np.abs(after[name]))) / 2
        found[name] = ((array - after[name]) + grain * rng.uniform(-1, 1, array.shape)) / rate
    return found
