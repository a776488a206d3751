"""My recurrent network as bpttcheck sees it:  bpttcheck verify my_rnn.py:MyRNN

This file passes as it stands, with a plain tanh RNN. Replace what is marked "Yours", one step at a time:

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

import numpy as np

from bpttcheck import Capabilities, Gradients, Outputs
from bpttref import RNN


class MyRNN:
    name = "my-rnn"  # Yours: what reports call it.

    def capabilities(self):
        return Capabilities(
            cells=(RNN("tanh"),),  # Yours: some of RNN("tanh"), RNN("relu"), LSTM(), GRU("after"), GRU("before").
            dtypes=("float32", "float64"),  # Yours: what it computes in.
            inputs=("dense", "initial"),  # Yours: without "initial" it starts from zeros.
            gradients=("x", "parameters", "initial"),  # Yours: what it returns the gradients of.
            selects=True,  # Yours: leave it out, and all gradients are always wanted.
        )

    def vjp(self, case):
        p, y = case.parameters[0][0], []
        zeros = np.zeros((case.x.shape[1], p["W_hh"].shape[1]), case.x.dtype)
        h = [zeros if case.initial is None else case.initial[0][0]["h"]]
        # Yours: run your network forward, on these arrays brought into your own layout.
        for x in case.x:
            y.append(np.tanh(x @ p["W_hx"].T + p["b_hx"] + h[-1] @ p["W_hh"].T + p["b_hh"]))
            h.append(y[-1])  # Step 4: h.append(np.where(live[t], y[-1], h[-1])), and y[-1] * live[t].

        def pullback(cotangents):
            dp, dx = {name: np.zeros_like(array) for name, array in p.items()}, np.zeros_like(case.x)
            dy = np.zeros_like(y) if cotangents.y is None else cotangents.y
            dh = np.zeros_like(h[0]) if cotangents.final is None else cotangents.final[0][0]["h"]
            # Yours: run your network backward, from dy of all steps and dh of the state after the last one.
            for t in reversed(range(len(dx))):
                da = (1 - y[t] ** 2) * (dh + dy[t])  # Step 4: times live[t].
                dp["W_hx"] += da.T @ case.x[t]
                dp["W_hh"] += da.T @ h[t]
                dp["b_hx"] += da.sum(axis=0)
                dp["b_hh"] += da.sum(axis=0)
                if case.wanted is None or "x" in case.wanted:  # Yours: what else may be left out; "initial", say.
                    dx[t] = da @ p["W_hx"]
                dh = da @ p["W_hh"]  # Step 3: times xi[t].  Step 4: plus dh * ~live[t].
            return Gradients(dx, ((dp,),), (({"h": dh},),))

        return Outputs(np.array(y), (({"h": h[-1]},),)), pullback
