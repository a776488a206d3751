"""A complete result: every declared array and no other, in the shape and dtype of the call's case."""

from collections.abc import Collection, Mapping
from functools import cache

from bpttcheck.cases.blocks import Named, case_arrays, has_steps, place
from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell
from bpttcheck.dtypes import FORMATS
from bpttcheck.measuring.comparisons import Violation
from bpttref import Full

Shapes = Mapping[str, tuple[int, ...]]


@cache
def kind(name: str) -> str:
    """The name of an array in capabilities: "x", "y", "final", "initial", or "parameters", which includes the
    readout."""
    return name[0] if has_steps(name) else next((k for k in ("final", "initial") if f"{k}." in name), "parameters")


def declared(arrays: Named, capabilities: Capabilities) -> Named:
    """The outputs and gradients that the capabilities declare."""

    def has(kinds: Collection[str], name: str) -> bool:
        return kind(name) in kinds or f"{kind(name)}.{name.rpartition('.')[2]}" in kinds

    kinds = {"y" if name == "last" else name for name in (*capabilities.outputs, *capabilities.gradients)}
    return {
        name: array
        for name, array in arrays.items()
        if has(kinds, name) and (kind(name) != "initial" or has(capabilities.inputs, name))
    }


def gradient_shapes(case: Case, capabilities: Capabilities) -> Shapes:
    """The shapes of the gradients that a case must give: the wanted ones, with those for a readout."""
    return {name: array.shape for name, array in wanted(declared(case_arrays(case), capabilities), case).items()}


def wanted(gradients: Named, case: Case) -> Named:
    """The gradients that a case wants, without gradients of states that have none."""
    aside = case.cell.without_cotangent if isinstance(case.cell, CustomCell) else ()
    return {
        name: a
        for name, a in gradients.items()
        if (case.wanted is None or kind(name) in case.wanted)
        and not (kind(name) == "initial" and name.rpartition(".")[2] in aside)
    }


def output_shapes(case: Case, like: Case, cotangents: Cotangents) -> Shapes:
    """The shapes of the outputs that a case must give, as far as ``cotangents`` for a similar case ``like`` show them.

    The two may differ in their numbers of steps, rows and directions.
    """
    directions = len(case.parameters[0])
    shapes: dict[str, tuple[int, ...]] = {}
    if cotangents.y is not None:
        shapes["y"] = (case.T, case.B, cotangents.y.shape[-1] * directions // len(like.parameters[0]))
    for layer, (states, *_) in enumerate(cotangents.final or ()):
        for direction in range(directions):
            for name, state in states.items():
                shapes[f"{place(layer, direction)}final.{name}"] = (case.B, *state.shape[1:])
    return shapes


def check_complete(what: str, got: Named, shapes: Shapes, case: Case, like: Case) -> None:
    """Raises Violation, with a sentence, unless the result for a case is complete.

    what: the sentence's name for an array. like: the case that the reader already knows.
    """
    storage, where = FORMATS[case.dtype].storage, _where(case, like)
    for name, shape in sorted(shapes.items()):
        if name not in got:
            raise Violation(f"{where}the {what} {name} is missing; expected an array of shape {shape}")
        if got[name].shape != shape:
            raise Violation(f"{where}the {what} {name} has shape {got[name].shape}; expected {shape}")
        if got[name].dtype != storage:
            raise Violation(f"{where}the {what} {name} has dtype {got[name].dtype}; expected {storage}")
    kinds = {kind(name) for name in shapes}
    for name in got.keys() - shapes.keys():
        if kind(name) in kinds:
            raise Violation(f"{where}there is a {what} {name}, which the case does not have")


def _where(case: Case, like: Case) -> str:
    if case is like:
        return ""
    under = "" if case.truncation == Full() else f" under {case.truncation}"
    return f"with {case.T} steps and {case.B} rows{under} "
