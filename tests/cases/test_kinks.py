"""A user's own case at a kink of ReLU: numbers that depend on the side prove nothing, and all others are compared."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bpttcheck import LAWS, Case, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.case_file import CaseFile
from bpttcheck.cases.drawing import draw_case
from bpttcheck.cases.kinks import at_kink, near_kink
from bpttcheck.cases.realising import realise
from bpttcheck.dtypes import FORMATS
from bpttcheck.running.oracle import reference_is_confirmed
from bpttcheck.running.own import Own
from bpttref import RNN, Cotangents, trees

WHERE = ("unit", "step", "sum")
PLAIN = {"layers": 1, "bidirectional": False, "inputs": ("dense", "initial"), "truncations": (), "objectives": ()}


def tied(seed, where):
    """Weights and inputs with an exact tie: in a unit without weights, at a step of zeros, or by cancellation."""
    rng = np.random.default_rng(seed)
    shapes = {"x": (4, 2, 3), "W_hx": (4, 3), "W_hh": (4, 4), "b_hx": (4,), "b_hh": (4,)}
    found = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    unit = int(rng.integers(4))
    if where == "unit":  # at each step
        for name in ("W_hx", "W_hh", "b_hx", "b_hh"):
            found[name][unit] = 0
    elif where == "step":  # all units of the first step
        found["x"][0], found["b_hx"][:], found["b_hh"][:] = 0, 0, 0
    else:
        found["x"][0, 0], found["W_hx"][unit] = (1, -1, 0), (0.5, 0.5, 2)
        found["b_hx"][unit], found["b_hh"][unit] = 0.25, -0.25
    return found


class Relu(Reference):
    """The reference with one cell, perhaps with a mistake, and with another slope at exactly 0."""

    name = "relu"

    def __init__(self, slope=0.0, change=None, **declared):
        self.slope, self.change, self.declared = slope, change, declared

    def capabilities(self):
        return replace(super().capabilities(), cells=(RNN("relu"),), dtypes=("float64",), **self.declared)

    def vjp(self, case):
        outputs, right = super().vjp(case)
        pullback = right if not self.slope else self.sloped(case)
        return outputs, pullback if self.change is None else lambda cotangents: self.change(pullback(cotangents))

    def sloped(self, case):
        p, h, pre = case.parameters[0][0], [case.initial[0][0]["h"]], []
        for x in case.x:
            pre.append(x @ p["W_hx"].T + p["b_hx"] + h[-1] @ p["W_hh"].T + p["b_hh"])
            h.append(np.maximum(pre[-1], 0))

        def pullback(cotangents):
            found = Reference.vjp(self, case)[1](cotangents)
            dp, dx = {n: np.zeros_like(a) for n, a in p.items()}, np.zeros_like(case.x)
            dh = np.zeros_like(h[0]) if cotangents.final is None else cotangents.final[0][0]["h"]
            for t in reversed(range(len(case.x))):
                dy = 0 if cotangents.y is None else cotangents.y[t]
                da = np.where(pre[t] == 0, self.slope, pre[t] > 0) * (dh + dy)
                dp["W_hx"] += da.T @ case.x[t]
                dp["W_hh"] += da.T @ h[t]
                dp["b_hx"] += da.sum(axis=0)
                dp["b_hh"] += da.sum(axis=0)
                dx[t], dh = da @ p["W_hx"], da @ p["W_hh"]
            return found._replace(x=dx, parameters=((dp,),), initial=(({"h": dh},),))

        return pullback


def wrong(part):
    def change(gradients):
        return gradients._replace(**{part: trees.scale(getattr(gradients, part), -1)})

    return change


def statuses(tmp_path, seed, where, subject, laws=LAWS):
    path = tmp_path / "own.npz"
    np.savez(path, **tied(seed, where))
    return {r.law: r.status for r in judge(subject, laws, own=Own(case=CaseFile(path)), examples=3, seed=1)}


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_any_slope_at_the_kink_is_correct(tmp_path, seed, where, slope):
    found = statuses(tmp_path, seed, where, Relu(slope, **PLAIN))
    assert not {law for law, status in found.items() if status in ("failed", "error", "unsure")}
    assert found["forward-reference"] == found["pullback-reference"] == "passed"


@pytest.mark.parametrize("where", WHERE)
def test_any_slope_is_correct_in_stacks_directions_and_lengths(tmp_path, where):
    found = statuses(tmp_path, 4, where, Relu())
    assert not {law for law, status in found.items() if status in ("failed", "error", "unsure")}


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("slope", [0.0, 1.0])
@pytest.mark.parametrize("part", ["x", "parameters", "initial"])
def test_an_incorrect_sign_next_to_a_kink_fails(tmp_path, seed, where, slope, part):
    """The kink does not hide it, and it raises no doubt about the reference."""
    if where == "step" and part == "initial":
        pytest.skip("nothing that goes back to the initial state passes by the kink")
    laws = [law for law in LAWS if law.id == "pullback-reference"]
    assert statuses(tmp_path, seed, where, Relu(slope, wrong(part), **PLAIN), laws) == {"pullback-reference": "failed"}


@pytest.mark.parametrize("where", [*WHERE, ""])
def test_the_oracles_do_not_run_across_a_kink(tmp_path, where, monkeypatch):
    asked = []
    monkeypatch.setattr("bpttcheck.running.oracle.complex_step", lambda problem, along: asked.append(problem) or 1 / 0)
    arrays = tied(1, where) if where else {n: a + 0.1 for n, a in tied(1, "unit").items()}
    np.savez(tmp_path / "own.npz", **arrays)
    case, *_ = CaseFile(Path(tmp_path / "own.npz")).holds(RNN("relu"), "float64", Relu().capabilities())
    case = replace(case, initial=(({"h": np.zeros((2, 4))},),))
    assert at_kink(case) == bool(where)
    if where:
        assert reference_is_confirmed(case, Cotangents(np.ones((4, 2, 4)))) and not asked
    else:
        with pytest.raises(ZeroDivisionError):
            reference_is_confirmed(case, Cotangents(np.ones((4, 2, 4))))


def test_a_large_case_near_many_kinks_is_tested(tmp_path):
    """Of thousands of units some are always nearer to their kink than a drawn case may be."""
    rng = np.random.default_rng(2)
    H = 64
    arrays = {"x": rng.standard_normal((20, 8, 16)), "W_hx": rng.standard_normal((H, 16)) / 4,
              "W_hh": rng.standard_normal((H, H)) / H**0.5, "b_hx": np.zeros(H), "b_hh": np.zeros(H)}  # fmt: skip
    np.savez(tmp_path / "own.npz", **arrays)
    laws = [law for law in LAWS if law.id in ("forward-reference", "pullback-reference")]
    own = Own(case=CaseFile(tmp_path / "own.npz"))
    for subject, status in ((Relu(**PLAIN), "passed"), (Relu(0.0, wrong("x"), **PLAIN), "failed")):
        found = {r.law: r.status for r in judge(subject, laws, own=own, examples=1, seed=1)}
        assert found == {"forward-reference": "passed", "pullback-reference": status}


@pytest.mark.parametrize("slope", [0.5, 1.0])
def test_any_slope_at_exactly_0_is_correct_in_drawn_cases(slope):
    """Inputs and initial states of zero, where biases are zero, too, put all units at a tie."""
    subject = Relu(slope, **PLAIN)
    laws = [law for law in LAWS if law.id in ("pullback-reference", "own-forward-derivative")]
    for seed in range(3):
        assert {r.status for r in judge(subject, laws, examples=40, seed=seed)} == {"passed"}
    declared = subject.capabilities()
    drawn = next(d for k in range(40) if (d := draw_case(np.random.default_rng(k), declared, k)).unbiased)
    case, _ = realise(drawn, RNN("relu"), "float64", declared)
    case = replace(case, x=0 * case.x, initial=trees.each(np.zeros_like, case.initial))
    assert near_kink(case) and not near_kink(replace(case, cell=RNN("tanh")))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("what", ["biases", "inputs", "states"])
@pytest.mark.parametrize("unit", range(3))
def test_terms_that_cancel_bring_a_unit_near_to_its_kink(unit, what, dtype):
    """Rounding goes with the terms: of a sum of 1 from terms of 8192 nothing is certain in 16 bits."""
    p = {"W_hx": np.full((3, 2), 0.5), "W_hh": np.full((3, 3), 0.5), "b_hx": np.ones(3), "b_hh": np.ones(3)}
    storage = FORMATS[dtype].storage

    def case():
        arrays = ({name: array.astype(storage) for name, array in p.items()},)
        return Case(RNN("relu"), dtype, (arrays,), np.ones((2, 1, 2), storage), (({"h": np.ones((1, 3), storage)},),))

    assert not near_kink(case())
    if what == "biases":
        p["b_hx"][unit] += 8192
        p["b_hh"][unit] -= 8192
    else:
        p["W_hx" if what == "inputs" else "W_hh"][unit, :2] += (8192, -8192)
    assert near_kink(case())
