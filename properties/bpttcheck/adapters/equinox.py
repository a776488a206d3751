"""Equinox's cells, eqx.nn.LSTMCell and eqx.nn.GRUCell, for single rows: mapped over the batch and scanned over time.

Conventions: weights (G*H, D) with gates i, f, g, o and r, z, n; the GRU's reset gate after the recurrent product. One
bias, and for the GRU's n another one inside the product with r. So of the canonical biases only b_hh of n has a place
of its own; the others are added up, and each of a pair gets the gradient of the sum.
"""

from typing import Any

import equinox as eqx
import jax
from jax import lax

from bpttcheck.adapters.jax_subject import JaxSubject
from bpttcheck.contract import Capabilities, CustomCell
from bpttref import GRU, LSTM, Cell, Links, Regular


class EquinoxCells(JaxSubject):
    """``equinox.nn`` under ``jax.vmap`` and ``jax.lax.scan``."""

    name = f"equinox {eqx.__version__}"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            cells=(LSTM(), GRU("after")),
            layers=2,
            truncations=(Regular, Links),
            objectives=("cross-entropy", "squared-error", "linear"),
            loss_weights=True,
            sizes=self.sizes,
            refuses=self.refuses,
            conventions={"reset gate": "after the recurrent product", "biases": "one, and one more for the GRU's n"},
        )

    def unroll(self, cell: Cell | CustomCell, parameters: Any, x: Any, initial: Any, lengths: Any) -> tuple[Any, Any]:
        ((p,),), ((state,),) = parameters, initial
        layer = jax.vmap(_lstm(p) if isinstance(cell, LSTM) else _gru(p))

        def step(state: Any, x: Any) -> tuple[Any, Any]:
            if isinstance(cell, LSTM):
                h, c = layer(x, (state["h"], state["c"]))
                return {"h": h, "c": c}, h
            h = layer(x, state["h"])
            return {"h": h}, h

        final, y = lax.scan(step, state, x)
        return y, ((final,),)


def _lstm(p: Any) -> Any:
    """The cell with the parameters of a case."""
    weights = (p["W_hx"], p["W_hh"], p["b_hx"] + p["b_hh"])
    return eqx.tree_at(lambda c: (c.weight_ih, c.weight_hh, c.bias), _blank(eqx.nn.LSTMCell, p), weights)


def _gru(p: Any) -> Any:
    rz = 2 * p["W_hh"].shape[1]
    weights = (p["W_hx"], p["W_hh"], p["b_hx"].at[:rz].add(p["b_hh"][:rz]), p["b_hh"][rz:])
    return eqx.tree_at(lambda c: (c.weight_ih, c.weight_hh, c.bias, c.bias_n), _blank(eqx.nn.GRUCell, p), weights)


def _blank(kind: Any, p: Any) -> Any:
    """A cell of the right sizes without numbers."""
    return eqx.filter_eval_shape(kind, p["W_hx"].shape[1], p["W_hh"].shape[1], key=jax.random.key(0))
