"""A case as a graph of the ONNX operators RNN, LSTM and GRU, for all ONNX targets.

Conventions, as the operators' own text has them (opset 22): W (directions, G*H, D), R (directions, G*H, H),
B (directions, 2*G*H) = [Wb, Rb]; gates i, o, f, c and z, r, h; the GRU has (1 - z) h + z H, and its reset gate
acts after the recurrent product where `linear_before_reset` is 1. Y is (T, directions, B, H), or (B, T, directions, H)
where `layout` is 1; states have the same order of axes. A layer's Y, directions side by side, is the X of the next. A
plain cell without an activation has Affine, with slope 1.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from bpttcheck.contract import Capabilities, Case, CustomCell, Outputs
from bpttref import GRU, RNN, Cell
from bpttref.arrays import Array
from bpttref.unrolling import Parameters

CONVENTIONS = {
    "reset gate": "before the recurrent product, or after it where linear_before_reset is 1",
    "biases": "two, [Wb, Rb]",
    "weights": "constants of the graph",
}

_GATES = {"RNN": (0,), "LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}  # an operator's, by their places in the canonical order


class OnnxSubject:
    """Base of an adapter, which is forward-only.

    layout: of the operators, 1 for batch-first. apart: whether two directions are two nodes, "forward" and "reverse",
    in place of one that is "bidirectional".
    """

    name: str

    def __init__(self, *, layout: Literal[0, 1] = 0, apart: bool = False) -> None:
        self._layout, self._apart = layout, apart

    def capabilities(self) -> Capabilities:
        raise NotImplementedError

    def run(self, model: ModelProto, feeds: Mapping[str, Array]) -> Sequence[Array]:
        """The outputs of a model, in its order."""
        raise NotImplementedError

    def vjp(self, case: Case) -> tuple[Outputs, None]:
        assert not isinstance(case.cell, CustomCell)
        states = case.cell.states
        feeds = {"x": self._swapped(case.x)}
        if case.lengths is not None:
            feeds["lengths"] = case.lengths.astype(np.int32)
        for k, leaves in enumerate(case.initial or ()):
            for direction, part in self._nodes(len(leaves)).items():
                for s in states:
                    feeds[f"{s} {k} {direction}"] = self._swapped(np.stack([leaf[s] for leaf in leaves[part]]))
        model = self._model(case, case.cell, feeds)
        names = (output.name for output in model.graph.output)
        found = {name: self._swapped(array) for name, array in zip(names, self.run(model, feeds), strict=True)}
        final = tuple(
            tuple({s: found[f"final {s} {k}"][d] for s in states} for d in range(len(layer)))
            for k, layer in enumerate(case.parameters)
        )
        return Outputs(found["y"], final), None

    def _swapped(self, array: Array) -> Array:
        """From the canonical layout to the layout of the operators, or back."""
        return np.ascontiguousarray(array.swapaxes(0, 1) if self._layout else array)

    def _nodes(self, directions: int) -> dict[str, slice]:
        """The nodes of a layer: the attribute "direction", and which directions it runs."""
        if directions == 2 and not self._apart:
            return {"bidirectional": slice(2)}
        return {name: slice(d, d + 1) for d, name in enumerate(("forward", "reverse")[:directions])}

    def _model(self, case: Case, cell: Cell, feeds: Mapping[str, Array]) -> ModelProto:
        """The model from ``feeds`` to y and the final states."""
        constants = {"T, B, all else": np.array([0, 0, -1])}
        nodes: list[NodeProto] = []
        ends = [f"final {s}" for s in cell.states]
        for k, layer in enumerate(case.parameters):
            x, y = f"y {k - 1}" if k else "x", f"y {k}" if k + 1 < len(case.parameters) else "y"
            parts = self._nodes(len(layer))
            for direction, part in parts.items():
                place = f"{k} {direction}"
                weights = {f"{name} {place}": a for name, a in _weights(cell, layer[part]).items()}
                constants |= weights
                optional = ["lengths", *(f"{s} {place}" for s in cell.states)]
                nodes.append(
                    helper.make_node(
                        type(cell).__name__,
                        [x, *weights, *(name if name in feeds else "" for name in optional)],
                        [f"{output} {place}" for output in ("Y", *ends)],
                        direction=direction,
                        layout=self._layout,
                        hidden_size=layer[0]["W_hh"].shape[1],
                        **_attributes(cell, len(layer[part])),
                    )
                )
            for output in ("Y", *ends):
                pieces = [f"{output} {k} {direction}" for direction in parts]
                axis = self._layout + (output == "Y")  # of the directions
                nodes.append(helper.make_node("Concat", pieces, [f"{output} {k}"], axis=axis))
            order = (0, 1, 2, 3) if self._layout else (0, 2, 1, 3)
            nodes.append(helper.make_node("Transpose", [f"Y {k}"], [f"rows {k}"], perm=order))
            nodes.append(helper.make_node("Reshape", [f"rows {k}", "T, B, all else"], [y]))

        kind = helper.np_dtype_to_tensor_dtype
        outputs = ["y", *(f"{end} {k}" for k in range(len(case.parameters)) for end in ends)]
        graph = helper.make_graph(
            nodes,
            "case",
            [helper.make_tensor_value_info(name, kind(array.dtype), array.shape) for name, array in feeds.items()],
            [helper.make_tensor_value_info(name, kind(case.x.dtype), None) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


def _weights(cell: Cell, directions: Sequence[Parameters]) -> dict[str, Array]:
    """W, R and B of a node."""
    order = _GATES[type(cell).__name__]

    def arranged(name: str) -> list[Array]:
        return [np.concatenate([np.split(p[name], len(order))[place] for place in order]) for p in directions]

    W, R, Wb, Rb = (np.stack(arranged(name)) for name in ("W_hx", "W_hh", "b_hx", "b_hh"))
    return {"W": W, "R": R, "B": np.concatenate([Wb, Rb], axis=1)}


def _attributes(cell: Cell, directions: int) -> dict[str, Any]:
    """The attributes that make the operator this cell."""
    if isinstance(cell, GRU):
        return {"linear_before_reset": int(cell.reset == "after")}
    if not isinstance(cell, RNN):
        return {}
    if cell.activation != "identity":
        return {"activations": [cell.activation.capitalize()] * directions}
    slope, offset = [1.0] * directions, [0.0] * directions
    return {"activations": ["Affine"] * directions, "activation_alpha": slope, "activation_beta": offset}
