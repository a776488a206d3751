"""Many to one: y of only each row's last step, and a loss of that step."""

from dataclasses import replace

import numpy as np
import pytest

from bpttcheck import LAWS, Capabilities, CustomCell, Gradients, Outputs, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.explaining.diagnosis import diagnose
from bpttcheck.explaining.explanation import explain
from bpttcheck.running.child import Here
from bpttcheck.running.question import Question
from bpttcheck.running.time_limit import TimeLimit
from bpttref import GRU, Regular

from ..field.judging import red, statuses


class ManyToOne:
    """The reference, which hands on only the last output. slip: its mistake."""

    name = "many-to-one"

    def __init__(self, slip="", **declared):
        self.slip = slip
        usual = {
            "cells": (GRU("after"),),
            "dtypes": ("float64",),
            "inputs": ("dense", "initial", "lengths", "resets"),
            "outputs": ("last", "final"),
            "truncations": (Regular,),
        }
        self.declared = Capabilities(**usual | declared)

    def capabilities(self):
        return self.declared

    def vjp(self, case):
        outputs, pullback = Reference().vjp(case)
        steps, rows = case.T - 1, np.arange(case.B)
        if case.lengths is not None and self.slip != "at T":
            steps = case.lengths - 1

        def of_last(cotangents):
            dy = None
            if cotangents.y is not None:
                dy = np.zeros_like(outputs.y)
                dy[0 if self.slip == "enters at the start" else steps, rows] = cotangents.y
            found = pullback(cotangents._replace(y=dy))
            return found._replace(x=2 * found.x) if self.slip == "twice" else found

        y = outputs.y if self.slip == "all of y" else outputs.y[steps, rows]
        return outputs._replace(y=y), of_last


def test_only_the_last_output_is_green():
    found = statuses(ManyToOne(), examples=24)
    assert set(found.values()) == {"passed", "skipped"}
    passed = {"forward-reference", "pullback-reference", "own-forward-derivative", "split-resume-states", "resets-"}
    passed |= {"split-resume-pullback", "ragged-row-alone", "regular-reference", "nothing-crosses-a-reset"}
    assert all(found.get(law, "passed") == "passed" for law in passed)
    assert found["causality"] == found["xray-regular"] == "skipped"


@pytest.mark.parametrize(("slip", "law"), [
    ("at T", "forward-reference"),
    ("enters at the start", "pullback-reference"),
    ("twice", "own-forward-derivative"),
    ("all of y", "outputs-complete"),
])  # fmt: skip
def test_mistakes_in_it_are_red(slip, law):
    assert law in red(ManyToOne(slip), law, examples=16)


def test_a_mean_over_rows_of_the_last_output():
    class OfMean(ManyToOne):
        def vjp(self, case):
            outputs, pullback = super().vjp(case)
            by = case.T if self.slip == "T" else case.B
            return outputs, lambda c: pullback(c._replace(y=c.y / by))

    declared = {"outputs": ("last",), "reduction": "mean"}
    assert not red(OfMean(**declared), "pullback-reference", "batch-independence", examples=16)
    assert red(OfMean("T", **declared), "pullback-reference", examples=16)


def test_its_failure_is_on_file_and_named(tmp_path):
    subject = ManyToOne("twice")
    laws = [law for law in LAWS if law.id == "pullback-reference"]
    failed = [result for result in judge(subject, laws, examples=8, seed=1) if result.status == "failed"]
    (explanation,) = explain(Here(subject), "many", failed, tmp_path, Question(), TimeLimit(0))
    (file,) = explanation.files
    assert (
        "incorrect: x (twice as large)" in diagnose(subject, GRU("after"), "float64", faults=()).sentence()
        and "got = gradients.x[" in file.read_text()
    )


class Pooling:
    """A user's own cell: a sum of its inputs, whose square is returned at the end."""

    cell = CustomCell("pooling", lambda D, H: {"W": (D, H)}, lambda H: {"s": (H,)})
    name = "pooling"

    def __init__(self, slip=""):
        self.slip = slip

    def capabilities(self):
        return Capabilities(cells=(self.cell,), inputs=("dense", "initial", "lengths"), outputs=("last",))

    def vjp(self, case):
        W, x = case.parameters[0][0]["W"], case.x
        lengths = np.full(x.shape[1], len(x)) if case.lengths is None else case.lengths
        there = (np.arange(len(x))[:, None] < lengths)[:, :, None]
        s = case.initial[0][0]["s"] + (there * x @ W).sum(axis=0, dtype=x.dtype)
        mask = 1 if self.slip == "padding" else there

        def pullback(cotangents):
            ds = 2 * s * cotangents.y
            dx = np.where(mask, ds @ W.T, 0).astype(x.dtype)
            dW = np.einsum("tbd,bh->dh", x * mask, ds).astype(x.dtype)
            return Gradients(dx, (({"W": dW},),), (({"s": ds * (self.slip != "dh0 = 0")},),))

        return Outputs(s**2, None), pullback


@pytest.mark.parametrize("slip", ["", "padding", "dh0 = 0"])
def test_the_last_output_of_a_users_own_cell(slip):
    found = red(Pooling(slip), "own-forward-derivative", "padding-ignored", dtypes=["float64"], examples=16)
    assert bool(found) == bool(slip)


class Classifier:
    """The interface ``loss_and_gradients``: a loss of only the last step, its mean over the rows. slip: it is a loss of
    all steps."""

    name = "classifier"

    def __init__(self, slip="", lengths=()):
        self.slip, self.inputs = slip, ("dense", "initial", *lengths)

    def capabilities(self):
        return Capabilities(
            cells=(GRU("after"),),
            dtypes=("float64",),
            inputs=self.inputs,
            outputs=("last",),
            objectives=("cross-entropy", "squared-error"),
            reduction="mean",
        )

    def loss_and_gradients(self, case):
        steps = np.full(case.B, case.T) if case.lengths is None else case.lengths
        at_end = (np.arange(case.T)[:, None] == steps - 1) / case.B
        every = np.ones((case.T, case.B)) / (case.T * case.B)
        objective = replace(case.objective, weights=every if self.slip else at_end, scale=1.0)
        return Reference().loss_and_gradients(replace(case, objective=objective))


@pytest.mark.parametrize("lengths", [(), ("lengths",)])
def test_a_loss_of_the_last_step(lengths):
    found = statuses(Classifier(lengths=lengths), examples=16)
    assert set(found.values()) == {"passed", "skipped"}
    assert red(Classifier("all steps", lengths), "loss-reference", examples=16)


def test_both_kinds_of_y_are_refused():
    with pytest.raises(ValueError, match="outputs must hold y, of all steps, or last, not both"):
        Capabilities(cells=(GRU("after"),), outputs=("y", "last"))
