"""An LSTM as people write it by hand, with lists of states and gates; and mistakes in its loop backward."""

import numpy as np
import pytest

from bpttcheck import Capabilities, Gradients, Outputs
from bpttref import LSTM

from .judging import alarms, red


def sigmoid(a):
    return (1 + np.tanh(a / 2)) / 2


def slope_by_exponentials(a):
    """Correct, and inf / inf for a very negative a."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.exp(-a) / (1 + np.exp(-a)) ** 2


SLIPS = {  # and the law that sees each
    "the slope takes the value for its argument": "pullback-reference",
    "the slope overflows": "saturated-is-finite",
    "c[t - 1] is the last of the list where t is 0": "pullback-reference",
    "the pointers stop one step early": "pullback-reference",
    "dh meets the output gate twice": "pullback-reference",
    "parameters have the gradient of a mean": "pullback-reference",
}


class WithLists:
    """``h[t]`` and ``c[t]`` are the states before step t, ``gates[t]`` its i, f, g, o and their pre-activations."""

    def __init__(self, dtype, slip=""):
        self.name, self.dtype, self.slip = slip or "correct", dtype, slip

    def capabilities(self):
        few = {"inputs": ("dense",), "outputs": ("y",), "gradients": ("x", "parameters")}
        return Capabilities(cells=(LSTM(),), dtypes=(self.dtype,), biases=1, **few)

    def vjp(self, case):
        p, x, gates = case.parameters[0][0], case.x, []
        zero = np.zeros((x.shape[1], p["W_hh"].shape[1]), x.dtype)
        h, c = [zero], [zero]
        for x_t in x:
            a = np.split(x_t @ p["W_hx"].T + h[-1] @ p["W_hh"].T + p["b_hx"], 4, axis=1)
            i, f, g, o = sigmoid(a[0]), sigmoid(a[1]), np.tanh(a[2]), sigmoid(a[3])
            c.append(f * c[-1] + i * g)
            h.append(o * np.tanh(c[-1]))
            gates.append((a, i, f, g, o))

        def pullback(cotangents):
            dp, dx = {n: np.zeros_like(w) for n, w in p.items()}, np.zeros_like(x)
            dh = dc = zero
            for t in reversed(range(len(x))):
                a, i, f, g, o = gates[t]
                h_before, c_before = self.before(t, h, c)
                dh, q = dh + cotangents.y[t], np.tanh(c[t + 1])
                dc = dc + dh * o ** (1 + (self.slip == "dh meets the output gate twice")) * (1 - q**2)
                da = np.hstack([dc * g, dc * c_before, dc * i, dh * q]) * np.hstack(self.slopes(a, i, f, g, o))
                dp["W_hx"] += da.T @ x[t]
                dp["W_hh"] += da.T @ h_before
                dp["b_hx"] += da.sum(axis=0)
                dx[t], dh, dc = da @ p["W_hx"], da @ p["W_hh"], dc * f
            places = np.asarray(len(x) * x.shape[1] if "of a mean" in self.slip else 1, x.dtype)
            return Gradients(dx, (({n: w / places for n, w in dp.items()},),), None)

        return Outputs(np.stack(h[1:]), None), pullback

    def before(self, t, h, c):
        if self.slip == "the pointers stop one step early":
            t = max(t, 1)
        return h[t], c[-1] if t == 0 and "of the list" in self.slip else c[t]

    def slopes(self, a, i, f, g, o):
        if self.slip == "the slope overflows":
            return *map(slope_by_exponentials, a[:2]), 1 - g**2, slope_by_exponentials(a[3])
        if self.slip == "the slope takes the value for its argument":
            i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        return i * (1 - i), f * (1 - f), 1 - g**2, o * (1 - o)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_correct_loop_is_green(dtype):
    assert not alarms(WithLists(dtype), examples=16)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_in_the_loop_is_red(slip, dtype):
    assert red(WithLists(dtype, slip), SLIPS[slip]) == {SLIPS[slip]}
