"""The arguments of a user's function, as the user has them and as a case has them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bpttcheck.adapters.own_arrays.layout import Layout
from bpttcheck.adapters.own_arrays.names import floating, leaves, rebuilt, wrapped
from bpttcheck.custom_cell import Domain, inside
from bpttref.arrays import Array

Named = Mapping[str, Array]


@dataclass(frozen=True)
class Arrays:
    """The arrays of one call by name; sequences are ``(T, B, *shape)``, states ``(B, *shape)``."""

    p: Named
    x: Named
    state: Named

    @property
    def T(self) -> int:
        return len(next(iter(self.x.values())))

    @property
    def B(self) -> int:
        return int(next(iter(self.x.values())).shape[1])

    def first(self, steps: int, rows: int) -> "Arrays":
        """The first steps of the first rows."""
        x = {name: array[:steps, :rows] for name, array in self.x.items()}
        return replace(self, x=x, state={name: array[:rows] for name, array in self.state.items()})

    def twice(self) -> "Arrays":
        """Each row twice."""
        x = {name: np.concatenate([array, array], axis=1) for name, array in self.x.items()}
        return replace(self, x=x, state={name: np.concatenate([a, a]) for name, a in self.state.items()})


@dataclass(frozen=True)
class Arguments:
    """parameters, states: as the user has them, None where there are none. x: the layout of each stream by name; empty
    if there is none. single: whether x is one array. of_states: the layout of each state. called: the names of
    parameters and states that are not in a mapping, by "p" and "state". domains: the domain of an array, by name."""

    parameters: Any
    x: dict[str, Layout]
    single: bool
    states: Any
    of_states: dict[str, Layout]
    called: Mapping[str, str]
    domains: Mapping[str, Domain]

    @classmethod
    def of(
        cls,
        called: Mapping[str, str],
        domains: Mapping[str, Domain],
        parameters: Any,
        x: Any,
        states: Any,
        time: int,
        rows: int | None = None,
        last: bool = False,
    ) -> "Arguments":
        """The arguments of an example, with its axes of time and rows. last: which axis of a state that has several of
        that length holds the rows. Raises ValueError where there is none."""
        streams = {} if x is None else dict(wrapped(x, "x"))
        layouts = {name: Layout.of(name, example, time, rows) for name, example in streams.items()}
        sizes = {name: layout.taken(streams[name]).shape[:2] for name, layout in layouts.items()}
        if len(set(sizes.values())) > 1:
            said = ", ".join(f"{name} has {T} steps and {B} rows" for name, (T, B) in sizes.items())
            raise ValueError(f"the arrays of x differ in their steps or rows: {said}")
        B = next(iter(sizes.values()), (1, 1))[1]
        examples = floating(wrapped(states, called["state"])) if states is not None else {}
        of_states = {name: _state(name, state, None if rows is None else B, last) for name, state in examples.items()}
        return cls(parameters, layouts, not isinstance(x, Mapping), states, of_states, called, domains)

    @property
    def trees(self) -> dict[str, Mapping[str, Any]]:
        """The names of the arrays, as `bpttcheck.adapters.own_arrays.names.gradients` takes them."""
        found = {
            "p": None if self.parameters is None else wrapped(self.parameters, self.called["p"]),
            "x": dict.fromkeys(self.x) or None,
            "state": None if self.states is None else wrapped(self.states, self.called["state"]),
        }
        return {name: tree for name, tree in found.items() if tree is not None}

    def described(self) -> dict[str, str]:
        """The layouts of sequences and states as text, by name: "(T, B, 3)"."""
        return {name: str(layout) for name, layout in (self.x | self.of_states).items()}

    def names(self, argument: str) -> list[str]:
        """The names of the arrays of "p", "x" or "state"."""
        return [name for name, _ in leaves(self.trees.get(argument, {}))]

    def example(self, x: Any) -> Arrays:
        """The arrays of the example, each in its domain; x is not kept. Raises ValueError for an array without
        gradients."""
        streams = {name: layout.taken(wrapped(x, "x")[name]).copy() for name, layout in self.x.items()}
        parameters, states = (floating(self.trees.get(argument, {})) for argument in ("p", "state"))
        taken = {name: self.of_states[name].taken(a) for name, a in states.items()}
        return Arrays(*(self._inside(arrays) for arrays in (parameters, streams, taken)))

    def _inside(self, arrays: Named) -> Named:
        return {name: inside(self.domains.get(name), array) for name, array in arrays.items()}

    def given(self, arrays: Arrays) -> list[Any]:
        """The arguments of the user's function."""
        found = []
        if self.parameters is not None:
            found.append(rebuilt(self.parameters, (arrays.p[name] for name in self.names("p"))))
        if self.x:
            streams = {name: layout.given(arrays.x[name]) for name, layout in self.x.items()}
            found.append(streams["x"] if self.single else streams)
        if self.states is not None and arrays.state:
            found.append(self.as_states(arrays.state))
        return found

    def as_states(self, states: Named) -> Any:
        """States, or their cotangents, as the user has them."""
        return rebuilt(self.states, (self.of_states[name].given(states[name]) for name in self.names("state")))

    def steps(self, x: Any) -> list[Any]:
        """The part of x that the user's step gets, step by step."""
        if self.single:
            return self.x["x"].steps(x)
        by_name = {name: layout.steps(x[name]) for name, layout in self.x.items()}
        return [dict(zip(by_name, now, strict=True)) for now in zip(*by_name.values(), strict=True)]


def _state(name: str, example: Any, rows: int | None, last: bool) -> Layout:
    """The layout of a state: its axis of rows is the first, or last, of this size. Raises ValueError without one."""
    if rows is None:
        return Layout.of(name, example, None, None)
    shape = np.shape(example)
    axes = [axis for axis, size in enumerate(shape) if size == rows]
    if not axes:
        raise ValueError(
            f"the state {name} has shape {shape}, in which no axis has {rows} rows: one state for all is a parameter"
        )
    return Layout.of(name, example, None, axes[-1 if last else 0])
