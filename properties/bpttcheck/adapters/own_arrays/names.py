"""The names of arrays in a user's own mappings, lists and tuples, and which gradient belongs to which array."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bpttcheck.custom_cell import RESERVED
from bpttref.arrays import Array

_FORMS = ("d{}", "d_{}", "grad_{}", "{}_grad", "g{}", "{}")  # names that the gradient of an array may have
_OF_STATES = ("d{}0", "d{}_0", "d{}_prev", *_FORMS)


def wrapped(tree: Any, name: str) -> Mapping[str, Any]:
    """A mapping as it is, a named tuple as a mapping; anything else under a name."""
    if hasattr(tree, "_asdict"):
        return dict(tree._asdict())
    return tree if isinstance(tree, Mapping) else {name: tree}


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays of a tree by name: "layer/W" of nested mappings, "b0", "b1" of a list that is called b."""
    if isinstance(tree, Mapping):
        for key, part in tree.items():
            yield from leaves(part, f"{name}/{key}" if name else str(key))
    elif isinstance(tree, list | tuple):
        for k, part in enumerate(tree):
            yield from leaves(part, f"{name}{k}")
    else:
        yield name, tree


def rebuilt(tree: Any, arrays: Iterator[Any]) -> Any:
    """A tree of the same kind with other arrays, in the order of `leaves`."""
    if isinstance(tree, Mapping):
        return {key: rebuilt(part, arrays) for key, part in tree.items()}
    if isinstance(tree, list | tuple):
        parts = [rebuilt(part, arrays) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return next(arrays)


def allowed(name: str) -> str:
    """The name as a `CustomCell` takes it: without dots, and not one that means something else."""
    plain = name.replace(".", "/")
    return f"{plain}_" if plain in RESERVED else plain


def floating(tree: Mapping[str, Any]) -> dict[str, Array]:
    """Copies of the arrays of parameters or states. Raises ValueError where one holds no floating-point numbers."""
    arrays = {name: np.array(leaf) for name, leaf in leaves(tree)}
    for name, array in arrays.items():
        if array.dtype.kind not in "fc":
            raise ValueError(
                f"{name} holds numbers of type {array.dtype}, of which there is no gradient: pass floating-point "
                "numbers here, and let your function read all else from where it is defined"
            )
    return arrays


class Sorted(dict[str, dict[str, Any]]):
    """Gradients that are sorted already, by argument and by name."""


def gradients(answer: Any, arguments: Mapping[str, Mapping[str, Any]]) -> Sorted:
    """The gradients in a user's results, by argument and by name; absent ones are left out.

    arguments: trees by "p", "x", "state", in the order in which the user's function takes them. The answer is a mapping
    in which the gradient of W is called W, dW, ..., or a tuple with a part for each argument, of which the last may be
    left out, or the gradients of only the first argument.
    """
    if isinstance(answer, Sorted):
        return answer
    if hasattr(answer, "_asdict"):
        answer = answer._asdict()
    if isinstance(answer, Mapping):
        parts = {
            name: answer[name] if name not in tree and isinstance(answer.get(name), Mapping) else answer
            for name, tree in arguments.items()
        }
    else:
        tree = next(iter(arguments.values()))
        whole = not isinstance(answer, tuple) or _alike(answer, next(iter(tree.values())))
        given = [answer] if whole else answer
        parts = {name: by_name(tree, part) for (name, tree), part in zip(arguments.items(), given, strict=False)}
    return Sorted({name: dict(_matched(arguments[name], part, name == "state")) for name, part in parts.items()})


def _alike(answer: Sequence[Any], tree: Any) -> bool:
    """Whether an answer is the gradients of a tuple of arrays, one by one."""
    nested = any(isinstance(part, list | tuple | Mapping) for part in answer)
    return isinstance(tree, list | tuple) and len(tree) == len(answer) and not nested


def by_name(tree: Mapping[str, Any], part: Any) -> Any:
    """Arrays as a mapping like a tree: of a mapping, of a single array, or of several in their order."""
    if isinstance(part, Mapping) or hasattr(part, "_asdict"):
        return wrapped(part, "")
    return dict.fromkeys(tree, part) if len(tree) == 1 else dict(zip(tree, part, strict=False))


def _matched(tree: Any, answer: Any, of_state: bool, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of an answer that belong to the leaves of a tree."""
    if isinstance(tree, Mapping):
        for key, part in tree.items():
            called = [form.format(key) for form in (_OF_STATES if of_state else _FORMS)]
            own = next((answer[n] for n in called if isinstance(answer, Mapping) and n in answer), None)
            yield from _matched(part, own, of_state, f"{name}/{key}" if name else str(key))
    elif isinstance(tree, list | tuple):
        for k, part in enumerate(tree):
            there = isinstance(answer, list | tuple) and k < len(answer)
            yield from _matched(part, answer[k] if there else None, of_state, f"{name}{k}")
    elif answer is not None:
        yield name, answer
