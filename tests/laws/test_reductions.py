"""Pullbacks of a mean, over rows or over steps: declared ones are green, and another factor is red."""

from dataclasses import replace

import numpy as np
import pytest

from bpttcheck import Capabilities, CustomCell, Gradients, Outputs
from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.drawing import KINDS, draw_case
from bpttcheck.cases.realising import realise
from bpttcheck.explaining.diagnosis import diagnose
from bpttcheck.explaining.xray import xray
from bpttcheck.faults import FAULTS, Faulty
from bpttref import RNN, Cotangents, Objective, Regular, trees

from ..field.judging import alarms, red

MEANS = ("mean-of-steps", "mean-of-rows", "mean")


class Mean:
    """The reference, whose pullback is of a mean. divides: its divisor, if it is another one."""

    def __init__(self, reduction, divides="", base=None, **declared):
        self.name, self.divides, self.base = "mean", divides or reduction, base or Reference()
        usual = {"cells": (RNN("tanh"),), "dtypes": ("float64",), "inputs": ("dense", "initial", "lengths")}
        self.declared = replace(Capabilities(**usual | {"reduction": reduction, "truncations": (Regular,)}), **declared)

    def capabilities(self):
        return self.declared

    def factors(self, case):
        """Of each row: the loops are written out again, not those under test."""
        lengths = [case.T] * case.B if case.lengths is None else case.lengths.tolist()
        if self.divides == "T":
            return np.full(case.B, 1 / case.T)
        if self.divides == "mean-of-steps":
            return np.array([1 / n for n in lengths])
        return np.full(case.B, {"mean-of-rows": 1 / case.B, "mean": 1 / sum(lengths), "sum": 1}[self.divides])

    def vjp(self, case):
        outputs, pullback = self.base.vjp(case)
        rows = self.factors(case).astype(case.x.dtype)[:, None]

        def of_mean(cotangents):
            y = None if cotangents.y is None else cotangents.y * rows
            return pullback(Cotangents(y, trees.each(lambda array: array * rows, cotangents.final)))

        return outputs, of_mean


@pytest.mark.parametrize("reduction", MEANS)
def test_a_declared_mean_is_green(reduction):
    dtypes = ("float32",) if reduction == "mean" else ("float64",)
    assert not alarms(Mean(reduction, dtypes=dtypes), examples=16)


@pytest.mark.parametrize(("reduction", "divides"), [
    ("sum", "mean-of-rows"),
    ("mean-of-rows", "sum"),
    ("mean-of-rows", "mean"),
    ("mean-of-steps", "T"),  # where rows have lengths
    ("mean", "mean-of-steps"),
])  # fmt: skip
def test_another_factor_is_red(reduction, divides):
    laws = ("pullback-reference", "own-forward-derivative", "ragged-row-alone", "batch-gradient-is-sum")
    assert {"pullback-reference", "own-forward-derivative"} <= red(Mean(reduction, divides), *laws)


def test_an_xray_sees_no_factor():
    seen = xray(Mean("mean"), RNN("tanh"), Regular(2), 6)
    assert seen.shows(seen.declared)


@pytest.mark.parametrize("mistake", ["factor", "dW-without-h0"])
def test_a_diagnosis_names_a_wrong_factor_or_any_other_mistake(mistake):
    if mistake == "factor":
        subject, said = Mean("mean-of-rows", "mean"), "1/T times as large"
    else:
        fault = next(fault for fault in FAULTS if fault.id == mistake)
        subject, said = Mean("mean", base=Faulty(fault)), mistake
    subject.declared = replace(subject.declared, inputs=("dense", "initial"), truncations=())
    assert said in diagnose(subject, RNN("tanh"), "float64", faults=[f for f in FAULTS if f.id == mistake]).sentence()


class Averager:
    """A user's own cell: a decaying sum, and the gradients of the mean over the rows. slip: B is forgotten there."""

    cell = CustomCell("decaying", lambda D, H: {"W": (D, H)}, lambda H: {"h": (H,)})
    name = "decaying"

    def __init__(self, slip=""):
        self.slip = slip

    def capabilities(self):
        return Capabilities(cells=(self.cell,), reduction="mean-of-rows")

    def vjp(self, case):
        W, x = case.parameters[0][0]["W"], case.x
        h = [case.initial[0][0]["h"]]
        for now in x:
            h.append(np.tanh(h[-1] / 2 + now @ W))
        h = np.array(h)

        def pullback(cotangents):
            d, dW, dx, B = np.zeros_like(h[0]), np.zeros_like(W), np.zeros_like(x), x.shape[1]
            if cotangents.final is not None:
                d = d + cotangents.final[0][0]["h"] / (1 if self.slip == "final" else B)
            for t in reversed(range(len(x))):
                d = d if cotangents.y is None else d + cotangents.y[t] / B
                d = d * (1 - h[t + 1] ** 2)
                dW += x[t].T @ d * (B if self.slip == "W" else 1)
                dx[t], d = d @ W.T, d / 2
            return Gradients(dx, (({"W": dW},),), (({"h": d},),))

        return Outputs(h[1:], (({"h": h[-1]},),)), pullback


@pytest.mark.parametrize("slip", ["", "final", "W"])
def test_a_mean_of_a_users_own_cell(slip):
    subject = Averager(slip)
    laws = ("own-forward-derivative", "split-resume-pullback", "batch-independence", "batch-gradient-is-sum")
    failed = {law for dtype in ("float64", "float32") for law in red(subject, *laws, dtypes=[dtype], examples=16)}
    assert bool(failed) == bool(slip)


def test_a_loss_that_is_a_mean_over_rows():
    """By ``loss_and_gradients``, also for rows of different lengths."""
    declared = Capabilities(
        cells=(RNN(),), inputs=("dense", "initial", "lengths"), objectives=("linear",), reduction="mean-of-rows"
    )
    case, _ = realise(draw_case(np.random.default_rng(1), declared, KINDS.index("ragged")), RNN(), "float64", declared)
    there = np.arange(case.T)[:, None] < case.lengths
    assert isinstance(case.objective, Objective) and case.lengths.min() < case.T
    np.testing.assert_array_equal(case.objective.factors, there / case.B)
