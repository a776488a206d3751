"""A case in a user's arrays, and the gradients that the user returned in the arrays of the case."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bpttcheck.adapters.own_arrays.arguments import Arguments, Arrays
from bpttcheck.adapters.own_arrays.cell import one_input
from bpttcheck.adapters.own_arrays.names import Sorted, allowed
from bpttcheck.contract import Case, Gradients
from bpttref import Last, Links, Regular, Strategy, Window

KINDS = {"p": "parameters", "x": "x", "state": "initial"}  # the name of an argument's gradients in `Capabilities`


def arrays_of(case: Case, arguments: Arguments, example: Arrays) -> Arrays:
    """The arrays of a case by the user's names."""
    p, states = case.parameters[0][0], {} if case.initial is None else case.initial[0][0]
    if one_input(arguments, example):
        x = {name: case.x.reshape(*case.x.shape[:2], *layout.shape) for name, layout in arguments.x.items()}
    else:
        x = {name: case.x[allowed(name)] for name in arguments.names("x")}
    of_states = {name: states[allowed(name)] for name in arguments.names("state")} if states else {}
    return Arrays({name: p[allowed(name)] for name in arguments.names("p")}, x, of_states)


def turned(knobs: Mapping[str, type[Strategy]], case: Case) -> dict[str, Any]:
    """The keyword that requests a truncation, where the case has one."""
    return {word: _number(case) for word, rule in knobs.items() if type(case.truncation) is rule}


def _number(case: Case) -> Any:
    """The value of a knob: a number of steps, or the multipliers of the links."""
    rule = case.truncation
    if isinstance(rule, Links):
        return rule.links(case.T)
    assert isinstance(rule, Regular | Window | Last)
    return rule.k if isinstance(rule, Last) else rule.tau


def gradients_of(case: Case, arguments: Arguments, returned: Sorted, absent: Sequence[str]) -> Gradients:
    """Gradients as the contract has them. absent: the streams whose gradient is never returned; it is zero."""
    layouts, of_states = arguments.x, arguments.of_states
    parameters = {allowed(name): np.asarray(array) for name, array in returned.get("p", {}).items()}
    taken = {name: layouts[name].taken(array, case.B) for name, array in returned.get("x", {}).items()}
    dx = {allowed(name): array for name, array in taken.items()}
    if isinstance(case.x, Mapping):
        zeros = {name: np.zeros_like(case.x[name]) for name in map(allowed, absent)}
        x: Any = dx | {name: array for name, array in zeros.items() if array.dtype.kind in "fc"}
    else:
        x = next((layouts[name].flat(array) for name, array in taken.items()), None)
    initial = {allowed(name): of_states[name].taken(array) for name, array in returned.get("state", {}).items()}
    return Gradients(x, ((parameters,),), ((initial,),))
