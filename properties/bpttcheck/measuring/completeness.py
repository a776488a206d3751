"""What must come back of a call: every array that is declared, no other, in the shape and dtype of that call's case."""

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
    """What capabilities call an array: "x", "y", "final", "initial" or "parameters", the readout's included."""
    return name[0] if has_steps(name) else next((k for k in ("final", "initial") if f"{k}." in name), "parameters")


def declared(arrays: Named, capabilities: Capabilities) -> Named:
    """Those outputs and gradients that the capabilities have."""

    def has(kinds: Collection[str], name: str) -> bool:
        return kind(name) in kinds or f"{kind(name)}.{name.rpartition('.')[2]}" in kinds

    kinds = {"y" if name == "last" else name for name in (*capabilities.outputs, *capabilities.gradients)}
    return {
        name: array
        for name, array in arrays.items()
        if has(kinds, name) and (kind(name) != "initial" or has(capabilities.inputs, name))
    }


def gradient_shapes(case: Case, capabilities: Capabilities) -> Shapes:
    """Of the gradients that a case must give: those that are wanted, the readout's among them where there is one."""
    return {name: array.shape for name, array in wanted(declared(case_arrays(case), capabilities), case).items()}


def wanted(gradients: Named, case: Case) -> Named:
    """Those that a case wants, without those of states that are not differentiated by."""
    aside = case.cell.without_cotangent if isinstance(case.cell, CustomCell) else ()
    return {
        name: a
        for name, a in gradients.items()
        if (case.wanted is None or kind(name) in case.wanted)
        and not (kind(name) == "initial" and name.rpartition(".")[2] in aside)
    }


def output_shapes(case: Case, like: Case, cotangents: Cotangents) -> Shapes:
    """Of the outputs that a case must give, as far as ``cotangents`` for the outputs of a case ``like`` it say.

    It may have other numbers of steps, rows and directions.
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
    """Raises Violation, with a sentence, unless what came back for a case is what there must be.

    what: how the sentence calls an array. like: the case of which the reader knows already.
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
