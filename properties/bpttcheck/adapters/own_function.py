"""A function or module of the user's own: the cell that it computes, its call, and its results.

    function(x, states)                       a cell with one input at each step
    function(q=.., k=.., states=..)           a cell with streams, by their names
    function(parameters, ...)                  a function of parameters has them first
    function(..., lengths=.., resets=.., chunk=..)   by name, where they are declared

It returns y and the final states, a mapping; only y if there are no states to return.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import Parameter, signature
from typing import Any

from bpttcheck.cases.shapes import state_shapes, stream_shapes
from bpttcheck.contract import Capabilities, CustomCell
from bpttcheck.custom_cell import Shapes
from bpttcheck.measuring.calls import AdapterError
from bpttref import Cell, Links, Regular

_BESIDE = ("states", "lengths", "resets", "chunk")  # names that no stream may have


def cell_of(name: str, cell: CustomCell | None, **shapes: Callable[..., Any] | None) -> CustomCell:
    """The given cell, or one with these ``shapes``, which has a state h unless they name others.

    Raises ValueError where both are given.
    """
    given: dict[str, Any] = {what: function for what, function in shapes.items() if function is not None}
    if cell is None:
        states: Callable[[int], Shapes] = lambda H: {"h": (H,)}  # noqa: E731
        return CustomCell(name, **{"states": states, **given})
    if given:
        raise ValueError(f"{name} is declared by a cell and by its {' and '.join(given)}; the cell is enough")
    return cell


class OwnFunction:
    """How a function is called for a cell. declared: the capabilities of the function."""

    def __init__(
        self,
        name: str,
        function: Any,
        cell: Cell | CustomCell,
        given: Mapping[str, Any],
        *,
        first: int,
        what: str = "it",
    ) -> None:
        """given: fields of the capabilities; truncations: by default the rules for a function that runs in pieces.
        first: how many arguments come before x. what: the name in sentences of the object that has the parameters.

        Raises ValueError, with a sentence, where the function does not take the declared arguments.
        """
        declared = Capabilities(cells=(cell,), **given)
        D, H = (min(declared.sizes.get(size, (2,))) for size in "DH")
        states, several = state_shapes(cell, D, H), isinstance(cell, CustomCell) and cell.streams
        self._name, self._streams = name, tuple(stream_shapes(cell, D, H)) if several else ()
        self._returns = tuple(states) if "final" in declared.outputs else ()
        arguments = _arguments(function)
        names = {a.name for a in arguments}

        def takes(argument: str) -> bool:
            return argument in names or any(a.kind is a.VAR_KEYWORD for a in arguments)

        place = _at(arguments, first + 1) if not self._streams else [a for a in arguments if a.name == "states"]
        self._takes_states = bool(place) or (bool(self._streams) and takes("states"))
        usual: dict[str, Any] = {
            "truncations": (Regular, Links) if "initial" in declared.inputs and "final" in declared.outputs else (),
            "default_initial": "zeros" if any(a.default is not a.empty for a in place) else "none",
        }
        self.declared = replace(declared, **{field: it for field, it in usual.items() if field not in given})
        self._beside = [one for one in ("lengths", "resets") if one in declared.inputs]
        needed = {one: f"{name} is declared to take {one}" for one in self._beside}
        needed |= {one: f"{name} has a stream {one}" for one in self._streams}
        if len({*declared.chunks}) > 1:
            needed["chunk"] = f"{name} is declared to compute {' or '.join(map(str, declared.chunks))} steps at once"
        for argument, why in needed.items():
            if not takes(argument):
                raise ValueError(f"{why}, but {what} has no parameter {argument!r}")
        if states and "initial" in declared.inputs and not self._takes_states:
            raise ValueError(f"{name} has states, but {what} has no parameter for them; inputs=('dense',) says so")
        if odd := [one for one in self._streams if one in _BESIDE]:
            raise ValueError(f"a stream of {name} must not be called {odd[0]!r}, which is the name of another argument")
        self._beside += ["chunk"] if declared.chunks and takes("chunk") else []

    def __call__(self, function: Any, first: Sequence[Any], x: Any, states: Any, **beside: Any) -> tuple[Any, Any]:
        """y, ``(T, B, features)``, and the final states by name. Raises AdapterError where it returns anything else."""
        named = {name: beside.get(name) for name in self._beside}
        given = () if states is None or not self._takes_states else (dict(states),)
        if self._streams:
            result = function(*first, **x, **dict(zip(("states",), given, strict=False)), **named)
        else:
            result = function(*first, x, *given, **named)
        y, final = result if isinstance(result, tuple | list) and len(result) == 2 else (result, {})
        if not isinstance(final, Mapping) or not hasattr(y, "shape") or (self._returns and final == {}):
            wanted = f"(y, states) with states a mapping of {', '.join(self._returns)}" if self._returns else "y"
            raise AdapterError(f"{self._name} returned {_kind(result)}; expected {wanted}")
        return y.reshape(*y.shape[:2], math.prod(y.shape[2:])) if len(y.shape) > 3 else y, dict(final)


def _arguments(function: Any) -> list[Parameter]:
    """The parameters of a function; those that take anything, where it does not say."""
    try:
        return [*signature(function).parameters.values()]
    except (TypeError, ValueError):
        return [Parameter("args", Parameter.VAR_POSITIONAL), Parameter("kwargs", Parameter.VAR_KEYWORD)]


def _at(arguments: Sequence[Parameter], place: int) -> list[Parameter]:
    """The parameter at a place, if there is one."""
    placed = [a for a in arguments if a.kind in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD)][place : place + 1]
    return placed or [a for a in arguments if a.kind is a.VAR_POSITIONAL]


def _kind(result: Any) -> str:
    if isinstance(result, tuple | list):
        return f"a {type(result).__name__} of {', '.join(type(part).__name__ for part in result) or 'nothing'}"
    return f"a {type(result).__name__}"
