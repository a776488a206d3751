"""tinygrad's LSTM cell passes every law except saturated-gates, and adapters with mistakes do not."""

import math
import shutil
from pathlib import Path

import pytest

from bpttcheck import LAWS, judge
from bpttcheck.running.known_failures import read_known_failures

tinygrad = pytest.importorskip(
    "tinygrad", reason="tinygrad is not installed: python -m pip install '.[tinygrad]', or tox -e tinygrad"
)

from bpttcheck.adapters import tinygrad as adapter  # noqa: E402

SMALL = {"T": (2,), "B": (2,), "D": (3,), "H": (4,)}  # one shape to compile
NEEDED = {"forward-reference", "pullback-reference", "own-forward-derivative", "regular-reference", "links-reference"}
KNOWN = Path(__file__).parents[2] / "docs" / "known-failures.toml"


def statuses(subject=None, examples=3, laws=LAWS, dtypes=("float64",)):
    subject = subject or adapter.TinygradCells(sizes=SMALL)
    results = judge(subject, laws, examples=examples, seed=2, shrink=False, dtypes=dtypes)
    return {(r.law, r.status) for r in results}


def failed(found):
    return {law for law, status in found if status in ("failed", "error", "unsure")}


def test_no_false_alarm():
    found = statuses(dtypes=("float32", "float64"))
    assert failed(found) == {entry.law for entry in read_known_failures(KNOWN) if entry.target == "tinygrad"}
    assert {(law, "passed") for law in NEEDED} <= found


def test_known_failures():
    """The gradient of a saturated sigmoid: correct on its own, NaN, and 0 too early, in a product with another one."""
    a, b = (tinygrad.Tensor([number]) for number in (-100.0, 0.5))
    assert a.sigmoid().sum().gradient(a)[0].item() == 0
    assert math.isnan((a.sigmoid() * b.sigmoid()).sum().gradient(a)[0].item())
    a = tinygrad.Tensor([-50.0])
    assert a.sigmoid().item() > 1e-22 and (a.sigmoid() * b.sigmoid()).sum().gradient(a)[0].item() == 0


def test_other_ways_to_run():
    """Without TinyJit each call is scheduled anew, so the test makes few calls."""
    laws = [law for law in LAWS if law.id in NEEDED]
    found = statuses(adapter.TinygradCells(jit=False, sizes=SMALL), examples=1, laws=laws)
    assert not failed(found) and ("pullback-reference", "passed") in found


def test_the_device(monkeypatch):
    """The device in DEV; without DEV the interpreter, where there is no compiler."""
    with tinygrad.Context(DEV="PYTHON"):
        assert adapter.TinygradCells().name.endswith("on PYTHON")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with tinygrad.Context(DEV=""):
        assert adapter.TinygradCells().name.endswith("on PYTHON")


def test_a_convention_that_is_forgotten(monkeypatch):
    """Gates in the order i, f, o, g."""

    def reordered(self, x, state):
        gates = x.linear(self.weight_ih.T, self.bias_ih) + state[0].linear(self.weight_hh.T, self.bias_hh)
        i, f, o, g = gates.chunk(4, dim=1)
        c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    monkeypatch.setattr(adapter.LSTMCell, "__call__", reordered)
    found = failed(statuses())
    assert {"forward-reference", "pullback-reference"} <= found and "own-forward-derivative" not in found


def test_a_state_that_is_not_carried_back(monkeypatch):
    """The cell state, cut between all steps."""
    right = adapter.LSTMCell.__call__
    monkeypatch.setattr(
        adapter.LSTMCell, "__call__", lambda self, x, state: right(self, x, (state[0], state[1].detach()))
    )
    found = failed(statuses())
    assert {"pullback-reference", "own-forward-derivative"} <= found and "forward-reference" not in found


def test_a_cut_that_is_not_made(monkeypatch):
    monkeypatch.setattr(adapter, "_linked", lambda state, xi: state)
    found = failed(statuses())
    assert "links-reference" in found and "pullback-reference" not in found
