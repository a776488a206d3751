"""The facts that calls of a user's function show: which axis holds the rows, how its outputs lie, which gradients it
returns.

It is called with the example, with one step less, and with one row less: the axes that follow are the axes of time and
of the rows.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np

from bpttcheck.adapters.own_arrays.arguments import Arguments, Arrays
from bpttcheck.adapters.own_arrays.layout import Layout
from bpttcheck.adapters.own_arrays.names import allowed, gradients
from bpttcheck.custom_cell import CustomCell

Rows = int | None | Literal["find"]


class Answer(NamedTuple):
    """The results of a run: outputs, final states or None, and a pullback or None where it is forward-only."""

    y: Any
    final: Any
    pullback: Callable[..., Any] | None


def answer(returned: Any) -> Answer:
    """Of y, (y, pullback), (y, final states) or (y, final states, pullback)."""
    if not isinstance(returned, tuple):
        return Answer(returned, None, None)
    *outputs, last = returned
    outputs, pullback = (outputs, last) if callable(last) else ([*outputs, last], None)
    if len(outputs) not in (1, 2):
        raise ValueError(f"it returned a tuple of {len(returned)}; expected y, pullback, or y, final states, pullback")
    return Answer(outputs[0], outputs[1] if len(outputs) == 2 else None, pullback)


def tried(name: str, what: str, function: Callable[..., Any], *given: Any) -> Any:
    """The result of a user's function. Raises ValueError, with a sentence, where it raises."""
    try:
        return function(*given)
    except Exception as error:
        raise ValueError(f"{name} raised {type(error).__name__}: {error}, when it was called with {what}") from error


def arguments_of(
    name: str,
    run: Callable[..., Any],
    made: Callable[[int | None, bool], Arguments],
    x: Any,
    batch: Rows,
    fixed: Collection[str],
) -> Arguments:
    """The arguments of an example, with the axis of rows, which is searched for unless ``batch`` gives it.

    made: the arguments for an axis of rows of x; where several axes of a state have this size, the flag chooses the
    last of them. fixed: of the sizes "T" and "B", the ones that must stay as in the example.

    Raises ValueError, with a sentence, where the calls do not show it.
    """
    if x is None or batch is None:
        return made(None, False)
    if batch != "find" and "B" in fixed:
        return made(batch, False)
    one = made(None, False)
    whole = _shape_of_y(tried(name, "the example", run, *one.given(one.example(x)))) if batch == "find" else ()
    candidates = _axes(one) if batch == "find" else [batch]
    fitting, reasons = list[Arguments](), list[str]()
    for axis in candidates:
        for last in (False, True):
            try:
                arguments = made(axis, last)
                example = arguments.example(x)
                if example.B > 1:
                    fewer = run(*arguments.given(example.first(example.T, example.B - 1)))
                    if whole and _shape_of_y(fewer) == whole:
                        raise ValueError("y has the shape that it had before")
            except Exception as error:  # it is another axis, or the function takes no other number of rows
                reasons.append(f"along axis {axis}, {type(error).__name__}: {error}")
                continue
            if arguments not in fitting:
                fitting.append(arguments)
    if len(fitting) == 1:
        return fitting[0]
    lies = ", ".join(f"{stream} {layout}" for stream, layout in one.x.items())
    if fitting:
        raise ValueError(
            f"the rows may lie along several axes of {lies}, or of the states: pass batch=, or give the example a "
            "number of rows that no other axis has"
        )
    if batch != "find" or len(candidates) > 1:
        raise ValueError(
            f"{name} raises with one row less ({reasons[0]}): pass batch=None if {lies} is one sequence, batch=1 if "
            "axis 1 holds the rows, and sizes={'B': (4,)} if it takes no other number of them"
        )
    return one


def _axes(one: Arguments) -> list[int]:
    """The axes that may hold rows: of more than one, and of the same size in each stream."""
    sizes: list[dict[int, int]] = []
    for layout in one.x.values():
        axes = [axis for axis in range(len(layout.shape) + 1) if axis != layout.time]
        sizes.append({axis: size for axis, size in zip(axes, layout.shape, strict=True) if size > 1})
    first, *others = sizes
    return [axis for axis, size in first.items() if all(other.get(axis) == size for other in others)]


class Returned(NamedTuple):
    """The arguments that have gradients.

    arguments: some of "p", "x" and "state"; none for a run without a pullback. absent:
    streams without a gradient where others have one, such as targets.
    """

    arguments: frozenset[str] = frozenset()
    absent: tuple[str, ...] = ()

    def left_out(self, cell: CustomCell) -> CustomCell:
        """The cell; the laws do not compare its absent gradients with differences."""
        return replace(cell, surrogate=(*cell.surrogate, *map(allowed, self.absent)))


