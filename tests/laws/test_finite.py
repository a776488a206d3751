"""Infinite results from small numbers are a failure; an overflow in correct code is none."""

from dataclasses import replace

import numpy as np
import pytest

from bpttcheck import LAWS, Capabilities, Case, CustomCell, Gradients, Outputs, judge
from bpttcheck.adapters.reference import Reference, with_loss
from bpttref import RNN

from ..thorough import some

FINITE = [law for law in LAWS if law.family == "finite"]


class Linear:
    """h' = W h + V x, or of h squared, of which the states are matrices ``(H, 2)``; and its loss.

    spoil: changes outputs and gradients. power: 2 for squares, which overflow in a few steps.
    """

    name = "linear"

    def __init__(self, dtypes=("float32",), power=1, spoil=lambda case, name, array: array, **declared):
        self.power, self.spoil = power, spoil
        shapes = lambda D, H: {"W": (H, H), "V": (H, D)}  # noqa: E731
        cell = CustomCell("linear", shapes, lambda H: {"h": (H, 2)})
        self.declared = Capabilities(cells=(cell,), dtypes=dtypes, objectives=("linear",), **declared)
        self.loss_and_gradients = with_loss(self.vjp)

    def capabilities(self):
        return self.declared

    def vjp(self, case):
        (p,), k = case.parameters[0], self.power
        h = [case.initial[0][0]["h"]]
        for x in case.x:
            h.append(p["W"] @ h[-1] ** k + (x @ p["V"].T)[..., None])

        def pullback(cotangents):
            dW, dV, dx = np.zeros_like(p["W"]), np.zeros_like(p["V"]), np.zeros_like(case.x)
            dh = np.zeros_like(h[0]) if cotangents.final is None else cotangents.final[0][0]["h"].copy()
            for t in reversed(range(len(case.x))):
                if cotangents.y is not None:
                    dh[..., 0] += cotangents.y[t]
                dW += np.einsum("bik,bjk->ij", dh, h[t] ** k)
                dV += dh.sum(axis=-1).T @ case.x[t]
                dx[t] = dh.sum(axis=-1) @ p["V"]
                dh = (p["W"].T @ dh) * (k * h[t] ** (k - 1))
            dW, dV, dx, dh = (self.spoil(case, n, a) for n, a in {"W": dW, "V": dV, "x": dx, "h0": dh}.items())
            return Gradients(dx, (({"W": dW, "V": dV},),), (({"h": dh},),))

        y, last = self.spoil(case, "y", np.stack([s[..., 0] for s in h[1:]])), self.spoil(case, "h", h[-1])
        return Outputs(y, (({"h": last},),)), pullback


def judged(subject, laws=FINITE, examples=24, **options):
    return list(judge(subject, laws, examples=examples, shrink=False, **options))


def spoiled(what, steps, value):
    """An array that is not finite in a sequence of at least this many steps; a sequence, from that step on."""

    def spoil(case, name, array):
        if name != what or len(case.x) < steps:
            return array
        array = array.copy()
        array[steps - 1 :] = value
        if name not in ("y", "x"):
            array[...] = value
        return array

    return spoil


@pytest.mark.parametrize("dtypes", [("float64",), ("float32",), ("float16",), ("float64", "float32")], ids="-".join)
@pytest.mark.parametrize("what", ["y", "h", "W", "V", "x", "h0"])
@pytest.mark.parametrize(("steps", "value"), [(1, np.nan), (4, np.inf), (6, np.nan)])
def test_an_unknown_cell_that_is_not_finite(dtypes, what, steps, value):
    for result in judged(Linear(dtypes, spoil=spoiled(what, steps, value)), seed=steps, examples=96):
        seen = result.law == "ordinary-is-finite" or what not in ("y", "h", "h0")
        if seen:
            assert result.status == "failed", result
            assert "nan" in result.reason or "inf" in result.reason


@pytest.mark.parametrize("steps", [1, 3, 6])
def test_the_first_incorrect_step_is_named(steps):
    result, _ = judged(Linear(spoil=spoiled("y", steps, np.nan)))
    assert result.reason.startswith(f"y is nan at step {steps - 1}, where")
    result, _ = judged(Linear(spoil=spoiled("W", steps, np.nan)))
    assert result.reason.startswith(f"the gradient of W is nan with {steps} steps, where")


def test_float32_where_float64_is_finite():
    """At the drawn size, not an ordinary one."""

    def spoil(case, name, array):
        too_large = case.dtype == "float32" and np.abs(case.parameters[0][0]["W"]).max() > 3
        return np.full_like(array, np.nan) if name == "y" and too_large else array

    for result in judged(Linear(("float64", "float32"), spoil=spoil)):
        wrong = result.dtype == "float32"
        assert (result.status == "failed") == wrong
        assert not wrong or "the same in float64 is finite" in result.reason


@pytest.mark.parametrize("dtypes", [("float64",), ("float32",), ("float16",), ("float64", "float16")], ids="-".join)
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("T", some([7, 70], 7))
def test_an_overflow_is_no_mistake(dtypes, power, T):
    results = judged(Linear(dtypes, power, sizes={"T": (T,)}), examples=32, seed=T)
    assert {result.status for result in results} <= {"passed", "vacuous"}
    results = judged(Linear(dtypes, power), examples=32, seed=T + 1)
    assert {result.status for result in results} <= {"passed", "vacuous"}


def test_a_linear_recurrence_of_the_reference():
    class Long(Reference):
        def capabilities(self):
            return replace(super().capabilities(), cells=(RNN("identity"),), sizes={"T": (70,)})

    assert {result.status for result in judged(Long(), seed=2)} <= {"passed", "vacuous"}


def test_chaos_is_no_excuse():
    """Where nothing else can be compared the reference still says that the numbers are finite."""

    class Loses(Reference):
        def capabilities(self):
            chaos = {"T": (40,), "H": (8,), "B": (2,)}
            return replace(super().capabilities(), cells=(RNN("tanh"),), sizes=chaos, layers=1, bidirectional=False)

        def vjp(self, case):
            outputs, pullback = super().vjp(case)
            if np.abs(case.parameters[0][0]["W_hh"]).max() < 3:
                return outputs, pullback
            return outputs, lambda cotangents: pullback(cotangents)._replace(x=np.full_like(case.x, np.nan))

    result, _ = judged(Loses(), dtypes=["float64"], examples=16)
    assert result.status == "failed" and result.reason.startswith("the gradient of x is nan at step 39 and before")


def test_a_correct_implementation_shows_which_numbers_are_finite():
    from bpttcheck.running.own import Own

    wrong = Linear(spoil=spoiled("V", 2, np.nan))
    result, _ = judged(wrong, own=Own(against=Linear(("float64",))))
    assert result.status == "failed" and "linear gives finite numbers" in result.reason


def test_a_comparison_with_finite_numbers():
    """Also where rounding would say nothing: the second of two calls is not finite, nor are those next to it."""
    from bpttcheck.measuring.comparisons import compare
    from bpttcheck.measuring.tolerance import Measured

    case = Case(Linear().declared.cells[0], "float32", (), np.zeros((1, 1, 1)))
    one, none = np.ones(3), np.array([1, np.nan, 1])
    (seen,) = compare(case, {"W": none}, {"W": one}, Measured({}, {"W": np.full(3, np.inf)}))
    assert seen.margin == float("inf")
    assert not list(compare(case, {"W": none}, {"W": np.full(3, np.inf)}))
    assert not list(compare(case, {"W": one}, {"W": one}, Measured({}, {"W": np.full(3, np.inf)})))
