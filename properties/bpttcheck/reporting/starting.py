"""The file that `init` writes for existing code: the call that tests it, as far as bpttcheck can find it out.

Examples of a function's arguments are the variables of its file that have their names. A call with them shows the rest.
A module is called with zeros.
"""

import sys
from collections.abc import Mapping
from inspect import Parameter, signature
from math import prod
from typing import Any, NamedTuple

import numpy as np

from bpttcheck.adapters.own_arrays.building import own_arrays
from bpttcheck.adapters.own_arrays.finding import tried
from bpttcheck.adapters.own_arrays.names import leaves
from bpttcheck.contract import Implementation
from bpttcheck.measuring.doing import calling
from bpttcheck.targets import object_of

_ROLES = ("parameters", "x", "states")  # in the order in which `check` hands them over
_STATES = ("h", "h0", "c", "s", "state", "states", "initial", "carry", "hidden")
_INPUTS = ("x", "xs", "x_t", "inputs", "data", "batch", "tokens", "sequence")
_D, _H = 2, 3  # sizes with which a class of modules is tried: they are easy to distinguish


class Code(NamedTuple):
    """The tested object: the module it is imported from, its name there, the object itself, and its neighbours in the
    module."""

    module: str
    name: str
    found: Any
    beside: Mapping[str, Any]


def start(_: object, target: str, file: str) -> tuple[str, str]:
    """The text of a file that tests a target, and the command that runs it. It is called in a process of its own.

    Raises TargetError or ValueError, with a sentence, where it cannot be found out.
    """
    place, name = target.rsplit(":", 1)
    with calling(f"the import of {place}"):
        found, beside = object_of(target)
    code = Code(place.removesuffix(".py").rpartition("/")[2], name, found, beside)
    if isinstance(found, Implementation) and not isinstance(found, type):
        raise ValueError(f"{target} is an implementation already: bpttcheck verify {target}")
    with calling(f"a call of {name}"):
        if _is_module(found):
            return _of_module(code), f"bpttcheck verify {file}:subject"
        if not callable(found):
            raise ValueError(f"{target} is a {type(found).__name__}; expected a function, or a module of PyTorch")
        variables = _variables(code, place)
        kinds = {_library(leaf) for variable in variables.values() for _, leaf in leaves(beside[variable])}
        if library := kinds & {"torch", "jax"}:
            return _of_tensors(code, library.pop(), variables), f"bpttcheck verify {file}:subject"
        return _of_arrays(code, variables), f"python -m pytest {file}"


def _variables(code: Code, place: str) -> dict[str, str]:
    """For each argument the variable that is an example of it. Raises ValueError where there is none."""
    found = {}
    for argument in signature(code.found).parameters.values():
        names = [name for name in (argument.name, argument.name.removesuffix("_t")) if name in code.beside]
        if names:
            found[argument.name] = names[0]
        elif argument.default is Parameter.empty and argument.kind not in (
            Parameter.VAR_POSITIONAL,
            Parameter.VAR_KEYWORD,
        ):
            raise ValueError(
                f"{code.name} takes {argument.name}, and {place} has no variable of that name: put an example there, "
                f"such as {argument.name} = np.zeros((5, 4, 3)); only its shape and type count"
            )
    if not found:
        raise ValueError(f"{code.name} takes nothing of which {place} has an example")
    return found


def _library(leaf: Any) -> str:
    return type(leaf).__module__.partition(".")[0].replace("jaxlib", "jax")


