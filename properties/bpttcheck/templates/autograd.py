"""My recurrent network as bpttcheck sees it:  bpttcheck verify my_rnn.py:MyRNN

This file passes as it stands, with a plain tanh RNN in autograd. Replace what is marked "Yours", one step at a time:

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

import autograd.numpy as np
from autograd import make_vjp
from autograd.builtins import tuple as outputs_of

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
        p = dict(case.parameters[0][0])
        zeros = np.zeros((case.x.shape[1], p["W_hh"].shape[1]), case.x.dtype)
        h0 = zeros if case.initial is None else case.initial[0][0]["h"]
        given = {"parameters": p, "x": case.x, "initial": h0}
        wanted = given.keys() if case.wanted is None else case.wanted

        def network(by):
            p, x, h = ((by if name in wanted else given)[name] for name in given)
            # Yours: run your network forward, on these arrays brought into your own layout.
            y = []
            for x_t in x:
                # Step 3: h = getval(h) + xi[t] * (h - getval(h)), with getval from autograd.tracer.
                new = np.tanh(np.dot(x_t, p["W_hx"].T) + p["b_hx"] + np.dot(h, p["W_hh"].T) + p["b_hh"])
                h = new  # Step 4: np.where(live[t], new, h), and live[t] * new below.
                y.append(new)
            return outputs_of((np.array(y), h))

        pull, (y, h) = make_vjp(network, 0)({name: given[name] for name in wanted})

        def pullback(cotangents):
            dy = np.zeros_like(y) if cotangents.y is None else cotangents.y
            dh = np.zeros_like(h) if cotangents.final is None else cotangents.final[0][0]["h"]
            found = pull((dy, dh))
            dp = ((found["parameters"],),) if "parameters" in wanted else None
            dh = (({"h": found["initial"]},),) if "initial" in wanted else None
            return Gradients(found.get("x"), dp, dh)

        return Outputs(y, (({"h": h},),)), pullback
