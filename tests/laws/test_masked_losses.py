"""A loss over rows of different lengths: only the steps that are there count, unless it is declared that all do."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpttcheck import LAWS, Capabilities, CustomCell, Gradients, OneShot, Outputs, judge
from bpttcheck.cases import drawing
from bpttcheck.cases.case_file import CaseFile
from bpttcheck.cases.drawing import Draw, draw_case
from bpttcheck.cases.realising import realise
from bpttcheck.explaining.explanation import explain
from bpttcheck.running.child import Here
from bpttcheck.running.question import Question
from bpttcheck.running.time_limit import TimeLimit
from bpttref import RNN, Regular, vjp

KINDS = ("cross-entropy", "squared-error", "linear")
REDUCTIONS = ("sum", "mean", "mean-of-steps", "given")
OF_A_LOSS = [law for law in LAWS if law.door is OneShot]


def step_loss(kind, o, target):
    if kind == "cross-entropy":
        return float(np.log(np.exp(o).sum()) - o[target])
    return float(((o - target) ** 2).sum() / 2) if kind == "squared-error" else float((o * target).sum())


@given(
    st.sampled_from(KINDS),
    st.sampled_from(REDUCTIONS),
    st.booleans(),
    st.booleans(),
    st.integers(0, 200),
)
def test_a_drawn_objective_is_a_loop_over_the_steps_of_the_rows(kind, reduction, counts, weighted, k):
    declared = Capabilities(
        cells=(RNN("tanh"),),
        inputs=("dense", "initial", "lengths"),
        objectives=(kind,),
        reduction=reduction,
        padding_counts=counts,
        loss_weights=weighted,
        empty=True,
    )
    draw = replace(draw_case(np.random.default_rng(k), declared, drawing.KINDS.index("ragged")), weight_scale=0.5)
    case, _ = realise(draw, RNN("tanh"), "float64", declared)
    y = vjp(case.cell, case.parameters, case.x, case.initial, lengths=case.lengths)[0].y
    (T, B), objective, total, there = y.shape[:2], case.objective, 0.0, 0
    assert case.lengths is not None
    for b in range(B):
        steps, row = T if counts else int(case.lengths[b]), 0.0
        for t in range(steps):
            o = y[t, b] if kind == "linear" else objective.W_qh @ y[t, b] + objective.b_q
            weight = objective.weights[t] if weighted else 1.0
            row += np.broadcast_to(weight, B)[b] * step_loss(kind, o, objective.targets[t, b])
        there += steps
        total += row / max(1, steps) if reduction == "mean-of-steps" else row
    total /= max(1, there) if reduction == "mean" else 1
    total *= objective.scale if reduction == "given" else 1
    np.testing.assert_allclose(objective(y).loss, total, rtol=1e-10, atol=1e-12)
    assert counts or not objective.factors[np.arange(T)[:, None] >= case.lengths].any()
    assert not weighted or (objective.weights[0] > 0).any()


def test_an_objective_for_a_users_own_case_follows_its_lengths(tmp_path):
    rng, lengths = np.random.default_rng(1), np.array([2, 5, 1])
    arrays = {"W_hx": rng.normal(size=(3, 2)), "W_hh": rng.normal(size=(3, 3)), "b_hx": rng.normal(size=3)}
    np.savez(tmp_path / "own.npz", x=rng.normal(size=(5, 3, 2)), lengths=lengths, **arrays)
    declared = Masked().capabilities()
    file = CaseFile(tmp_path / "own.npz")
    for seed in range(5):
        draw = Draw(5, 3, 2, 3, 1, False, True, False, False, 1.0, seed, file)
        case, _ = realise(draw, RNN("tanh"), "float64", declared)
        np.testing.assert_array_equal(case.lengths, lengths)
        np.testing.assert_allclose(case.objective.factors, (np.arange(5)[:, None] < lengths) / lengths.sum())


class Masked:
    """A tanh RNN that runs on behind the ends of rows, and leaves out the outputs there in the loss."""

    name = "masked"
    wrong = ""  # "counts", "all places", "all steps", "gradient"

    def __init__(self, reduction="mean", **declared):
        self.reduction, self.declared = reduction, declared

    def capabilities(self):
        usual = {
            "cells": (RNN("tanh"),),
            "biases": 1,
            "inputs": ("dense", "initial", "lengths"),
            "gradients": ("x", "parameters", "initial"),
            "objectives": KINDS,
            "dtypes": ("float64",),
        }
        return Capabilities(**usual | {"reduction": self.reduction} | self.declared)

    def factors(self, case):
        """Of the losses ``(T, B)``; and of their gradients."""
        T, B = case.x.shape[:2]
        lengths = np.full(B, T) if case.lengths is None else case.lengths
        mask = (np.arange(T)[:, None] < lengths).astype(float)
        counted = np.ones((T, B)) if self.wrong == "counts" else mask
        scale = {
            "sum": 1,
            "given": case.objective.scale,
            "mean": 1 / (T * B if self.wrong == "all places" else counted.sum()),
            "mean-of-steps": 1 / (T if self.wrong == "all steps" else np.maximum(1, counted.sum(axis=0))),
        }[self.reduction]
        if self.declared.get("loss_weights"):
            weights = np.ones(T) if case.objective.weights is None else case.objective.weights
            counted = counted * (weights if weights.ndim == 2 else weights[:, None])
        losses = counted * scale
        return losses, np.broadcast_to(scale, (T, B)) if self.wrong == "gradient" else losses

    def names(self, p):
        return p["W_hx"], p["W_hh"], p["b_hx"]

    def loss_and_gradients(self, case):
        q, dtype = case.objective, case.x.dtype
        W, R, b = self.names(case.parameters[0][0])
        h = [np.zeros((case.x.shape[1], len(b)), dtype) if case.initial is None else case.initial[0][0]["h"]]
        for x in case.x:
            h.append(np.tanh(x @ W.T + h[-1] @ R.T + b))
        y, (of_loss, of_gradient) = np.array(h[1:]), (a.astype(dtype) for a in self.factors(case))
        if self.wrong == "counts" and "padding_counts" in self.declared and case.lengths is not None:
            y = y * (np.arange(len(y))[:, None] < case.lengths)[:, :, None]  # it counts as if its outputs were zeros
        o = y if q.kind == "linear" else y @ q.W_qh.T + q.b_q
        if q.kind == "cross-entropy":
            o = o - o.max(axis=-1, keepdims=True)
            log_p = o - np.log(np.exp(o).sum(axis=-1, keepdims=True))
            hit = np.arange(o.shape[-1]) == q.targets[..., None]
            losses, do = -(log_p * hit).sum(axis=-1), np.exp(log_p) - hit
        elif q.kind == "squared-error":
            losses, do = ((o - q.targets) ** 2).sum(axis=-1) / 2, o - q.targets
        else:
            losses, do = (o * q.targets).sum(axis=-1), q.targets
        do = do * of_gradient[..., None]
        dy, readout = do, {}
        if q.kind != "linear":
            readout = {"W_qh": np.einsum("tbq,tbh->qh", do, y), "b_q": do.sum(axis=(0, 1))}
            dy = do @ q.W_qh
        if self.wrong == "counts" and "padding_counts" in self.declared and case.lengths is not None:
            dy = dy * (np.arange(len(y))[:, None] < case.lengths)[:, :, None]
        da, dh = np.zeros_like(y), np.zeros_like(h[0])
        for t in reversed(range(len(y))):
            da[t] = (dy[t] + dh) * (1 - h[t + 1] ** 2)
            dh = da[t] @ R
        dW, dR = np.einsum("tbh,tbd->hd", da, case.x), np.einsum("tbh,tbk->hk", da, np.array(h[:-1]))
        dp = dict(zip(case.parameters[0][0], (dW, dR, da.sum(axis=(0, 1)).reshape(b.shape)), strict=True))
        initial = None if case.initial is None else (({"h": dh},),)
        return Outputs(None, None, float((losses * of_loss).sum())), Gradients(da @ W, ((dp,),), initial, readout)


def made(wrong, *arguments, kind=Masked, **declared):
    subject = kind(*arguments, **declared)
    subject.wrong = wrong
    return subject


def statuses(subject, examples=24, seed=2):
    results = judge(subject, OF_A_LOSS, examples=examples, seed=seed, shrink=False)
    return {r.law: r.status for r in results if r.status != "skipped"}


@pytest.mark.parametrize("weights", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_masked_loss_passes(reduction, weights):
    found = statuses(Masked(reduction, loss_weights=weights, dtypes=("float32", "float64")))
    assert set(found.values()) == {"passed"} and "loss-ignores-padding" in found


@pytest.mark.parametrize(("wrong", "reduction"), [
    *(("counts", reduction) for reduction in REDUCTIONS),
    ("all places", "mean"),
    ("all steps", "mean-of-steps"),
])  # fmt: skip
def test_a_loss_in_which_padding_counts_is_caught(wrong, reduction):
    found = statuses(made(wrong, reduction))
    assert found["loss-reference"] == found["objective-gradient-reference"] == found["loss-ignores-padding"] == "failed"
    assert found["own-loss-derivative"] == "passed"  # its gradient fits this loss


@pytest.mark.parametrize("reduction", ["sum", "given"])
def test_a_gradient_that_is_not_masked_is_caught(reduction):
    found = statuses(made("gradient", reduction))
    assert found["loss-reference"] == "passed"
    assert found["objective-gradient-reference"] == found["own-loss-derivative"] == "failed"
    assert found["loss-ignores-padding"] == "failed"


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_where_padding_is_declared_to_count_it_must(reduction):
    counting = statuses(made("counts", reduction, padding_counts=True))
    assert set(counting.values()) == {"passed"} and "loss-ignores-padding" not in counting
    masking = statuses(Masked(reduction, padding_counts=True))
    assert masking["loss-reference"] == masking["objective-gradient-reference"] == "failed"


class Unknown(Masked):
    """The same with its own names and shapes of arrays, as an unknown cell; there is no vjp."""

    name = "unknown"

    def capabilities(self):
        cell = CustomCell(
            "own", parameters=lambda D, H: {"U": (H, D), "V": (H, H), "c": (H, 1)}, states=lambda H: {"h": (H,)}
        )
        return replace(super().capabilities(), cells=(cell,), dtypes=("float32", "float64"))

    def names(self, p):
        return p["U"], p["V"], p["c"][:, 0]

    def loss_and_gradients(self, case):
        outputs, gradients = super().loss_and_gradients(case)
        gradients.parameters[0][0]["c"] = gradients.parameters[0][0]["c"].reshape(-1, 1)
        return outputs, gradients


class Slip(Unknown):
    def loss_and_gradients(self, case):
        outputs, gradients = super().loss_and_gradients(case)
        (p,) = gradients.parameters[0]
        return outputs, gradients._replace(parameters=(({**p, "V": p["V"].T.copy()},),))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("inputs", [
    ("dense",), pytest.param(("dense", "lengths"), marks=pytest.mark.thorough), ("dense", "initial", "lengths"),
], ids=len)  # fmt: skip
def test_an_unknown_cell_with_only_a_loss_passes(reduction, inputs):
    gradients = ("x", "parameters", "initial") if "initial" in inputs else ("parameters",)
    found = statuses(Unknown(reduction, inputs=inputs, gradients=gradients))
    ours = {"objective-complete", "ordinary-loss-is-finite", "own-loss-derivative", "same-loss-again"}
    ours |= {"loss-adds-up-over-rows"}
    assert found == dict.fromkeys(ours | ({"loss-ignores-padding"} if "lengths" in inputs else set()), "passed")


@pytest.mark.parametrize(("wrong", "reduction"), [("counts", "sum"), ("all places", "mean"), ("gradient", "sum")])
def test_an_unknown_cell_in_which_padding_counts_is_caught(wrong, reduction):
    """Without a reference."""
    assert statuses(made(wrong, reduction, kind=Unknown))["loss-ignores-padding"] == "failed"


def test_a_slip_in_an_unknown_cell_with_only_a_loss_is_reported_correctly(tmp_path):
    subject = Slip("sum", inputs=("dense",), gradients=("parameters",), truncations=(Regular,))
    laws = [law for law in OF_A_LOSS if law.id != "objective-truncated-reference"]
    results = list(judge(subject, laws, examples=16, seed=1))
    failed = [r for r in results if r.status == "failed"]
    assert {r.law for r in failed} == {"own-loss-derivative"}
    assert all(r.reason.startswith("V is off by") for r in failed)
    (explanation,) = explain(Here(subject), "slip", failed, tmp_path, Question(), TimeLimit())
    assert explanation.first.reason.startswith("V is off by") and explanation.files
