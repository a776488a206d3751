"""A step written in NumPy as an implementation that is right: for `--against`, where nobody else knows the cell.

Its gradients are those of the complex step (Squire and Trapp, 1998): the step is run once for each number that is
differentiated by, moved by a tiny imaginary amount. That is slow, exact, and knows nothing of backpropagation.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from bpttcheck.cases.blocks import case_arrays, named
from bpttcheck.cases.changes import with_arrays
from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, Gradients, Outputs, Pullback, Shapes
from bpttref import Cell
from bpttref.arrays import Array

Step: TypeAlias = Callable[[Mapping[str, Array], Array, Mapping[str, Array]], tuple[Array, Mapping[str, Array]]]

_TINY = 2.0**-100


class StepFunction:
    """``step(parameters, x, states) -> (y, states)`` for one step: x ``(B, D)``, y ``(B, ..)``, mappings of arrays.

    The step is built of functions that NumPy has for complex numbers (``np.abs`` is not one: its derivative is lost,
    and the pullback raises ValueError). cell: of bpttref, or the name of one's own; then parameters is from (D, H) to
    the shape of each, and states from H to the shape of each state of one row, width from H to the
    number of outputs a step.
    """

    def __init__(
        self,
        step: Step,
        *,
        cell: Cell | str = "",
        parameters: Callable[[int, int], Shapes] = lambda D, H: {},
        states: Callable[[int], Shapes] = lambda H: {"h": (H,)},
        width: Callable[[int], int] = lambda H: H,
        **declared: Any,
    ) -> None:
        self._step = step
        name = getattr(step, "__name__", "step")
        known = CustomCell(cell or name, parameters, states, width) if isinstance(cell, str) else cell
        self.name = f"the step {name}"
        self._declared = Capabilities(cells=(known,), **declared)

    def capabilities(self) -> Capabilities:
        return self._declared

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        outputs = self._forward(case)

        def pullback(cotangents: Cotangents) -> Gradients:
            given = named(cotangents)

            def score(moved: Case) -> Any:
                after = named(self._forward(moved))
                return sum(np.sum(given[name] * after[name]) for name in given)

            self._check(case, score)
            found = {name: _gradient(case, name, score) for name in case_arrays(case)}
            held = with_arrays(case, lambda name, array: found[name].astype(array.dtype))
            return Gradients(held.x, held.parameters, held.initial)

        return outputs, pullback

    def _forward(self, case: Case) -> Outputs:
        assert case.initial is not None
        parameters, state, y = case.parameters[0][0], case.initial[0][0], []
        for x in case.x:
            now, state = self._step(parameters, x, state)
            y.append(now)
        return Outputs(np.stack(y), ((dict(state),),))

    def _check(self, case: Case, score: Callable[[Case], Any]) -> None:
        """One derivative, along all arrays at once, by a difference. Raises ValueError where it is another one."""
        direction = np.random.default_rng(1)
        moves = {name: direction.choice([-1.0, 1.0], array.shape) for name, array in case_arrays(case).items()}
        exact = with_arrays(case, lambda _, array: array.astype(np.float64))

        def moved(by: complex) -> Any:
            return score(with_arrays(exact, lambda name, array: array + by * moves[name]))

        by_complex_step = moved(1j * _TINY).imag / _TINY
        middle, narrow = ((moved(h).real - moved(-h).real) / (2 * h) for h in (2.0**-12, 2.0**-13))
        if abs(by_complex_step - narrow) > 1e-3 * abs(narrow) + 8 * abs(middle - narrow):
            raise ValueError(
                f"the complex step gives {by_complex_step:.6g} where a difference gives {narrow:.6g}: {self.name} uses "
                "a function that is not one of complex numbers, such as np.abs, or has a kink here"
            )


def _gradient(case: Case, name: str, score: Callable[[Case], Any]) -> Array:
    """The derivative of ``score`` by each number of one array."""
    exact = with_arrays(case, lambda _, array: array.astype(np.float64))
    gradient = np.zeros(case_arrays(case)[name].shape)
    for place in np.ndindex(gradient.shape):

        def moved(other: str, array: Array, place: tuple[int, ...] = place) -> Array:
            if other != name:
                return array
            array = array.astype(complex)
            array[place] += 1j * _TINY
            return array

        gradient[place] = score(with_arrays(exact, moved)).imag / _TINY
    return gradient
