"""A tanh RNN as people write it by hand: a loop forward, a list of states, a loop backward. It is correct."""

import numpy as np

from bpttcheck import Capabilities, Cotangents, Gradients, Outputs
from bpttref import RNN, Full, Links, Regular


class HandWritten:
    """Subclasses make one mistake each: at a place between 0 and 1, which they read as a column, a step and so on."""

    def __init__(self, dtype="float64", place=0.5):
        self.name, self.dtype, self.place = type(self).__name__, dtype, place

    def capabilities(self):
        return Capabilities(
            cells=(RNN("tanh"),),
            dtypes=(self.dtype,),
            inputs=("dense", "initial", "lengths"),
            truncations=(Regular, Links),
            objectives=("squared-error",),
            reduction="sum",
            empty=True,
        )

    def vjp(self, case):
        p, x = case.parameters[0][0], case.x
        T, B, _ = x.shape
        valid = self.valid(case)
        states = [np.zeros((B, len(p["W_hh"])), x.dtype) if case.initial is None else case.initial[0][0]["h"]]
        for t in range(T):
            before = self.before(case, t, states)
            new = np.tanh(x[t] @ p["W_hx"].T + p["b_hx"] + before @ p["W_hh"].T + p["b_hh"])
            states.append(np.where(valid[t], new, states[-1]))
        y = np.where(valid, np.reshape(states[1:], (T, B, len(p["W_hh"]))), 0).astype(x.dtype)
        pullback = self.pullback(case, valid, states)
        return self.returned(case, Outputs(y, (({"h": states[-1]},),))), pullback

    def pullback(self, case, valid, states):
        links = self.links(case)

        def pull(cotangents):
            p, x = case.parameters[0][0], case.x
            gradients, dx = {name: np.zeros_like(array) for name, array in p.items()}, np.zeros_like(x)
            dh = np.zeros_like(states[0]) if cotangents.final is None else cotangents.final[0][0]["h"]
            for t in reversed(range(len(x))):
                dy = np.zeros_like(dh) if cotangents.y is None else cotangents.y[t]
                h, before = states[t + 1], states[t]
                da = np.where(valid[t], (dh + dy) * (1 - h * h), 0).astype(x.dtype)
                gradients["W_hx"] += da.T @ x[t]
                gradients["W_hh"] += da.T @ before
                gradients["b_hx"] += da.sum(axis=0)
                gradients["b_hh"] += da.sum(axis=0)
                dx[t] = da @ p["W_hx"]
                dh = np.where(valid[t], da @ p["W_hh"] * links[t], dh).astype(x.dtype)
            return self.pulled(case, Gradients(dx, ((gradients,),), (({"h": dh},),)))

        return pull

    def loss_and_gradients(self, case):
        outputs, pullback = self.vjp(case)
        evaluated = case.objective(outputs.y)
        gradients = pullback(Cotangents(evaluated.dy))._replace(readout=evaluated.readout)
        return Outputs(None, outputs.final, evaluated.loss), gradients

    def valid(self, case):
        """Which steps of which rows count, ``(T, B, 1)``."""
        steps = np.arange(len(case.x))[:, None, None]
        return steps < (np.full(case.x.shape[1], len(case.x)) if case.lengths is None else case.lengths)[:, None]

    def links(self, case):
        """The factor of the cotangent of the state that goes into each step."""
        return np.ones(len(case.x)) if case.truncation == Full() else case.truncation.links(len(case.x))

    def before(self, case, t, states):
        """The state that step t reads."""
        return states[-1]

    def returned(self, case, outputs):
        return outputs

    def pulled(self, case, gradients):
        return gradients
