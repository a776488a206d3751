"""Flax's nnx layers: nnx.SimpleCell (tanh), nnx.OptimizedLSTMCell and nnx.GRUCell in nnx.RNN, nnx.Bidirectional.

Conventions: kernels (D, G*H) with gates i, f, g, o and r, z, n; carry (c, h); one bias, also in the GRU, whose reset
gate acts after the recurrent product. Cells compute in float32 unless they get another dtype. Outputs of nnx.RNN
behind the end of a row are set to zero.
"""

from typing import Any

import flax
import jax.numpy as jnp
from flax import nnx

from bpttcheck.adapters.jax_subject import JaxSubject
from bpttcheck.contract import Capabilities, CustomCell
from bpttref import GRU, LSTM, RNN, Cell, Links, Regular

_KINDS = {RNN: nnx.SimpleCell, LSTM: nnx.OptimizedLSTMCell, GRU: nnx.GRUCell}


class FlaxNnx(JaxSubject):
    """``flax.nnx.RNN`` and ``flax.nnx.Bidirectional``."""

    name = f"flax-nnx {flax.__version__}"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            cells=(RNN("tanh"), LSTM(), GRU("after")),
            biases=1,
            layers=2,
            bidirectional=True,
            inputs=("dense", "initial", "lengths"),
            truncations=(Regular, Links),
            objectives=("cross-entropy", "squared-error", "linear"),
            loss_weights=True,
            sizes=self.sizes,
            refuses=self.refuses,
            conventions={"reset gate": "after the recurrent product", "biases": "one"},
        )

    def unroll(self, cell: Cell | CustomCell, parameters: Any, x: Any, initial: Any, lengths: Any) -> tuple[Any, Any]:
        (directions,), (states,) = parameters, initial
        layers = [nnx.RNN(_layer(cell, p)) for p in directions]
        carries = [(s["c"], s["h"]) if isinstance(cell, LSTM) else s["h"] for s in states]
        options = {"seq_lengths": lengths, "time_major": True, "return_carry": True}
        if len(layers) == 1:
            end, y = layers[0](x, initial_carry=carries[0], **options)
            ends = [end]
        else:
            ends, y = nnx.Bidirectional(*layers)(x, initial_carry=tuple(carries), **options)
        if lengths is not None:
            y = jnp.where(jnp.arange(len(x))[:, None, None] < lengths[:, None], y, 0)
        return y, (tuple({"c": end[0], "h": end[1]} if isinstance(cell, LSTM) else {"h": end} for end in ends),)


def _layer(cell: Any, p: Any) -> Any:
    """A cell with the parameters of a case."""
    H, D = p["W_hh"].shape[1], p["W_hx"].shape[1]
    options: dict[str, Any] = {"dtype": p["W_hh"].dtype, "param_dtype": p["W_hh"].dtype}
    layer = nnx.eval_shape(lambda: _KINDS[type(cell)](D, H, rngs=nnx.Rngs(0), **options))
    layer.dense_i.kernel = nnx.Param(p["W_hx"].T)
    layer.dense_h.kernel = nnx.Param(p["W_hh"].T)
    (layer.dense_h if isinstance(cell, LSTM) else layer.dense_i).bias = nnx.Param(p["b_hx"])
    return layer
