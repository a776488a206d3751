"""The engine: the turns of laws, cases that prove nothing, notes, and smallest cases."""

import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from bpttcheck import LAWS, Capabilities, Law, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.realising import realise
from bpttcheck.faults import FAULTS, Faulty
from bpttcheck.laws.law import Asked
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.scales import FEW, REPLICATES
from bpttcheck.measuring.trial import Trial
from bpttcheck.running.evaluating import evaluate, trial_of
from bpttref import LSTM, RNN, Regular


class Own(Reference):
    """The reference under other capabilities."""

    def __init__(self, **declared):
        self.declared = declared

    def capabilities(self):
        return replace(super().capabilities(), cells=(LSTM(),), dtypes=("float64",), **self.declared)


def law(check, **options):
    return Law("made-up", "A law of this test.", "", "", check, **options)


def results(laws, subject=None, examples=16):
    return {r.law: r for r in judge(subject or Own(), laws, examples=examples, seed=2)}


def test_laws_of_a_family_alternate():
    found = results(LAWS, examples=40)
    by_family = {
        family: [r.examples for r in (found[law.id] for law in LAWS if law.family == family) if r.status != "skipped"]
        for family in ("time", "batch")
    }
    for counts in by_family.values():
        assert min(counts) >= 4 and max(counts) - min(counts) <= 3
    assert found["pullback-reference"].examples > 30


def test_a_single_selected_law_sees_every_case():
    (alone,) = results([law for law in LAWS if law.id == "batch-permutation"]).values()
    assert alone.examples + alone.vacuous == 16 and alone.examples > 12


@pytest.mark.parametrize(("alive", "status"), [(True, "passed"), (False, "vacuous")])
def test_a_law_that_cannot_fail_proves_nothing(alive, status):
    dead = law(lambda trial: [Comparison("x", 0.0, 1.0, alive)])
    assert results([dead])["made-up"].status == status


def test_a_dead_array_next_to_live_ones_is_named():
    partly = law(
        lambda trial: [Comparison("x[t=0]", 0, 1, False), Comparison("x[t=1]", 0, 1), Comparison("y", 0, 1, False)]
    )
    assert results([partly])["made-up"].dead == ("y",)


def test_dead_blocks_still_fail():
    broken = law(lambda trial: [Comparison("x", 2.0, 1.0, False)])
    assert results([broken])["made-up"].status == "failed"


@pytest.mark.parametrize(("margins", "status", "asked"), [
    ((0.3, None), "passed", {FEW}),
    ((0.8, 0.2), "passed", {FEW, REPLICATES}),
    ((3.0, 0.9), "passed", {FEW, REPLICATES}),
    ((3.0, 2.0), "failed", {FEW, REPLICATES}),
])  # fmt: skip
def test_few_replicates_pass_and_many_decide(margins, status, asked):
    """By the earlier answers of the implementation: its outputs are not requested again."""
    met, answers = set(), set()

    def check(trial):
        met.add(trial.replicates)
        answers.add(id(trial.outputs["y"]))
        return [Comparison("x", margins[trial.replicates != FEW], 1.0)]

    assert results([law(check)], examples=1)["made-up"].status == status
    assert met == asked and (status == "failed" or len(answers) == 1)  # a failure is made small


def test_chaos_proves_nothing():
    """The correct float32 numbers are unknown where float32 has lost the trajectory."""
    chaos = Draw(T=60, B=2, D=3, H=20, layers=1, bidirectional=False, ragged=False, tokens=False, rounded=False,
                 weight_scale=1.0, seed=1)  # fmt: skip
    capabilities = Reference().capabilities()
    (compared,) = [law for law in LAWS if law.id == "forward-reference"]
    for weights, proves in ((1.0, False), (0.2, True)):
        problem = realise(replace(chaos, weight_scale=weights), RNN("tanh"), "float32", capabilities)
        finding = evaluate(compared, Trial(Reference(), capabilities, *problem))
        assert finding.proves == proves and not finding.failed


def test_numbers_that_the_dtype_cannot_hold_prove_nothing():
    """An exploding ReLU network: in float32 the outputs overflow, and gradients are infinite or NaN."""
    overflows = Draw(T=63, B=2, D=3, H=4, layers=1, bidirectional=False, ragged=False, tokens=False, rounded=False,
                     weight_scale=2.0, seed=1515884422)  # fmt: skip
    capabilities = Reference().capabilities()
    (compared,) = [law for law in LAWS if law.id == "pullback-reference"]
    for dtype, proves in (("float32", False), ("float64", True)):
        trial = Trial(Reference(), capabilities, *realise(overflows, RNN("relu"), dtype, capabilities))
        finding = evaluate(compared, trial)
        assert finding.proves == proves and not finding.failed


class Warns(Own):
    def vjp(self, case):
        warnings.warn("overflow in a harmless place", RuntimeWarning, stacklevel=1)
        return super().vjp(case)


def test_a_warning_with_correct_values_is_a_note():
    found = results([law for law in LAWS if law.id == "causality"], Warns())["causality"]
    assert found.status == "passed" and found.warnings == ("RuntimeWarning: overflow in a harmless place",)


def test_failures_share_their_smallest_case():
    fault = next(fault for fault in FAULTS if fault.id == "di-uses-i")
    laws = [law for law in LAWS if law.id in ("pullback-reference", "own-forward-derivative", "window-reference")]
    failed = [r for r in judge(Faulty(fault), laws, examples=16, seed=1) if r.status == "failed"]
    cases = Counter(r.case for r in failed)
    assert len(failed) >= 4 and len(cases) <= 2
    assert all(r.case.T <= 3 and r.case.B == r.case.D == r.case.H == 1 for r in failed)


@pytest.mark.parametrize(("declared", "sentence"), [
    ({"cells": ("tanh",)}, "cells must hold cells such as LSTM()"),
    ({"truncations": (Regular(3),)}, "truncations must hold classes such as Regular"),
    ({"sizes": {"T": 4}}, "T has 4"),
    ({"inputs": "dense"}, "inputs must be a collection"),
    ({"gradients": False}, "gradients must be a collection"),
    ({"dtypes": ("double",)}, "dtypes must be of"),
])  # fmt: skip
def test_a_declaration_that_makes_no_sense_is_named(declared, sentence):
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(").replace(")", r"\)")):
        Capabilities(**{"cells": (LSTM(),)} | declared)


def test_the_same_seed_draws_the_same_cases():
    one, other = ([(r.law, r.margin, r.examples) for r in judge(Own(), LAWS, examples=8, seed=9)] for _ in range(2))
    assert one == other


def test_a_margin_that_is_no_number_breaks_a_law():
    assert Comparison("x", np.nan, 1.0).margin == float("inf")


def test_one_perturbed_run_may_by_chance_err_nowhere():
    """Then the tolerance would be close to zero, where zeros are expected; eight runs decide there, too."""
    subject, (law,) = Reference(), [law for law in LAWS if law.id == "links-affine"]
    capabilities = subject.capabilities()
    asked = Asked(subject, capabilities, RNN("relu"), "float64", capabilities)
    draw = Draw(7, 1, 1, 5, 1, False, False, False, False, 2.0, 3590892666, resets=True)
    assert not evaluate(law, trial_of(asked, draw)).failed
