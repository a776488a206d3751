"""Keras's layers, SimpleRNN (tanh, relu), LSTM and GRU; stacked, Bidirectional, masked; the base of its backends.

Conventions: batch-major; kernels (D, G*H) with gates i, f, c, o and z, r, h; states [h] or [h, c], first the forward
direction, then the reverse; h' = z h + (1 - z) n. One bias, except for GRU(reset_after=True), which has two as the rows
of one array: where there is one, the canonical two are added up, and each gets the gradient of the sum. Lengths are a
mask over the steps, and ``zero_output_for_mask`` gives zeros behind the end of a row.

Keras takes its backend when it is first imported, once for a process. On JAX and PyTorch its operations promote float64
to float32 (``keras.backend.result_type``), so that a layer of ``dtype="float64"`` takes and returns float64 and
computes some of it in float32, or raises: https://github.com/keras-team/keras/issues/23704.
"""

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

from bpttcheck.contract import Capabilities, Case, CustomCell
from bpttref import GRU, LSTM, RNN, Cell, Links, Regular


class KerasLayers:
    """Base of an adapter, next to the base of its backend, which explains the other ``options``.

    layer: further arguments of Keras's layers, such as ``{"unroll": True}``. With ``{"go_backwards": True}`` they get
    the sequence reversed, which must make no difference. Raises ImportError where Keras has another backend.
    """

    backend: str

    def __init__(self, *, layer: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._keras = _keras_on(self.backend)
        self.name = f"keras-{self.backend} {self._keras.__version__}"
        self._options = {"return_sequences": True, "return_state": True, "zero_output_for_mask": True, **(layer or {})}
        self._backwards = bool(self._options.get("go_backwards"))

    def capabilities(self) -> Capabilities:
        return Capabilities(
            cells=(RNN("tanh"), RNN("relu"), LSTM(), GRU("after"), GRU("before")),
            layers=2,
            bidirectional=not self._backwards,
            inputs=("dense", "initial", "lengths"),
            truncations=(Regular, Links),
            refuses=self.refusal,
            conventions={
                "reset gate": "after the recurrent product, or before it with reset_after=False",
                "update gate": "h' = z h + (1 - z) n",
                "biases": "two for GRU(reset_after=True), else one",
                "behind the end of a row": "zeros, by zero_output_for_mask=True",
                "float64": "declared, because layers take dtype='float64'; operations promote it to float32",
            },
        )

    def refusal(self, case: Case) -> str | None:
        """Why a case cannot be run on this backend; None if it can."""
        return "Keras takes no sequence without steps" if len(case.x) == 0 else None

    def unroll(self, cell: Cell | CustomCell, parameters: Any, x: Any, initial: Any, lengths: Any) -> tuple[Any, Any]:
        assert not isinstance(cell, CustomCell)
        ops = self._keras.ops
        mask = None if lengths is None else self._directed(ops.arange(len(x)) < lengths[:, None])
        y = ops.swapaxes(x, 0, 1)
        final = []
        for directions, states in zip(parameters, initial, strict=True):
            y = self._directed(y)
            layer = self._layer(cell, directions, y)
            weights = [weight for p in directions for weight in self._weights(cell, p)]
            seeds = [variable.value for variable in layer.non_trainable_variables]  # of dropout, which is not used
            before = [state[name] for state in states for name in cell.states]
            (y, *after), _ = layer.stateless_call(weights, seeds, y, initial_state=before, mask=mask)
            each = iter(after)
            final.append(tuple({name: next(each) for name in cell.states} for _ in states))
        return ops.swapaxes(y, 0, 1), tuple(final)

    def _directed(self, sequence: Any) -> Any:
        """The argument of a layer in place of a batch-major sequence: reversed, if the layer goes backwards."""
        return self._keras.ops.flip(sequence, axis=1) if self._backwards else sequence

    def _layer(self, cell: Cell, directions: Any, x: Any) -> Any:
        """A layer of the right sizes, whose numbers do not matter."""
        layers = self._keras.layers
        layer: Any
        zeros = {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}  # orthogonal ones take long
        H = directions[0]["W_hh"].shape[1]
        options = {**self._options, **zeros, "dtype": self._keras.backend.standardize_dtype(x.dtype)}
        if isinstance(cell, RNN):
            layer = layers.SimpleRNN(H, activation=cell.activation, **options)
        elif isinstance(cell, LSTM):
            layer = layers.LSTM(H, **options)
        else:
            layer = layers.GRU(H, reset_after=cell == GRU("after"), **options)
        if len(directions) == 2:
            layer = layers.Bidirectional(layer, dtype=options["dtype"])
        layer.build(x.shape)
        return layer

    def _weights(self, cell: Cell, p: Any) -> tuple[Any, Any, Any]:
        """Kernel, recurrent kernel and bias of a layer, from the parameters of a case."""
        ops = self._keras.ops
        if isinstance(cell, GRU):
            rows = {name: ops.split(array, 3) for name, array in p.items()}
            p = {name: ops.concatenate([z, r, n]) for name, (r, z, n) in rows.items()}
        b_hx, b_hh = p["b_hx"], p["b_hh"]
        bias = ops.stack([b_hx, b_hh]) if cell == GRU("after") else b_hx + b_hh
        return ops.transpose(p["W_hx"]), ops.transpose(p["W_hh"]), bias


def _keras_on(backend: str) -> Any:
    """Keras, on this backend. Raises ImportError where it runs on another one already."""
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = backend
    keras = importlib.import_module("keras")
    if keras.config.backend() != backend:
        raise ImportError(
            f"Keras runs on {keras.config.backend()} in this process, and one process cannot test it on two backends; "
            "run each in its own command"
        )
    return keras
