"""A backward loop that clips: it is correct below its bound and beyond it; other bounds are red."""

import numpy as np
import pytest

from bpttcheck import Capabilities, CustomCell, Gradients, Outputs
from bpttcheck.explaining.diagnosis import diagnose
from bpttref import RNN, Links, Regular

from ..field.judging import red, statuses

OWN = CustomCell(
    "own-tanh",
    parameters=lambda D, H: {"W_hx": (H, D), "W_hh": (H, H), "b_hx": (H,)},
    states=lambda H: {"h": (H,)},
)


class Clipping:
    """A tanh RNN by hand. bound: from which its loop clips, if that is another than the declared one. at: where in a
    step, "entering" or "carried" or "nowhere". slip: another mistake."""

    name = "clipping"

    def __init__(self, by="value", declared=0.5, bound=None, at="entering", slip="", **more):
        self.by, self.at, self.slip = by, at, slip
        self.bound = bound or declared
        usual = {
            "cells": (RNN("tanh"),),
            "dtypes": ("float64",),
            "biases": 1,
            "clips": (by, declared),
            "truncations": (Regular, Links),
        }
        self.declared = Capabilities(**usual | more)

    def capabilities(self):
        return self.declared

    def clip(self, d, at):
        if at != self.at:
            return d
        if self.by == "value":
            return np.clip(d, -self.bound, self.bound)
        norm = np.linalg.norm(d, axis=1, keepdims=True)
        return d * np.minimum(1, self.bound / np.maximum(norm, np.finfo(d.dtype).tiny))

    def vjp(self, case):
        p, x, xi = case.parameters[0][0], case.x, case.truncation.links(case.T).astype(case.x.dtype)
        h = [case.initial[0][0]["h"] if case.initial else np.zeros((case.B, len(p["b_hx"])), x.dtype)]
        for now in x:
            h.append(np.tanh(now @ p["W_hx"].T + h[-1] @ p["W_hh"].T + p["b_hx"]))
        h = np.array(h)

        def pullback(cotangents):
            d = np.zeros_like(h[0]) if cotangents.final is None else cotangents.final[0][0]["h"]
            da = np.zeros_like(h[1:])
            for t in reversed(range(len(x))):
                d = d if cotangents.y is None else d + cotangents.y[t]
                d = self.clip(d, "entering")
                da[t] = d * (1 - h[t + 1] ** 2)
                d = self.clip(da[t] @ p["W_hh"], "carried") * xi[t]
            gradients = {
                "W_hx": np.einsum("tbh,tbd->hd", da, x),
                "W_hh": np.einsum("tbh,tbk->hk", da, h[:-1]),
                "b_hx": da.sum(axis=(0, 1)) * (2 if self.slip else 1),
            }
            return Gradients(da @ p["W_hx"], ((gradients,),), (({"h": d},),) if case.initial else None)

        return Outputs(h[1:], (({"h": h[-1]},),)), pullback


@pytest.mark.parametrize(("by", "at"), [("value", "entering"), ("value", "carried"), ("norm", "carried")])
def test_a_loop_that_clips_at_its_bound_is_green(by, at):
    dtypes = ("float32",) if by == "norm" else ("float64",)
    found = statuses(Clipping(by, at=at, dtypes=dtypes), examples=16)
    assert set(found.values()) == {"passed", "skipped"}
    passed = ("linear-in-cotangents", "own-forward-derivative", "clipped-reference", "pieces-alone", "links-affine")
    assert {found[law] for law in passed} == {"passed"}


@pytest.mark.parametrize("by", ["value", "norm"])
@pytest.mark.parametrize(("bound", "law"), [
    (0.4, "pullback-reference"),
    (0.4, "clipped-reference"),
    (0.6, "clipped-reference"),
])  # fmt: skip
def test_another_bound_is_red(by, bound, law):
    assert law in red(Clipping(by, 0.5, bound), law, examples=24)


def test_other_mistakes_are_red():
    laws = ("pullback-reference", "clipped-reference", "own-forward-derivative")
    assert red(Clipping(at="nowhere"), *laws, examples=16) == {"clipped-reference"}
    assert red(Clipping(slip="twice"), *laws, examples=16) == {*laws}
    undeclared = red(Clipping(clips=None), *laws, "linear-in-cotangents", examples=16)
    assert {"pullback-reference", "linear-in-cotangents"} <= undeclared


def test_the_bound_is_on_the_cotangents_that_the_loop_gets():
    """However large or small it is next to the cotangents, and next to a mean."""
    for declared in (1e-6, 1e4):
        assert not red(Clipping(declared=declared), "pullback-reference", "clipped-reference", examples=8)
        assert red(Clipping(declared=declared, bound=declared / 2), "pullback-reference", examples=8)

    class OfMean(Clipping):
        def vjp(self, case):
            outputs, pullback = super().vjp(case)
            return outputs, lambda c: pullback(c._replace(y=c.y / case.B))

    declared = {"outputs": ("y",), "reduction": "mean-of-rows"}
    assert not red(OfMean(**declared), "pullback-reference", "clipped-reference", "batch-independence", examples=16)


@pytest.mark.parametrize(("slip", "dtype"), [("", "float64"), ("", "float32"), ("twice", "float64")])
def test_a_users_own_cell_is_far_below_its_bound(slip, dtype):
    found = statuses(Clipping(slip=slip, cells=(OWN,), dtypes=(dtype,)), examples=10)
    assert found["clipped-reference"] == "skipped"
    assert found["own-forward-derivative"] == ("failed" if slip else "passed")
    assert slip or set(found.values()) == {"passed", "skipped"}


def test_another_mistake_is_diagnosed():
    found = diagnose(Clipping(slip="twice"), RNN("tanh"), "float64", faults=())
    assert "incorrect: b_hx (twice as large)" in found.sentence()
    assert "are correct" in diagnose(Clipping(at="nowhere"), RNN("tanh"), "float64", faults=()).sentence()


@pytest.mark.parametrize("odd", [("value", 0), ("all", 1.0), 5.0, ("norm", float("inf")), ("norm", "1")])
def test_a_declaration_that_makes_no_sense_is_one_sentence(odd):
    with pytest.raises(ValueError, match="clips must be 'value' or 'norm' and a positive number; they are"):
        Capabilities(cells=(RNN(),), clips=odd)
    with pytest.raises(ValueError, match="clips describe a pullback"):
        Capabilities(cells=(RNN(),), clips=("value", 1.0), objectives=("linear",))
