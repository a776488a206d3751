"""Cells that say in which states they are affine: correct ones are green, and mistakes that only these laws see are
red."""

from dataclasses import replace

import autograd.numpy as np
import numpy as plain
import pytest

from bpttcheck import LAWS, Capabilities, CustomCell, Gradients, Outputs, judge

from ..own_cells import CELLS, SMALL, Subject

AFFINE = ("affine-in-a-state", "affine-state-gradients")
RECURRENCE = CustomCell(
    "recurrence",
    states=lambda H: {"h": (H,)},
    streams=lambda D, H: {"a": (H,), "u": (H,)},
    domains={"a": "(0, 1)"},
    affine={"h": ("h", "y")},
)


class Recurrence:
    """h' = a h + u, and y = h, by hand."""

    def __init__(self, slip="", dtypes=("float64",), cell=RECURRENCE, gradients=("x", "initial")):
        self.name = self.slip = slip or "right"
        self.declared = Capabilities(cells=(cell,), dtypes=dtypes, gradients=gradients)

    def capabilities(self):
        return self.declared

    def vjp(self, case):
        a, u = (case.x[name].astype(float) for name in ("a", "u"))
        h, kept = [case.initial[0][0]["h"].astype(float)], []
        for t in range(case.T):
            kept.append(plain.tanh(h[t]) if self.slip == "bounded" else h[t])
            h.append(a[t] * kept[t] + u[t])

        def pullback(cotangents):
            dh = plain.zeros_like(h[0]) if cotangents.final is None else cotangents.final[0][0]["h"]
            da, du = plain.zeros_like(a), plain.zeros_like(u)
            for t in reversed(range(case.T)):
                du[t] = dh = dh if cotangents.y is None else dh + cotangents.y[t]
                da[t] = dh * (plain.clip(h[t], -0.2, 0.2) if self.slip == "clipped backward" else kept[t])
                dh = a[t] * dh * (1 - kept[t] ** 2 if self.slip == "bounded" else 1)
            dx = {"a": da.astype(case.dtype), "u": du.astype(case.dtype)}
            return Gradients(dx, None, (({"h": dh.astype(case.dtype)},),))

        ends = (({"h": h[-1].astype(case.dtype)},),)
        y = plain.clip(h[1:], -0.2, 0.2) if self.slip == "clipped outputs" else plain.array(h[1:])
        return Outputs(y.astype(case.dtype), ends), pullback if self.declared.gradients else None


def judged(subject, *ids, **options):
    laws = [law for law in LAWS if not ids or law.id in ids]
    return {r.law: r for r in judge(subject, laws, **{"examples": 16, "seed": 1, "shrink": False} | options)}


def red(subject, *ids, **options):
    return {law for law, result in judged(subject, *ids, **options).items() if result.status in ("failed", "error")}


@pytest.mark.parametrize("name", ["gated-attention", "min-gru", "rotating"])
def test_correct_cells_are_affine_where_they_declare_it(name):
    """A matrix, positive numbers, complex ones."""
    found = judged(CELLS[name](sizes=SMALL), *AFFINE, dtypes=["float64"], examples=2)
    assert {law: result.status for law, result in found.items()} == dict.fromkeys(AFFINE, "passed")


@pytest.mark.parametrize(("slip", "law"), [
    ("clipped outputs", "affine-in-a-state"),
    ("clipped backward", "affine-state-gradients"),
])  # fmt: skip
def test_each_law_sees_a_mistake_that_no_other_sees(slip, law):
    """In 16 bits, where differences show nothing, and of an unknown cell."""
    assert red(Recurrence(slip, ("float16",)), examples=24, seed=3) == {law}
    assert red(Recurrence(dtypes=("float16",)), *AFFINE, examples=24) == set()


def test_only_this_law_sees_a_state_that_is_clipped_on_its_way():
    """The forward pass is another than was meant, and the backward pass is its derivative."""
    assert red(Recurrence("bounded")) == {*AFFINE}


def test_a_gradient_that_depends_on_its_state_is_seen():
    def wrong(case, pullback, cotangents):
        found = pullback(cotangents)
        S, dS = case.initial[0][0]["S"], found.initial[0][0]["S"]
        return found._replace(initial=(({"S": dS * (1 + 1e-3 * (abs(S) > 0.5))},),))

    subject = CELLS["gated-attention"](sizes=SMALL, wrong=wrong)
    assert red(subject, *AFFINE, dtypes=["float64"], examples=4) == {"affine-state-gradients"}


def test_a_forward_only_implementation_is_tested_by_its_outputs():
    found = judged(Recurrence("clipped outputs", gradients=()), *AFFINE)
    assert [found[law].status for law in AFFINE] == ["failed", "skipped"]


def matrix_memory(p, x, s):
    """An mLSTM without its exponents: its output is divided by a sum of keys, which is a state of its own."""
    C = x["f"][:, None, None] * s["C"] + x["k"][..., None] * x["v"][:, None]
    n = x["f"][:, None] * s["n"] + x["k"]
    y = np.einsum("bk,bkv->bv", x["q"], C) / np.sqrt(1 + np.sum(n * x["q"], axis=-1, keepdims=True) ** 2)
    return y, {"C": C, "n": n}


@pytest.mark.parametrize(("affine", "found"), [
    ({"C": ("C", "n", "y"), "n": ("n", "C")}, set()),
    ({"n": ("n", "y")}, {*AFFINE}),
])  # fmt: skip
def test_each_state_declares_which_outputs_are_affine_in_it(affine, found):
    cell = CustomCell(
        "matrix-memory",
        states=lambda D, H: {"C": (D, H), "n": (D,)},
        streams=lambda D, H: {"q": (D,), "k": (D,), "v": (H,), "f": ()},
        domains={"f": "(0, 1)"},
        affine=affine,
    )
    assert red(Subject(cell, matrix_memory, sizes=SMALL), *AFFINE, dtypes=["float64"], examples=3) == found


@pytest.mark.parametrize(("domain", "status"), [
    (lambda a: plain.clip(a, -1, 1), "passed"),
    (lambda a: plain.where(a < 0, -1.0, 1.0), "vacuous"),
])  # fmt: skip
def test_a_function_decides_whether_a_mixture_is_in_its_domain(domain, status):
    cell = replace(RECURRENCE, domains={"a": "(0, 1)", "h": domain})
    assert {r.status for r in judged(Recurrence(cell=cell), *AFFINE).values()} == {status}
