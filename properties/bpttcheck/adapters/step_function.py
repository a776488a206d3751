"""A step written in NumPy as an implementation that is right: for `--against`, where nobody else knows the cell.

A step's derivatives come from the complex step (Squire and Trapp, 1998): the step is run once for each number that goes
in, moved by a tiny imaginary amount. That is exact and slow. They are chained from the last step to the first, and the
whole gradient is compared with a difference along one direction.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from bpttcheck.cases.blocks import case_arrays, named
from bpttcheck.cases.changes import with_arrays
from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, Gradients, Outputs, Pullback, refuse_resets
from bpttcheck.custom_cell import Shapes
from bpttref import Cell
from bpttref.arrays import Array
from bpttref.trees import add, each, scale

_Arrays: TypeAlias = Mapping[str, Array]
Step: TypeAlias = Callable[[_Arrays, Array, _Arrays], tuple[Array, _Arrays]]

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
        refuse_resets(self.name, declared.get("inputs", ()))
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

            exact = with_arrays(case, lambda _, array: array.astype(np.float64))
            self._check(exact, score)
            held = self._chained(exact, cotangents)
            return Gradients(*(each(lambda array: array.astype(case.dtype), part) for part in held))

        return outputs, pullback

    def _forward(self, case: Case) -> Outputs:
        assert case.initial is not None
        parameters, state, y = case.parameters[0][0], case.initial[0][0], []
        for x in case.x:
            now, state = self._step(parameters, x, state)
            y.append(now)
        return Outputs(np.stack(y), ((dict(state),),))

    def _chained(self, case: Case, cotangents: Cotangents) -> Gradients:
        """The gradients at a case in float64, from the derivatives of single steps."""
        assert case.initial is not None
        parameters, x, states = case.parameters[0][0], case.x, [case.initial[0][0]]
        for now in x:
            states.append(self._step(parameters, now, states[-1])[1])
        carried = scale(states[-1], 0) if cotangents.final is None else cotangents.final[0][0]
        gradients, dx = scale(parameters, 0), np.zeros(x.shape)
        for t in reversed(range(len(x))):
            dy = 0 if cotangents.y is None else cotangents.y[t]
            of_step, dx[t], carried = self._step_back(parameters, x[t], states[t], dy, carried)
            gradients = add(gradients, of_step)
        return Gradients(dx, ((gradients,),), ((carried,),))

    def _step_back(
        self, parameters: _Arrays, x: Array, states: _Arrays, dy: Any, carried: _Arrays
    ) -> tuple[_Arrays, Array, _Arrays]:
        """The derivatives of ``<dy, y> + <carried, states after>`` of one step by its parameters, x and states."""

        def score(parameters: _Arrays = parameters, x: Array = x, states: _Arrays = states) -> Any:
            y, after = self._step(parameters, x, states)
            return np.sum(dy * y) + sum(np.sum(carried[name] * after[name]) for name in carried)

        by_parameters = _derivatives(lambda moved: score(parameters=moved), parameters)
        by_x = _derivatives(lambda moved: score(x=moved["x"]), {"x": x})
        return by_parameters, by_x["x"], _derivatives(lambda moved: score(states=moved), states)

    def _check(self, case: Case, score: Callable[[Case], Any]) -> None:
        """One derivative, along all arrays at once, by a difference. Raises ValueError where it is another one."""
        direction = np.random.default_rng(1)
        moves = {name: direction.choice([-1.0, 1.0], array.shape) for name, array in case_arrays(case).items()}

        def moved(by: complex) -> Any:
            return score(with_arrays(case, lambda name, array: array + by * moves[name]))

        by_complex_step = moved(1j * _TINY).imag / _TINY
        middle, narrow = ((moved(h).real - moved(-h).real) / (2 * h) for h in (2.0**-12, 2.0**-13))
        if abs(by_complex_step - narrow) > 1e-3 * abs(narrow) + 8 * abs(middle - narrow):
            raise ValueError(
                f"the complex step gives {by_complex_step:.6g} where a difference gives {narrow:.6g}: {self.name} uses "
                "a function that is not one of complex numbers, such as np.abs, or has a kink here"
            )


def _derivatives(function: Callable[[_Arrays], Any], arrays: _Arrays) -> dict[str, Array]:
    """The derivative of a number by each number of each array."""
    found = {name: np.zeros(array.shape) for name, array in arrays.items()}
    for name, array in arrays.items():
        moved = array.astype(complex)
        for place in np.ndindex(array.shape):
            moved[place] += 1j * _TINY
            found[name][place] = function({**arrays, name: moved}).imag / _TINY
            moved[place] = array[place]
    return found
