"""My recurrent network as bpttcheck sees it:  bpttcheck verify my_rnn.py:MyRNN

This file passes as it stands, with a plain tanh RNN in PyTorch. Replace what is marked "Yours", one step at a time:

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

import torch

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
        wanted = ("x", "parameters", "initial") if case.wanted is None else case.wanted
        x = torch.tensor(case.x, requires_grad="x" in wanted)
        p = {n: torch.tensor(a, requires_grad="parameters" in wanted) for n, a in case.parameters[0][0].items()}
        zeros = torch.zeros(x.shape[1], p["W_hh"].shape[1], dtype=x.dtype)
        h0 = zeros if case.initial is None else torch.tensor(case.initial[0][0]["h"])
        h0.requires_grad_("initial" in wanted)
        # Yours: copy p into the weights of your module, which replace p in `by`, and run it.
        h, y = h0, []
        for x_t in x:
            # Step 3: h = h.detach() + xi[t] * (h - h.detach()).
            new = torch.tanh(x_t @ p["W_hx"].T + p["b_hx"] + h @ p["W_hh"].T + p["b_hh"])
            h = new  # Step 4: torch.where(live[t], new, h), and live[t] * new below.
            y.append(new)
        outputs, by = [torch.stack(y), h], [tensor for tensor in (x, h0, *p.values()) if tensor.requires_grad]

        def pullback(cotangents):
            given = [cotangents.y, cotangents.final and cotangents.final[0][0]["h"]]
            given = [torch.zeros_like(o) if g is None else torch.tensor(g) for o, g in zip(outputs, given, strict=True)]
            found = iter(torch.autograd.grad(outputs, by, given, retain_graph=not case.once))
            dx = next(found).numpy() if "x" in wanted else None
            dh = (({"h": next(found).numpy()},),) if "initial" in wanted else None
            dp = (({name: g.numpy() for name, g in zip(p, found, strict=True)},),) if "parameters" in wanted else None
            return Gradients(dx, dp, dh)

        return Outputs(outputs[0].detach().numpy(), (({"h": h.detach().numpy()},),)), pullback
