"""Gradients by autograd pass every law, and adapters with mistakes do not."""

import pytest

from bpttcheck import LAWS, judge

pytest.importorskip(
    "autograd", reason="autograd is not installed: python -m pip install '.[autograd]', or tox -e autograd"
)

from autograd.extend import defvjp, primitive  # noqa: E402

from bpttcheck.adapters import autograd  # noqa: E402


def statuses(examples=8, **chosen):
    return {(r.law, r.status) for r in judge(autograd.Autograd(), LAWS, examples=examples, seed=2, **chosen)}


def failed(**chosen):
    found = statuses(shrink=False, dtypes=["float64"], **chosen)
    return {law for law, status in found if status in ("failed", "error", "unsure")}


def test_no_false_alarm():
    """Two cells, each in one dtype; `tox -e autograd` has them all."""
    found = statuses(cells=["lstm"], dtypes=["float64"]) | statuses(cells=["rnn-relu"], dtypes=["float32"])
    assert {status for _, status in found} <= {"passed", "skipped", "vacuous"}
    needed = {
        "pullback-reference",
        "own-forward-derivative",
        "forward-mode-duality",
        "ragged-row-alone",
        "reverse-is-flipped",
        "regular-reference",
        "links-reference",
        "xray-links",
    }
    assert {(law, "passed") for law in needed} <= found


def test_a_cut_that_is_not_made(monkeypatch):
    monkeypatch.setattr(autograd, "linked", lambda state, xi: state)
    found = failed(cells=["lstm"])
    assert "xray-regular" in found
    assert not {"pullback-reference", "forward-reference"} & found


def test_a_primitive_with_an_incorrect_gradient(monkeypatch):
    """A primitive as users write it, with y for y^2."""
    tanh = primitive(autograd.np.tanh)
    defvjp(tanh, lambda y, a: lambda g: g * (1 - y))
    monkeypatch.setitem(
        autograd._STEPS, "rnn-tanh", lambda p, a, h: [tanh(a + autograd.np.dot(h, p["W_hh"].T) + p["b_hh"])]
    )
    found = failed(cells=["rnn-tanh"])
    assert {"pullback-reference", "own-forward-derivative"} <= found and "forward-reference" not in found


def test_a_reset_gate_in_the_other_place(monkeypatch):
    monkeypatch.setitem(autograd._STEPS, "gru-after", autograd._gru_before)
    found = failed(cells=["gru-after"])
    assert {"forward-reference", "pullback-reference"} <= found and "own-forward-derivative" not in found
