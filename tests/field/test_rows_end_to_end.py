"""Rows of different lengths that are laid end to end in one long array, with offsets: as variable-length kernels do.

bpttcheck does not know the cell: h' = g * h + x V with g = sigmoid(x W), and y = h'.
"""

import numpy as np
import pytest

from bpttcheck import Capabilities, CustomCell, Gradients, Outputs

from .judging import alarms, red

CELL = CustomCell("gated-sum", lambda D, H: {"V": (D, H), "W": (D, H)}, lambda H: {"h": (H,)})
SLIPS = {  # and the law that sees each
    "a row sees the last state of the row before": "batch-independence",
    "the loop backward does not stop where a row begins": "own-forward-derivative",
    "the final state is read one step late": "batch-permutation",
    "the offsets are those of equal rows": "batch-permutation",
    "a row without steps ends with the state of its neighbour": "ragged-row-alone",
}


class EndToEnd:
    """Row b lies from ``begin[b]`` to ``begin[b + 1]``; ``row[n]`` is the row of step n of the long array."""

    def __init__(self, dtype, slip=""):
        self.name, self.dtype, self.slip = slip or "correct", dtype, slip

    def capabilities(self):
        inputs = ("dense", "initial", "lengths")
        return Capabilities(cells=(CELL,), dtypes=(self.dtype,), inputs=inputs, empty=True)

    def vjp(self, case):
        (T, B, _), p, start, slip = case.x.shape, case.parameters[0][0], case.initial[0][0]["h"], self.slip
        lengths = np.full(B, T) if case.lengths is None else case.lengths
        begin, row = np.append(0, np.cumsum(lengths)), np.repeat(np.arange(B), lengths)
        place = np.arange(len(row)) - begin[row], row
        x = case.x[place]
        if slip == "the offsets are those of equal rows":
            begin = np.arange(B + 1) * len(x) // max(1, B)
        first, last = np.isin(np.arange(len(x)), begin), np.isin(np.arange(1, len(x) + 1), begin)
        u, g = x @ p["V"], 1 / (1 + np.exp(-(x @ p["W"])))
        before, after = np.zeros_like(u), np.zeros_like(u)
        for n in range(len(x)):
            before[n] = start[row[n]] if first[n] else after[n - 1]
            if n and first[n] and slip == "a row sees the last state of the row before":
                before[n] += after[n - 1]
            after[n] = g[n] * before[n] + u[n]
        y, final, late = np.zeros((T, B, u.shape[1]), x.dtype), start.copy(), "one step late" in slip
        y[place] = after
        for b in range(B):
            if lengths[b] or (begin[b] and "without steps" in slip):
                final[b] = after[min(begin[b + 1] - (not late), len(x) - 1)]

        def pullback(cotangents):
            d = np.zeros_like(u) if cotangents.y is None else cotangents.y[place]
            d_start = np.zeros_like(start) if cotangents.final is None else cotangents.final[0][0]["h"].copy()
            dh = np.zeros_like(start[:1].sum(axis=0))
            for n in reversed(range(len(x))):
                if last[n]:
                    dh = d_start[row[n]] + dh * ("does not stop" in slip)
                d[n] += dh
                dh = g[n] * d[n]
                if first[n]:
                    d_start[row[n]] = dh
            da, dx = d * before * g * (1 - g), np.zeros_like(case.x)
            dx[place] = d @ p["V"].T + da @ p["W"].T
            return Gradients(dx, (({"V": x.T @ d, "W": x.T @ da},),), (({"h": d_start},),))

        return Outputs(y, (({"h": final},),)), pullback


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_correct_offsets_are_green(dtype):
    assert not alarms(EndToEnd(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_at_the_offsets_is_red(slip, dtype):
    assert red(EndToEnd(dtype, slip), SLIPS[slip], examples=40, seed=2) == {SLIPS[slip]}