def _of_arrays(code: Code, variables: Mapping[str, str]) -> str:
    """A test of a function on NumPy's arrays, by `check`, or by `assert_op` if it takes many arrays by name."""
    examples = {name: code.beside[variable] for name, variable in variables.items()}
    plain = all(isinstance(example, np.ndarray) for example in examples.values())
    if plain and (len(examples) > 3 or (len(examples) > 1 and not {*_INPUTS} & {*examples})):
        first = np.shape(next(iter(examples.values())))[:2]
        roles = {n: "streams" if a.shape[:2] == first else "state" if a.shape[:1] == first[:1] else "parameters"
                 for n, a in examples.items()}  # fmt: skip
        given = {
            role: "{" + ", ".join(f'"{n}": {variables[n]}' for n in roles if roles[n] == role) + "}"
            for role in dict.fromkeys(roles.values())
        }
        axes = "time=1,  # Yours: the axis of each stream along which the steps lie; batch=0 is the axis of the rows"
        return _test(code, "assert_op", [], variables.values(), given, axes)
    roles = _roles(code.name, variables)
    called = {role: code.beside[variable] for role, variable in roles.items()}
    back, how = _way_back(code, variables)
    ways = [back] if how == "backward" else []
    named = {"step_back": back} if how == "step_back" else {}
    own_arrays(code.found, *map(code.beside.get, ways), **called | {n: code.beside[w] for n, w in named.items()})
    several = isinstance(called.get("x"), np.ndarray) and np.ndim(called["x"]) > 1
    axes = "time=0,  # Yours: the axis of x along which the steps lie" if several else ""
    return _test(code, "check", ways, [back, *roles.values()], named | roles, axes)


def _roles(name: str, variables: Mapping[str, str]) -> dict[str, str]:
    """For each argument of `check` the variable that is passed. Raises ValueError where the function takes others."""
    roles: dict[str, str] = {}
    for argument, variable in variables.items():
        role = "states" if argument.lower() in _STATES else "x" if argument in _INPUTS or roles else "parameters"
        if role in roles or any(_ROLES.index(other) > _ROLES.index(role) for other in roles):
            raise ValueError(
                f"{name} takes {', '.join(variables)}: check calls a function of (parameters, x, states), or of some "
                "of these, in this order; write one around it"
            )
        roles[role] = variable
    return roles


def _way_back(code: Code, variables: Mapping[str, str]) -> tuple[str, str]:
    """The name of the function that goes back, and its name in `check`; empty where there is none, or the function
    itself returns a pullback or gradients."""
    name = code.name
    names = (f"{name}_back", f"{name}_backward", name.replace("forward", "backward"), "backward")
    back = next((one for one in names if one != name and callable(code.beside.get(one))), "")
    if not back or "x_t" in variables or "step" in name:
        return back, "step_back" if back else ""
    returned = tried(name, "the examples", code.found, *(code.beside[variable] for variable in variables.values()))
    loss_or_pullback = isinstance(returned, tuple) and (callable(returned[-1]) or np.ndim(returned[0]) == 0)
    return ("", "") if loss_or_pullback else (back, "backward")


def _test(code: Code, call: str, ways: list[str], imported: Any, given: Mapping[str, str], axes: str) -> str:
    arguments = [f"{one}," for one in (code.name, *ways)] + [f"{name}={what}," for name, what in given.items()]
    body = "".join(f"        {line}\n" for line in [*arguments, axes] if line)
    names = ", ".join(sorted({code.name, *imported} - {""}))
    return (
        f'"""Whether the backward pass of {code.name} belongs to its forward pass.\n\n'
        f"python -m pydoc bpttcheck.own_arrays says what else can be passed: domains, lengths, resets, dtypes, sizes.\n"
        f'"""\n\nimport bpttcheck\nfrom {code.module} import {names}\n\n\n'
        f"def test_{code.name}():\n    bpttcheck.{call}(\n{body}    )\n"
    )


