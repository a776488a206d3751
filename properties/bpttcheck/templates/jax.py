"""My recurrent network as bpttcheck sees it:  bpttcheck verify my_rnn.py:MyRNN

This file passes as it stands, with a plain tanh RNN in JAX. Replace what is marked "Yours", one step at a time:

1. Forward: gradients=() in the capabilities, and None in place of pullback.
2. Gradients: as below. With gradients=("parameters",) only these are needed.
3. Truncation: truncations=(Regular, Links), both from bpttref, and the line "Step 3". The cotangent from step t to the
   state before it is multiplied by xi[t], 0 where it is cut: xi = case.truncation.links(T).astype(case.dtype).
4. Rows of different lengths: "lengths" among the inputs, and the line "Step 4". case.lengths is (B,), or None where all
   rows have T steps; live[t] is t < lengths, as (B, 1). Behind its end y is 0, and the state stays what it was.

`python -m pydoc bpttcheck.Capabilities` has more: other biases, layers, two directions, tokens, a loss of its own.

x is (T, B, D), W_hx (G*H, D), W_hh (G*H, H), b_hx and b_hh (G*H,), a state (B, H), y (T, B, H). G gates are stacked:
i, f, g, o of an LSTM, whose states are "h" and "c"; r, z, n of a GRU.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from bpttcheck import Capabilities, Gradients, Outputs
from bpttref import RNN

jax.config.update("jax_enable_x64", True)  # without it JAX computes in float32 whatever it is given


@jax.jit
def network(parameters, x, initial):
    p, h = parameters, initial

    # Yours: run your network forward, on these arrays brought into your own layout.
    def step(h, x_t):  # Step 3: scan over (x, xi), and begin with h = stop(h) + xi_t * (h - stop(h)).
        new = jnp.tanh(x_t @ p["W_hx"].T + p["b_hx"] + h @ p["W_hh"].T + p["b_hh"])
        return new, new  # Step 4: scan over live, too, and return jnp.where(live_t, new, h), live_t * new.

    h, y = jax.lax.scan(step, h, x)
    return y, h


@partial(jax.jit, static_argnums=2)
def gradients(given, cotangents, wanted):
    return jax.vjp(lambda some: network(**{**given, **some}), {n: given[n] for n in wanted})[1](cotangents)[0]


class MyRNN:
    name = "my-rnn"  # Yours: what reports call it.

    def capabilities(self):
        return Capabilities(
            cells=(RNN("tanh"),),  # Yours: some of RNN("tanh"), RNN("relu"), LSTM(), GRU("after"), GRU("before").
            dtypes=("float32", "float64"),  # Yours: what it computes in.
            inputs=("dense", "initial"),  # Yours: without "initial" it starts from zeros.
            gradients=("x", "parameters", "initial"),  # Yours: what it returns the gradients of.
            selects=True,  # Yours: leave it out, and all gradients are always wanted.
            sizes={"T": (1, 3, 4, 8), "B": (1, 2), "D": (3,), "H": (4,)},  # Yours: each new shape is compiled.
        )

    def vjp(self, case):
        p = dict(case.parameters[0][0])
        zeros = np.zeros((case.x.shape[1], p["W_hh"].shape[1]), case.x.dtype)
        given = {"parameters": p, "x": case.x, "initial": zeros if case.initial is None else case.initial[0][0]["h"]}
        wanted = ("initial", "parameters", "x") if case.wanted is None else tuple(sorted(case.wanted))
        y, h = map(np.asarray, network(**given))

        def pullback(cotangents):
            dy = np.zeros_like(y) if cotangents.y is None else cotangents.y
            dh = np.zeros_like(h) if cotangents.final is None else cotangents.final[0][0]["h"]
            found = jax.tree.map(np.asarray, gradients(given, (dy, dh), wanted))
            dp = ((found["parameters"],),) if "parameters" in wanted else None
            dh = (({"h": found["initial"]},),) if "initial" in wanted else None
            return Gradients(found.get("x"), dp, dh)

        return Outputs(y, (({"h": h},),)), pullback
