"""A step written in NumPy as an implementation that is right: for `--against`, where nobody else knows the cell.

A step's derivatives come from the complex step (Squire and Trapp, 1998): the step is run once for each number that goes
in, moved by a tiny imaginary amount. That is exact and slow. They are chained from the last step to the first, and the
whole gradient is compared with a difference along one direction.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from bpttcheck.adapters.own_function import OwnFunction, cell_of
from bpttcheck.cases.blocks import case_arrays, named, nested, streams
from bpttcheck.cases.changes import with_arrays
from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, Gradients, Outputs, Pullback
from bpttcheck.custom_cell import Shapes
from bpttref import Cell
from bpttref.arrays import Array
from bpttref.trees import add, each, scale

_Arrays: TypeAlias = Mapping[str, Array]
Step: TypeAlias = Callable[..., tuple[Array, _Arrays]]

_TINY = 2.0**-100


class StepFunction:
    """``step(parameters, x, states) -> (y, states)`` for one step: x ``(B, D)``, y ``(B, ..)``, mappings of arrays; of
    a cell with streams ``step(parameters, q=.., k=.., states=..)``.

    The step is built of functions that NumPy has for complex numbers (``np.abs`` is not one: its derivative is lost,
    and the pullback raises ValueError). cell: of bpttref, a `CustomCell` of real numbers, or the name of one's own;
    then parameters is from (D, H) to the shape of each, and states from (D, H) or H to the shape of each state of one
    row, h of shape ``(H,)`` if left out, width from (D, H) or H to the number of outputs a step, H if left out. A
    `CustomCell` without parameters has none for the step either. Resets are made between steps, and are not the step's
    concern. declared: what else goes into its `Capabilities`.

    Raises ValueError where the step does not take what is declared.
    """

    def __init__(
        self,
        step: Step,
        *,
        cell: Cell | CustomCell | str = "",
        parameters: Callable[[int, int], Shapes] | None = None,
        states: Callable[..., Shapes] | None = None,
        width: Callable[..., int] | None = None,
        **declared: Any,
    ) -> None:
        self._step = step
        name = getattr(step, "__name__", "step")
        self.name = f"the step {name}"
        if "lengths" in declared.get("inputs", ()):
            raise ValueError(f"{self.name} is one of single steps, which know nothing of the lengths of rows")
        own: Cell | CustomCell
        if isinstance(cell, str):
            own = cell_of(cell or name, None, parameters=parameters or (lambda D, H: {}), states=states, width=width)
        elif isinstance(cell, CustomCell):
            own = cell_of(name, cell, parameters=parameters, states=states, width=width)
        else:
            own = cell
        if isinstance(own, CustomCell) and complex in own.domains.values():
            raise ValueError(f"{self.name} has complex numbers, and its derivatives come from the complex step")
        declared = {"inputs": ("dense", "initial", "resets"), **declared}
        alone = {"truncations": (), **declared, "inputs": {*declared["inputs"]} - {"resets"}}
        self._has_parameters = not isinstance(cell, CustomCell) or cell.parameters is not CustomCell.parameters
        self._call = OwnFunction(self.name, step, own, alone, first=int(self._has_parameters))
        self._declared = replace(self._call.declared, **declared)

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
        state, y = case.initial[0][0], []
        for t in range(case.T):
            now, state = self._run(case.parameters[0][0], _at(case.x, t), _entering(case, state, t))
            y.append(now)
        return Outputs(np.stack(y), ((state,),))

    def _run(self, parameters: _Arrays, x: Any, states: _Arrays) -> tuple[Array, _Arrays]:
        y, after = self._call(self._step, (parameters,) if self._has_parameters else (), x, states)
        return y.reshape(len(y), -1), after

    def _chained(self, case: Case, cotangents: Cotangents) -> Gradients:
        """The gradients at a case in float64, from the derivatives of single steps."""
        assert case.initial is not None
        parameters, state, states = case.parameters[0][0], case.initial[0][0], []
        for t in range(case.T):
            states.append(_entering(case, state, t))
            _, state = self._run(parameters, _at(case.x, t), states[-1])
        carried = scale(state, 0) if cotangents.final is None else cotangents.final[0][0]
        at_start = scale(carried, 0)
        gradients = scale(parameters, 0)
        dx = {name: np.zeros(array.shape) for name, array in streams(case.x).items() if array.dtype.kind == "f"}
        for t in reversed(range(case.T)):
            dy = 0 if cotangents.y is None else cotangents.y[t]
            of_step, of_x, before = self._step_back(parameters, _at(case.x, t), states[t], dy, carried)
            gradients = add(gradients, of_step)
            for name, array in of_x.items():
                dx[name][t] = array
            aside = case.cell.without_cotangent if isinstance(case.cell, CustomCell) else ()
            before = {name: 0 * array if name in aside else array for name, array in before.items()}
            if case.resets is not None:
                into = _rows(case.resets[t], before, scale(before, 0))
                at_start = add(at_start, into) if case.reset_to == "initial" else at_start
                before = add(before, scale(into, -1))
            carried = before
        return Gradients(nested(dx), ((gradients,),), ((add(carried, at_start),),))

    def _step_back(
        self, parameters: _Arrays, x: Any, states: _Arrays, dy: Any, carried: _Arrays
    ) -> tuple[_Arrays, _Arrays, _Arrays]:
        """The derivatives of ``<dy, y> + <carried, states after>`` of one step by its parameters, inputs and states."""

        def score(parameters: _Arrays = parameters, x: Any = x, states: _Arrays = states) -> Any:
            y, after = self._run(parameters, x, states)
            return np.sum(dy * y) + sum(np.sum(carried[name] * after[name]) for name in carried)

        floats = {name: array for name, array in streams(x).items() if array.dtype.kind == "f"}
        by_parameters = _derivatives(lambda moved: score(parameters=moved), parameters)
        by_x = _derivatives(lambda moved: score(x=nested({**streams(x), **moved})), floats)
        return by_parameters, by_x, _derivatives(lambda moved: score(states=moved), states)

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


def _at(x: Any, t: int) -> Any:
    """The inputs at a step."""
    return each(lambda array: array[t], x)


def _entering(case: Case, states: _Arrays, t: int) -> _Arrays:
    """The states with which a step begins, where some rows may be reset."""
    if case.resets is None:
        return states
    assert case.initial is not None
    start = case.initial[0][0] if case.reset_to == "initial" else scale(case.initial[0][0], 0)
    return _rows(case.resets[t], start, states)


def _rows(flags: Array, new: _Arrays, old: _Arrays) -> _Arrays:
    """States, ``new`` in the rows that have a flag."""
    return {n: np.where(flags.reshape(-1, *[1] * (a.ndim - 1)), a, old[n]) for n, a in new.items()}


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