class Found(NamedTuple):
    """y: the layout of the outputs, None if there are none. final: whether there are final states."""

    y: Layout | None
    final: bool
    returned: Returned


def found(name: str, run: Callable[..., Any], arguments: Arguments, example: Arrays, fixed: Collection[str]) -> Found:
    """The layout of the outputs. fixed: of the sizes "T" and "B", the ones that must stay as in the example.

    Raises ValueError, with a sentence, where the calls do not show it.
    """
    T, B = example.T, example.B
    by_rows = any(layout.rows is not None for layout in arguments.x.values())
    if T < 2 and "T" not in fixed:
        raise ValueError("the example has one step: give it two or more, so that the axis of time can be found")
    if by_rows and B < 2 and "B" not in fixed:
        raise ValueError("the example has one row: give it two or more, so that the axis of rows can be found")

    def called(what: str, steps: int, rows: int) -> Answer:
        given = arguments.given(example.first(steps, rows))
        returned = tried(name, what, run, *given)
        try:
            return answer(returned)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    whole = called("the example", T, B)
    final = whole.final is not None and arguments.states is not None
    returned = _returned(name, whole, arguments, final)  # before the next call, because some code keeps only its tape
    only = "of the example (sizes={'%s': (%d,)} says that it takes no other number)"
    shorter = None if "T" in fixed else called(f"{T - 1} steps {only % ('T', T)}", T - 1, B)
    fewer = called(f"{B - 1} rows {only % ('B', B)}", T, B - 1) if by_rows and "B" not in fixed else None
    if whole.y is None:
        return Found(None, final, returned)
    time = _axis("steps", T, whole.y, None if shorter is None else shorter.y)
    rows = _axis("rows", B, whole.y, None if fewer is None else fewer.y, but=time) if by_rows else None
    if by_rows and rows is None:
        raise ValueError(f"y has shape {_shape(whole.y)}, in which no axis follows the number of rows, {B}")
    return Found(Layout.of("y", whole.y, time, rows), final, returned)


def _returned(name: str, whole: Answer, arguments: Arguments, final: bool) -> Returned:
    if whole.pullback is None:
        return Returned()
    cotangents = [part for part, there in ((whole.y, True), (whole.final, final)) if there]
    returned = tried(f"the pullback of {name}", "cotangents as its outputs are", whole.pullback, *cotangents)
    return differentiated(name, returned, arguments)


def differentiated(name: str, returned: Any, arguments: Arguments) -> Returned:
    """The names of the arrays that have gradients. Raises ValueError where there is none of the parameters."""
    by_argument = gradients(returned, arguments.trees)
    there = frozenset(argument for argument, own in by_argument.items() if own)
    if not there or ("p" in arguments.trees and "p" not in there):
        names = ", ".join(name for argument in arguments.trees for name in arguments.names(argument))
        got = f" but {', '.join(map(str, returned))}" if isinstance(returned, Mapping) else ""
        raise ValueError(
            f"{name} returned no gradient of its parameters{got}: the gradients of {names} are expected "
            "under these names or with a d before them, or in a tuple in the order of the arguments"
        )
    absent = [stream for stream in arguments.names("x") if "x" in there and stream not in by_argument["x"]]
    return Returned(there, tuple(absent))


def _axis(what: str, size: int, whole: Any, less: Any, but: int | None = None) -> int | None:
    """The axis that follows the number of steps or rows; None if there is none. Raises ValueError if there are two.

    Where there is nothing to compare with, it is the axis of that size.
    """
    shape = _shape(whole)
    other = shape if less is None else _shape(less)
    if len(shape) != len(other):
        raise ValueError(f"y has shape {shape}, and {other} with fewer {what}")
    axes = [axis for axis, n in enumerate(shape) if axis != but and (n == size if less is None else n != other[axis])]
    if len(axes) > 1:
        raise ValueError(f"y has shape {shape}, in which several axes may hold the {size} {what}")
    return axes[0] if axes else None


def _shape_of_y(returned: Any) -> tuple[int, ...]:
    """The shape of y in a returned (y, ...), or of a returned y; () for a loss."""
    return _shape(returned[0] if isinstance(returned, tuple) and returned else returned)


def _shape(theirs: Any) -> tuple[int, ...]:
    if isinstance(theirs, list | tuple):
        return (len(theirs), *np.shape(theirs[0])) if theirs else (0,)
    return np.shape(theirs)
