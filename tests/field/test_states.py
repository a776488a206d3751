"""Cells that bpttcheck does not know, with a state of any rank for each row: a number, a vector, a matrix, a window."""

import math

import numpy as np
import pytest

from bpttcheck import Capabilities, CustomCell, Gradients, Outputs

from .judging import alarms, red

SHAPES = {
    "number": lambda H: (),
    "vector": lambda H: (H,),
    "matrix": lambda H: (H, 3),
    "window": lambda H: (2, 3, H),
}


class Decaying:
    """S' = f S + (x V reshaped), y = x V + a sum of S' over all its axes: linear, with one decay f for each number."""

    def __init__(self, shape, dtype="float64"):
        self.name, self.shape, self.dtype = type(self).__name__, shape, dtype

    def capabilities(self):
        cell = CustomCell(
            "decaying",
            lambda D, H: {"V": (D, math.prod(self.shape(H))), "f": self.shape(H)},
            lambda H: {"S": self.shape(H)},
            lambda H: 1,
        )
        return Capabilities(cells=(cell,), dtypes=(self.dtype,))

    def vjp(self, case):
        V, f, S = case.parameters[0][0]["V"], case.parameters[0][0]["f"], [self.start(case.initial[0][0]["S"])]
        u = (case.x @ V).reshape(len(case.x), *S[0].shape)
        for u_t in u:
            S.append((f * S[-1] + u_t).astype(case.dtype))
        y = np.reshape(S[1:], (*case.x.shape[:2], -1)).sum(axis=-1, keepdims=True).astype(case.dtype)

        def pullback(cotangents):
            dS = np.zeros_like(S[0]) if cotangents.final is None else cotangents.final[0][0]["S"]
            df, du = np.zeros_like(f), np.zeros_like(u)
            for t in reversed(range(len(u))):
                if cotangents.y is not None:
                    dS = dS + cotangents.y[t].reshape(-1, *[1] * f.ndim)
                df = df + (dS * self.before(S, t)).sum(axis=0)
                du[t] = dS
                dS = f * dS
            flat = du.reshape(*case.x.shape[:2], -1)
            parameters = {"V": np.einsum("tbd,tbk->dk", case.x, flat), "f": np.asarray(df)}
            return self.pulled(Gradients(flat @ V.T, ((parameters,),), (({"S": dS.astype(case.dtype)},),)))

        return Outputs(y, (({"S": S[-1]},),)), pullback

    def start(self, initial):
        return initial

    def before(self, states, t):
        return states[t]

    def pulled(self, gradients):
        return gradients


class RowOfTheFirst(Decaying):
    """The offset of a row is left out where the state is read: all rows start from the state of row 0."""

    def start(self, initial):
        return np.broadcast_to(initial[:1], initial.shape)


class StateAfter(Decaying):
    """The gradient of the decay uses the state after the step in place of the one before."""

    def before(self, states, t):
        return states[t + 1]


class NoStateGradient(Decaying):
    def pulled(self, gradients):
        return gradients._replace(initial=(({"S": np.zeros_like(gradients.initial[0][0]["S"])},),))


class LateNan(Decaying):
    """One row is not a number from some step on."""

    def vjp(self, case):
        outputs, pullback = super().vjp(case)
        outputs.y[4:, -1] = np.nan
        return outputs, pullback


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_correct_cell_is_green(shape, dtype):
    assert not alarms(Decaying(shape, dtype), examples=40)


@pytest.mark.parametrize(("wrong", "law"), [
    (RowOfTheFirst, "batch-permutation"),
    (StateAfter, "own-forward-derivative"),
    (NoStateGradient, "own-forward-derivative"),
    (LateNan, "ordinary-is-finite"),
])  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_an_incorrect_cell_is_red(shape, dtype, wrong, law):
    assert red(wrong(shape, dtype), law, examples=40) == {law}
