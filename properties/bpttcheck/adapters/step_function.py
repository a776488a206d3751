"""A step written in NumPy as a correct implementation: for `--against`, where there is no other of the cell.

A step's derivatives come from the complex step (Squire and Trapp, 1998): it is run with a number moved by a tiny
imaginary amount, once for each parameter, and once at each step for all inputs and states. That is exact, and slow
where parameters are many. They are chained from the last step to the first, and the whole gradient is compared with a
difference along one direction.
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
    """A step in NumPy as an implementation with correct gradients: ``step(parameters, x, states) -> (y, states)``.

    x is ``(B, D)`` and y ``(B, ...)``; parameters and states are mappings of arrays. A cell with streams calls
    ``step(parameters, q=.., k=.., states=..)``. The derivatives come from the complex step, so all functions in it must
    accept complex numbers: with ``np.abs``, which loses the derivative, the pullback raises ValueError. Resets happen
    between steps.

    Parameters
    ----------
    step : callable
        One step. If a `CustomCell` has no parameters, the step gets none.
    cell : Cell, CustomCell or str
        Of bpttref, a `CustomCell` of real numbers, or the name of your own cell with the three shapes below.
    parameters : callable, optional
        From (D, H) to the shape of each parameter.
    states : callable, optional
        From (D, H), or from H, to the shape of each state of one row; h of shape ``(H,)`` if left out.
    width : callable, optional
        From (D, H), or from H, to the number of outputs of a step; H if left out.
    **declared
        Other fields of `Capabilities`.

    Raises
    ------
    ValueError
        If the step does not take what is declared.

    Examples
    --------
    >>> def decay(parameters, x, states):
    ...     h = states["h"] * parameters["rate"] + x
    ...     return h, {"h": h}
    >>> sizes = {"D": (3,), "H": (3,)}
    >>> StepFunction(decay, parameters=lambda D, H: {"rate": (H,)}, sizes=sizes).name
    'the step decay'
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
            raise ValueError(f"{self.name} runs single steps, and cannot take the lengths of rows")
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
            held = self._chained(exact, cotangents)
            self._check(exact, score, held)
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
        parameters, state, states, y = case.parameters[0][0], case.initial[0][0], [], []
        for t in range(case.T):
            states.append(_entering(case, state, t))
            now, state = self._run(parameters, _at(case.x, t), states[-1])
            y.append(now)
        dy = scale(np.stack(y), 0) if cotangents.y is None else cotangents.y
        carried = [scale(state, 0) if cotangents.final is None else cotangents.final[0][0]]
        at_start = scale(state, 0)
        dx = {name: np.zeros(array.shape) for name, array in streams(case.x).items() if array.dtype.kind == "f"}
        aside = case.cell.without_cotangent if isinstance(case.cell, CustomCell) else ()
        for t in reversed(range(case.T)):
            of_x, before = self._by_rows(parameters, _at(case.x, t), states[t], dy[t], carried[0])
            for name, array in of_x.items():
                dx[name][t] = array
            before = {name: 0 * array if name in aside else array for name, array in before.items()}
            if case.resets is not None:
                into = _rows(case.resets[t], before, scale(before, 0))
                at_start = add(at_start, into) if case.reset_to == "initial" else at_start
                before = add(before, scale(into, -1))
            carried.insert(0, before)
        x = each(lambda array: array.reshape(-1, *array.shape[2:]), case.x)
        entering, leaving = ({n: np.concatenate([of[n] for of in at]) for n in state} for at in (states, carried[1:]))
        by_parameters = self._by_parameters(parameters, x, entering, dy.reshape(-1, dy.shape[2]), leaving)
        return Gradients(nested(dx), ((by_parameters,),), ((add(carried[0], at_start),),))

    def _by_rows(
        self, parameters: _Arrays, x: Any, states: _Arrays, dy: Array, carried: _Arrays
    ) -> tuple[_Arrays, _Arrays]:
        """The derivatives of ``<dy, y> + <carried, states after>`` of one step by its inputs and states.

        A row knows nothing of others, so that each of its numbers is moved in a copy of all rows, and the copies are
        run at once.
        """
        inputs = streams(x)
        given = inputs | {f"initial.{name}": array for name, array in states.items()}
        found = {}
        for name, array in given.items():
            if array.dtype.kind != "f":
                continue
            copies, number = array[0].size, np.arange(array[0].size)
            many = {n: np.repeat(a[None], copies, axis=0) for n, a in given.items()}
            many[name] = many[name].astype(complex)
            many[name].reshape(copies, len(array), copies)[number, :, number] += 1j * _TINY
            rows = {n: a.reshape(copies * len(array), *a.shape[2:]) for n, a in many.items()}
            beside = {n: rows[f"initial.{n}"] for n in states}
            y, after = self._run(parameters, nested({n: rows[n] for n in inputs}), beside)
            found[name] = (_scores(dy, y, carried, after).imag / _TINY).T.reshape(array.shape)
        return {n: found[n] for n in inputs if n in found}, {n: found[f"initial.{n}"] for n in states}

    def _by_parameters(self, parameters: _Arrays, x: Any, states: _Arrays, dy: Array, carried: _Arrays) -> _Arrays:
        """The same by the parameters, for the rows of all steps at once: a row does not know at which step it is."""
        found = {name: np.zeros(array.shape) for name, array in parameters.items()}
        for name, array in parameters.items():
            moved = array.astype(complex)
            for place in np.ndindex(array.shape):
                moved[place] += 1j * _TINY
                y, after = self._run({**parameters, name: moved}, x, states)
                found[name][place] = _scores(dy, y, carried, after).sum().imag / _TINY
                moved[place] = array[place]
        return found

    def _check(self, case: Case, score: Callable[[Case], Any], gradients: Gradients) -> None:
        """One derivative, along all arrays at once, by a difference. Raises ValueError where the gradients give another
        one."""
        direction = np.random.default_rng(1)
        moves = {name: direction.choice([-1.0, 1.0], array.shape) for name, array in case_arrays(case).items()}

        def moved(by: complex) -> Any:
            return score(with_arrays(case, lambda name, array: array + by * moves[name]))

        by_complex_step = moved(1j * _TINY).imag / _TINY
        middle, narrow = ((moved(h).real - moved(-h).real) / (2 * h) for h in (2.0**-12, 2.0**-13))
        if abs(by_complex_step - narrow) > 1e-3 * abs(narrow) + 8 * abs(middle - narrow):
            raise ValueError(
                f"the complex step gives {by_complex_step:.6g} where a difference gives {narrow:.6g}: {self.name} uses "
                "a function that does not support complex numbers, such as np.abs, or has a kink here"
            )
        chained = sum(np.sum(moves[name] * array) for name, array in named(gradients).items())
        aside = isinstance(case.cell, CustomCell) and case.cell.without_cotangent
        if not aside and abs(chained - by_complex_step) > 1e-3 * abs(narrow) + 8 * abs(middle - narrow):
            raise ValueError(
                f"the derivatives of {self.name}, taken row by row, do not add up to the derivative of all rows: "
                "a row of what it returns must depend on the same row of what it is given, and on no other"
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


def _scores(dy: Array, y: Array, carried: _Arrays, after: _Arrays) -> Array:
    """``<dy, y> + <carried, states after>`` of each row of each copy of the rows, ``(copies, B)``."""
    pairs = [(dy, y), *((carried[name], after[name]) for name in carried)]
    products = (of.reshape(-1, len(dy), by[0].size) * by.reshape(len(by), -1) for by, of in pairs)
    scores: Array = np.sum([product.sum(axis=2) for product in products], axis=0)
    return scores
