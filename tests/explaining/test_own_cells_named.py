"""Mistakes in the pullback of an unknown cell: the diagnosis names those that need no equation, and locates the others,
by the derivatives of the cell's own forward pass."""

from dataclasses import replace

import numpy as np
import pytest

from bpttcheck import Capabilities, Case, Cotangents, CustomCell, Gradients, Outputs
from bpttcheck.adapters.reference import with_loss
from bpttcheck.explaining.diagnosis import diagnose
from bpttcheck.explaining.fitting import gives
from bpttcheck.explaining.looking import looked_at
from bpttcheck.explaining.own_derivatives import OwnDerivatives
from bpttcheck.faults import FAULTS
from bpttcheck.running.time_limit import TimeLimit

CELL = CustomCell(
    "leaky",
    parameters=lambda D, H: {"W": (H, D), "a": (H,)},
    states=lambda D, H: {"s": (H,)},
    domains={"a": "(0, 1)"},
)


class Leaky:
    """s' = tanh(a s + W x), and its pullback by hand, with a mistake."""

    def __init__(self, slip="", **declared):
        self.name, self.slip = slip or "leaky", slip
        self.declared = Capabilities(**{"cells": (CELL,), "dtypes": ("float64",), **declared})

    def capabilities(self):
        return self.declared

    def vjp(self, case):
        p, x, slip, s = case.parameters[0][0], case.x, self.slip, case.initial[0][0]["s"]
        xi = case.truncation.links(len(x))
        flags = np.zeros(x.shape[:2], bool) if case.resets is None else case.resets
        before, after = [], [s]
        for t in range(len(x)):
            before.append(np.where(flags[t][:, None], 0, after[-1]))
            after.append(np.tanh(p["a"] * before[t] + x[t] @ p["W"].T))

        def pullback(cotangents):
            ds = np.zeros_like(s) if cotangents.final is None else cotangents.final[0][0]["s"].copy()
            dW, da, dx = np.zeros_like(p["W"]), np.zeros_like(p["a"]), np.zeros_like(x)
            for t in reversed(range(len(x))):
                if cotangents.y is not None:
                    ds = ds + cotangents.y[t]
                if slip == "clipped in the loop":
                    ds = np.clip(ds, -0.5, 0.5)
                inner = ds * (1 if slip == "without the slope" else 1 - after[t + 1] ** 2)
                dW += inner.T @ x[t]
                da += (inner * (after[t + 1] if slip == "with the state after" else before[t])).sum(0)
                dx[t] = inner @ p["W"]
                ds = np.where(flags[t][:, None], 0, inner * p["a"] * xi[t])
            if slip == "half":
                da *= 0.5
            return Gradients(dx, (({"W": dW, "a": da},),), (({"s": ds},),))

        y = np.stack(after[1:]) if len(x) else np.zeros((0, *s.shape), s.dtype)
        return Outputs(y, (({"s": after[-1]},),)), pullback


class Planted(Leaky):
    def __init__(self, fault_id, **declared):
        super().__init__(**declared)
        self.vjp = next(fault for fault in FAULTS if fault.id == fault_id).make(super().vjp)


@pytest.mark.parametrize(("fault_id", "declared"), [
    ("rnn-no-carry", {}),
    ("two-forward-calls", {}),
    ("omitted-cotangent", {}),
    pytest.param("stops-after-16-steps", {}, marks=pytest.mark.thorough),
    ("divided-by-steps-and-rows", {}),
    pytest.param("loop-runs-forward", {}, marks=pytest.mark.thorough),
    ("dx-in-backward-order", {}),
    ("dy-overwritten-by-dx", {}),
    ("cache-key-incomplete", {}),
    ("gradient-cut-at-chunks", {"chunks": (4,)}),
    ("gradient-crosses-resets", {"inputs": ("dense", "initial", "resets")}),
    ("gradient-reset-a-step-early", {"inputs": ("dense", "initial", "resets")}),
])  # fmt: skip
def test_a_mistake_that_needs_no_equation_is_named(fault_id, declared):
    found = diagnose(Planted(fault_id, **declared), CELL, "float64")
    assert fault_id in found.names and len(found.names) <= 2 and not found.more


@pytest.mark.parametrize(("slip", "words"), [
    ("half", "incorrect: a (half as large); correct: W, initial.s, x"),
    ("with the state after", "with one step, incorrect: a; correct: W, initial.s, x"),
    ("without the slope", "with one step, incorrect: W, a, initial.s, x"),
])  # fmt: skip
def test_another_is_located(slip, words):
    found = diagnose(Leaky(slip), CELL, "float64", ())
    assert words in found.sentence()


class Scored(Leaky):
    """A loss and its gradients, and nothing else."""

    def __init__(self, slip):
        super().__init__(slip, objectives=("linear",))
        self.loss_and_gradients = with_loss(super().vjp)

    vjp = None


def test_a_loss_without_vjp_has_correct_numbers_too():
    found = diagnose(Scored("half"), CELL, "float64")
    assert "incorrect: a (half as large); correct: W, initial.s, x" in found.sentence()


def test_mistakes_are_planted_in_the_correct_implementation():
    found = diagnose(Planted("rnn-no-carry"), CELL, "float64", against=Leaky())
    assert found.names == ("rnn-no-carry",)


def test_nothing_is_named_where_numbers_change_from_call_to_call():
    found = diagnose(Planted("reset-ineffective"), CELL, "float64")
    assert found.moody and not found.names and "something is left behind" in found.sentence()


class Odd:
    """y = tanh(U x), forward only."""

    name = "odd"

    def capabilities(self):
        cell = CustomCell("odd", parameters=lambda D, H: {"U": (D,)}, width=lambda D, H: D)
        return Capabilities(cells=(cell,), dtypes=("float64",), inputs=("dense",), gradients=("parameters",))

    def vjp(self, case):
        return Outputs(np.tanh(case.parameters[0][0]["U"] * case.x), None), None


def test_the_error_of_a_difference_where_only_the_third_derivative_is_left():
    """At 0 the second one of tanh is 0, and says nothing of the error."""
    U, x = np.array([0.001]), np.full((1, 1, 1), 3.0)
    case = Case(Odd().capabilities().cells[0], "float64", (({"U": U},),), x, None)
    found = OwnDerivatives(Odd()).measure(case, Cotangents(np.ones((1, 1, 1))))
    error = abs(found.values["U"] - 3 / np.cosh(0.003) ** 2)
    assert error <= found.spread["U"] < 1e-8


def test_a_fault_without_the_implementations_error_is_not_named():
    """An error slightly above its tolerance is within the tolerance of a comparison with a fault."""
    right = OwnDerivatives(Leaky())
    seen = next(looked_at(Leaky(), right, CELL, "float64", (), TimeLimit(10)))
    fault = next(fault for fault in FAULTS if fault.id == "zero-length")
    assert gives(fault, right, [seen]) and not gives(fault, right, [replace(seen, bad={"W"})])


def test_arrays_that_cannot_be_compared_are_not_called_correct():
    cell = replace(CELL, surrogate=("W", "a", "x", "s"))
    found = diagnose(Leaky(cells=(cell,)), cell, "float64")
    assert not found.broken and "nobody knows the numbers of a single call" in found.sentence()


def test_a_correct_cell_has_no_diagnosis():
    found = diagnose(Leaky(), CELL, "float64")
    assert not found.broken and "are the derivatives of the forward pass" in found.sentence()
