"""MLX's layers pass every law except where float64 has a float32 exponential, and adapters with mistakes do not."""

import math
from pathlib import Path

import pytest

from bpttcheck import LAWS, judge
from bpttcheck.running.known_failures import read_known_failures

mx = pytest.importorskip("mlx.core", reason="mlx is not installed: python -m pip install '.[mlx]', or tox -e mlx")

from bpttcheck.adapters import mlx as adapter  # noqa: E402

NEEDED = {"forward-reference", "pullback-reference", "forward-mode-duality", "regular-reference", "xray-links"}
GATED = ("lstm", "gru-after")
KNOWN = Path(__file__).parents[2] / "docs" / "known-failures.toml"


def statuses(subject=None, **chosen):
    subject = subject or adapter.MlxLayers()
    results = judge(subject, LAWS, examples=16, seed=2, shrink=False, **chosen)
    return {(r.cell, r.dtype, r.law, r.status) for r in results}


def failed(found):
    return {law for _, _, law, status in found if status in ("failed", "error", "unsure")}


def accurate_sigmoid(a):
    return (1 + mx.tanh(a / 2)) / 2


@pytest.mark.parametrize("sigmoid", [None, accurate_sigmoid], ids=["as it is", "accurate in float64"])
def test_no_false_alarm(sigmoid, monkeypatch):
    if sigmoid:
        monkeypatch.setattr(mx, "sigmoid", sigmoid)
    found = statuses(cells=GATED, dtypes=["float64"]) if sigmoid else statuses(dtypes=["float32"])
    assert not failed(found)
    assert {cell for cell, *_ in found} >= set(GATED)
    assert {(cell, dtype, law, "passed") for cell, dtype, *_ in found for law in NEEDED} <= found


def test_float64_without_gates():
    found = statuses(cells=["rnn-tanh", "rnn-relu"], dtypes=["float64"])
    assert not failed(found) and ("rnn-tanh", "float64", "forward-mode-duality", "passed") in found


def test_a_first_step_without_states():
    found = statuses(adapter.MlxLayers(initial=False), dtypes=["float32"])
    assert not failed(found)
    assert {(cell, "float32", "pullback-reference", "passed") for cell, *_ in found} <= found


def test_known_failures():
    """In float64 mx.sigmoid has the accuracy of float32; mx.tanh has its own.

    How much differences and Taylor's remainder see of it depends on the cases; the entries are for --seed 1.
    """
    a = mx.array([0.7], dtype=mx.float64)
    assert mx.sigmoid(a).dtype == mx.float64
    assert 1e-10 < abs(mx.sigmoid(a).item() - 1 / (1 + math.exp(-0.7))) < 1e-6
    assert abs(mx.tanh(a).item() - math.tanh(0.7)) < 1e-15
    found = statuses(cells=GATED, dtypes=["float64"])
    known = {(entry.cell, entry.law) for entry in read_known_failures(KNOWN) if entry.target == "mlx"}
    broken = {(cell, law) for cell, _, law, status in found if status not in ("passed", "skipped", "vacuous")}
    assert {(cell, law) for cell in GATED for law in ("forward-reference", "pullback-reference")} <= broken <= known


def test_a_convention_that_is_forgotten(monkeypatch):
    """The GRU's second bias of n, which is multiplied by r."""
    right = adapter._layer

    def layer(cell, p):
        made = right(cell, p)
        H = p["W_hh"].shape[1]
        made.b, made.bhn = made.b + mx.pad(made.bhn, (2 * H, 0)), mx.zeros_like(made.bhn)
        return made

    monkeypatch.setattr(adapter, "_layer", layer)
    found = failed(statuses(cells=["gru-after"], dtypes=["float32"]))
    assert {"forward-reference", "pullback-reference"} <= found and "own-forward-derivative" not in found


def test_a_state_that_is_not_differentiated(monkeypatch):
    """MLX's vjp and jvp agree with each other even so."""
    right = adapter._unrolled

    def unrolled(case, x, *rest):
        states = len(case.cell.states)
        return right(case, x, *rest[:-states], *map(mx.stop_gradient, rest[-states:]))

    monkeypatch.setattr(adapter, "_unrolled", unrolled)
    found = failed(statuses(cells=["rnn-tanh"], dtypes=["float64"]))
    assert {"pullback-reference", "taylor-remainder"} <= found
    assert not found & {"forward-reference", "forward-mode-duality"}


def test_a_cut_that_is_not_made(monkeypatch):
    monkeypatch.setattr(adapter, "_linked", lambda state, xi: state)
    found = failed(statuses(cells=["rnn-tanh"], dtypes=["float64"]))
    assert {"regular-reference", "links-reference", "xray-links"} <= found and "pullback-reference" not in found
