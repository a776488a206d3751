"""Flax's linen layers: nn.SimpleCell (tanh), nn.OptimizedLSTMCell and nn.GRUCell in nn.RNN and nn.Bidirectional.

Conventions: a kernel (D, H) for each gate; carry (c, h); the GRU's reset gate after the recurrent product. One bias per
gate, and for the GRU's n another one inside the product with r. So of the canonical biases only b_hh of n has a place
of its own; the others are added up, and each of a pair gets the gradient of the sum. Outputs of nn.RNN behind the end
of a row are set to zero.
"""

from dataclasses import replace
from typing import Any

import flax
import jax.numpy as jnp
from flax import linen as nn

from bpttcheck.adapters.jax_subject import JaxSubject
from bpttcheck.contract import Capabilities, CustomCell
from bpttref import GRU, LSTM, RNN, Cell, Links, Regular


class FlaxLinen(JaxSubject):
    """``flax.linen.RNN`` and ``flax.linen.Bidirectional``."""

    name = f"flax-linen {flax.__version__}"
    lstm: Any = nn.OptimizedLSTMCell

    def capabilities(self) -> Capabilities:
        return Capabilities(
            cells=(RNN("tanh"), LSTM(), GRU("after")),
            layers=2,
            bidirectional=True,
            inputs=("dense", "initial", "lengths"),
            truncations=(Regular, Links),
            objectives=("cross-entropy", "squared-error", "linear"),
            loss_weights=True,
            sizes=self.sizes,
            refuses=self.refuses,
            conventions={"reset gate": "after the recurrent product", "biases": "one, and one more for the GRU's n"},
        )

    def unroll(self, cell: Cell | CustomCell, parameters: Any, x: Any, initial: Any, lengths: Any) -> tuple[Any, Any]:
        (directions,), (states,) = parameters, initial
        layers = [nn.RNN(self._layer(cell, p["W_hh"].shape[1])) for p in directions]
        weights = [{"cell": _weights(cell, p)} for p in directions]
        carries = [(s["c"], s["h"]) if isinstance(cell, LSTM) else s["h"] for s in states]
        options = {"seq_lengths": lengths, "time_major": True, "return_carry": True}
        if len(layers) == 1:
            after, y = layers[0].apply({"params": weights[0]}, x, initial_carry=carries[0], **options)
            ends = [after]
        else:
            both = {"params": {"forward_rnn": weights[0], "backward_rnn": weights[1]}}
            ends, y = nn.Bidirectional(*layers).apply(both, x, initial_carry=carries, **options)
        if lengths is not None:
            y = jnp.where(jnp.arange(len(x))[:, None, None] < lengths[:, None], y, 0)
        return y, (tuple({"c": end[0], "h": end[1]} if isinstance(cell, LSTM) else {"h": end} for end in ends),)

    def _layer(self, cell: Cell | CustomCell, H: int) -> Any:
        """A cell that computes in the dtype of its parameters: flax's default."""
        kinds: dict[type, Any] = {RNN: nn.SimpleCell, LSTM: self.lstm, GRU: nn.GRUCell}
        return kinds[type(cell)](H)


class FlaxLinenLSTMCell(FlaxLinen):
    """nn.LSTMCell, with eight products a step, in place of nn.OptimizedLSTMCell."""

    name = f"flax-linen LSTMCell {flax.__version__}"
    lstm = nn.LSTMCell

    def capabilities(self) -> Capabilities:
        return replace(super().capabilities(), cells=(LSTM(),))


def _weights(cell: Any, p: Any) -> dict[str, dict[str, Any]]:
    """The parameters of a case as flax names them: a kernel for each gate, and where the layer has one its bias."""
    parts = {name: jnp.split(array, len(cell.gates)) for name, array in p.items()}
    gates = ("",) if isinstance(cell, RNN) else cell.gates
    named: dict[str, dict[str, Any]] = {}
    for k, gate in enumerate(gates):
        named[f"i{gate}"] = {"kernel": parts["W_hx"][k].T}
        named[f"h{gate}"] = {"kernel": parts["W_hh"][k].T}
        if gate == "n":
            named["in"]["bias"], named["hn"]["bias"] = parts["b_hx"][k], parts["b_hh"][k]
        else:
            named[("h" if isinstance(cell, LSTM) else "i") + gate]["bias"] = parts["b_hx"][k] + parts["b_hh"][k]
    return named