def _of_tensors(code: Code, library: str, variables: Mapping[str, str]) -> str:
    """A function of tensors: of streams ``(T, B, ..)``, a mapping of states ``(B, ..)`` and one of parameters."""
    adapter = {"torch": "TorchFunction", "jax": "JaxFunction"}[library]
    examples = {name: code.beside[variable] for name, variable in variables.items()}
    states = examples.get("states", {})
    parameters = next((a for n, a in examples.items() if isinstance(a, Mapping) and n != "states"), {})
    streams = {n: a for n, a in examples.items() if not isinstance(a, Mapping)}
    flat = isinstance(states, Mapping) and all(hasattr(a, "shape") for a in (*parameters.values(), *states.values()))
    if not flat or len({tuple(a.shape[:2]) for a in streams.values()}) > 1 or ("x" in streams and len(streams) > 1):
        raise ValueError(
            f"{adapter} hands {code.name} a mapping of parameters, streams (T, B, ...) by name, of which none is x, or "
            "only x, and a mapping `states` of arrays (B, ...); write a function around it that takes these"
        )
    sizes = f', sizes={{"D": ({streams["x"].shape[2]},)}}' if "x" in streams else ""
    shapes = {
        "parameters": {n: tuple(a.shape) for n, a in parameters.items()},
        "streams": {n: tuple(a.shape[2:]) for n, a in streams.items() if n != "x"},
        "states": {n: tuple(a.shape[1:]) for n, a in states.items()},
    }
    returned = tried(code.name, "the examples", lambda: code.found(**examples))
    y = returned[0] if isinstance(returned, tuple) else returned
    fields = "".join(f"    {kind}=lambda D, H: {own},\n" for kind, own in shapes.items() if own)
    fields += f"    width=lambda H: {prod(y.shape[2:])},\n"
    domains = '    domains={},  # Yours: where numbers may lie, such as "(0, 1)" for gates\n'
    cell = f"CELL = CustomCell(\n    {code.name!r},\n{fields}{domains})\n"
    return _adapter(code, adapter, "CustomCell", f"{cell}subject = {adapter}({code.name}, cell=CELL{sizes})\n")


def _is_module(found: Any) -> bool:
    kind = found if isinstance(found, type) else type(found)
    return "torch" in sys.modules and issubclass(kind, sys.modules["torch"].nn.Module)


def _of_module(code: Code) -> str:
    """A module of PyTorch: a class, which is made for D and H, or a module as it is, of fixed sizes."""
    if isinstance(code.found, type):
        states, _, _ = _called(code.name, tried(code.name, f"D={_D}, H={_H}", code.found, _D, _H), [_D])
        by_size = {
            n: tuple("H" if size == _H else "D" if size == _D else size for size in s) for n, s in states.items()
        }
        shapes = str(by_size).replace("'H'", "H").replace("'D'", "D")
        return _adapter(code, "TorchModule", "", f"subject = TorchModule({code.name}, states=lambda D, H: {shapes})\n")
    sizes = sorted({size for p in code.found.parameters() for size in p.shape})
    states, D, H = _called(code.name, code.found, sizes)
    fixed = f'    states=lambda D, H: {states},\n    sizes={{"D": ({D},), "H": ({H},)}},\n    name={code.name!r},\n'
    return _adapter(
        code, "TorchModule", "", f"subject = TorchModule(\n    lambda D, H: deepcopy({code.name}),\n{fixed})\n"
    )


def _called(name: str, made: Any, sizes: list[int]) -> tuple[dict[str, tuple[int, ...]], int, int]:
    """The shape of each state of one row, and the features of x and of y.

    Raises ValueError where x has none of the sizes, or the states are no mapping."""
    torch, reasons = sys.modules["torch"], list[str]()
    dtype = next((p.dtype for p in made.parameters()), None)
    for D in sizes:
        try:
            returned = made(torch.zeros(5, 4, D, dtype=dtype))
        except Exception as error:
            reasons.append(f"of {D} features, {type(error).__name__}: {error}")
            continue
        y, states = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, {})
        if isinstance(states, Mapping):
            return {n: tuple(a.shape[1:]) for n, a in states.items()}, D, int(y.shape[-1])
        raise ValueError(
            f"{name} returns its states as a {type(states).__name__}: TorchModule takes y and a mapping of arrays "
            "(B, ...), such as {'h': h}; write a module around it that returns this"
        )
    raise ValueError(f"{name} cannot be called with only x, (T, B, D): {'; '.join(reasons)}")


def _adapter(code: Code, adapter: str, cell: str, body: str) -> str:
    wing = {"TorchFunction": "torch_function", "JaxFunction": "jax_function", "TorchModule": "torch_module"}[adapter]
    more = f"python -m pydoc bpttcheck.adapters.{wing} says what else can be declared"
    before = ["from copy import deepcopy\n"] * ("deepcopy" in body) + [f"from bpttcheck import {cell}"] * bool(cell)
    imports = [*before, f"from bpttcheck.adapters.{wing} import {adapter}", f"from {code.module} import {code.name}"]
    body = body.replace("'", '"')
    return "\n".join([f'"""{code.name} as bpttcheck sees it; {more}."""', "", *imports, "", body])
