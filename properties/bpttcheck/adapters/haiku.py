"""Haiku's cores under hk.dynamic_unroll: hk.VanillaRNN (relu), hk.LSTM and hk.GRU.

Conventions: VanillaRNN has two biases. LSTM has one matrix for [x, h] with gates i, g, f, o, one bias, and adds 1 to f:
the adapter takes 1 off its bias. GRU has gates z, r, n, one bias, the reset gate before the recurrent product, and
h' = (1 - z) h + z n: the adapter negates the weights of z, because 1 - sigmoid(a) = sigmoid(-a). Where the library has
one bias the canonical two are added up, and each gets the gradient of the sum.
"""

from typing import Any

import haiku as hk
import jax.numpy as jnp

from bpttcheck.adapters.jax_subject import JaxSubject
from bpttcheck.contract import Capabilities, CustomCell
from bpttref import GRU, LSTM, RNN, Cell, Links, Regular


class HaikuCores(JaxSubject):
    """``haiku.dynamic_unroll``."""

    name = f"haiku {hk.__version__}"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            cells=(RNN("relu"), LSTM(), GRU("before")),
            layers=2,
            truncations=(Regular, Links),
            objectives=("cross-entropy", "squared-error", "linear"),
            loss_weights=True,
            sizes=self.sizes,
            refuses=self.refuses,
            conventions={
                "reset gate": "before the recurrent product",
                "update gate": "h' = (1 - z) h + z n: the weights of z are negated",
                "forget gate": "the library adds 1, which is taken off the bias",
                "biases": "two for VanillaRNN, one for LSTM and GRU",
            },
        )

    def unroll(self, cell: Cell | CustomCell, parameters: Any, x: Any, initial: Any, lengths: Any) -> tuple[Any, Any]:
        ((p,),), ((state,),) = parameters, initial
        core, weights = _CORES[type(cell)]
        H = state["h"].shape[-1]
        before = hk.LSTMState(state["h"], state["c"]) if isinstance(cell, LSTM) else state["h"]
        run = hk.without_apply_rng(hk.transform(lambda x, before: hk.dynamic_unroll(core(H), x, before)))
        y, after = run.apply(weights(p), x, before)
        return y, (({"h": after.hidden, "c": after.cell} if isinstance(cell, LSTM) else {"h": after},),)


def _vanilla(p: Any) -> dict[str, Any]:
    inputs, state = ({"w": p[f"W_{to}"].T, "b": p[f"b_{to}"]} for to in ("hx", "hh"))
    return {"vanilla_rnn/linear": inputs, "vanilla_rnn/linear_1": state}


def _lstm(p: Any) -> dict[str, Any]:
    i, f, g, o = jnp.split(jnp.concatenate([p["W_hx"], p["W_hh"], (p["b_hx"] + p["b_hh"])[:, None]], axis=1), 4)
    rows = jnp.concatenate([i, g, f.at[:, -1].add(-1), o])
    return {"lstm/linear": {"w": rows[:, :-1].T, "b": rows[:, -1]}}


def _gru(p: Any) -> dict[str, Any]:
    def arranged(array: Any) -> Any:
        r, z, n = jnp.split(array, 3)
        return jnp.concatenate([-z, r, n])

    w_i, w_h, b = (arranged(array) for array in (p["W_hx"], p["W_hh"], p["b_hx"] + p["b_hh"]))
    return {"gru": {"w_i": w_i.T, "w_h": w_h.T, "b": b}}


_CORES: dict[type, Any] = {RNN: (hk.VanillaRNN, _vanilla), LSTM: (hk.LSTM, _lstm), GRU: (hk.GRU, _gru)}
