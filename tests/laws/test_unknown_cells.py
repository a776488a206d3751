"""Correct cells of many kinds that bpttcheck does not know, on PyTorch's autograd: no alarm; incorrect ones are
seen."""

import numpy as np
import pytest

from bpttcheck import LAWS, Gradients, judge

from ..thorough import some

torch = pytest.importorskip("torch")
from bpttcheck.adapters.torch_module import TorchModule  # noqa: E402

nn = torch.nn
COMPOSED = ("linear-in-cotangents", "links-affine", "random-unbiased", "split-resume-pullback", "tied-gradient-is-sum")


class Step(nn.Module):
    """A step function in a loop. parts: from D and H to modules by name."""

    def __init__(self, parts, step, D, H):
        super().__init__()
        self.parts, self.step = nn.ModuleDict(parts(D, H)), step

    def forward(self, x, states):
        outputs = []
        for x_t in x:
            y, states = self.step(self.parts, x_t, states)
            outputs.append(y)
        return torch.stack(outputs), states


def closed_form(p, x, s):
    """A closed-form continuous-time cell: two heads and a time gate, on a scaled tanh."""
    z = 1.7159 * torch.tanh(0.666 * p["a"](torch.cat([x, s["h"]], -1)))
    gate = torch.sigmoid(p["d"](z) + p["e"](z))
    h = torch.tanh(p["b"](z)) * (1 - gate) + gate * torch.tanh(p["c"](z))
    return h, {"h": h}


def minimal_gru(p, x, s):
    z = torch.sigmoid(p["a"](x))
    h = (1 - z) * s["h"] + z * p["b"](x)
    return h, {"h": h}


def peephole_lstm(p, x, s):
    a = p["a"](torch.cat([x, s["h"], s["c"]], -1))
    i, f, g, o = a.chunk(4, -1)
    c = torch.sigmoid(f) * s["c"] + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return h, {"h": h, "c": c}


def unitary_like(p, x, s):
    h = nn.functional.softsign(p["a"](x) + p["b"](s["h"]))
    return h, {"h": h}


def gated_unit(p, x, s):
    z = torch.sigmoid(p["a"](torch.cat([x, s["h"]], -1)))
    h = z * torch.tanh(p["b"](torch.cat([x, s["h"]], -1))) + (1 - z) * s["h"]
    return h, {"h": h}


def highway(p, x, s):
    both = torch.cat([x, s["h"]], -1)
    t = torch.sigmoid(p["b"](both))
    h = torch.tanh(p["a"](both)) * t + s["h"] * (1 - t)
    return p["c"](torch.relu(p["d"](h))), {"h": h}


def normalised(p, x, s):
    h = torch.tanh(nn.functional.layer_norm(p["a"](x) + p["b"](s["h"]), s["h"].shape[-1:], eps=1e-2))
    return h, {"h": h}


def coupled(p, x, s):
    """Two states that drive each other, as an oscillator does."""
    v = s["v"] + 0.1 * (torch.tanh(p["a"](torch.cat([x, s["h"]], -1))) - s["h"] - s["v"])
    h = s["h"] + 0.1 * v
    return h, {"h": h, "v": v}


def leaky_relu_cell(p, x, s):
    h = 0.5 * s["h"] + 0.5 * nn.functional.leaky_relu(p["a"](torch.cat([x, s["h"]], -1)), 0.1)
    return h, {"h": h}


def softplus_gate(p, x, s):
    decay = torch.exp(-nn.functional.softplus(p["a"](x)))
    h = decay * s["h"] + (1 - decay) * torch.tanh(p["b"](x))
    return h, {"h": h}


class Head(nn.Module):
    """A GRU with a ReLU head behind each state."""

    def __init__(self, D, H):
        super().__init__()
        self.gru, self.a, self.b = nn.GRU(D, H), nn.Linear(H, 32), nn.Linear(32, H)

    def forward(self, x, states):
        y, h = self.gru(x, states["h"][None])
        return self.b(torch.relu(self.a(y))), {"h": h[0]}


def linear(**widths):
    """Parts from the widths of their inputs and outputs: of D, H and numbers."""

    def parts(D, H):
        sizes = {"D": D, "H": H, "DH": D + H, "DHH": D + 2 * H, "4H": 4 * H}
        return {name: nn.Linear(*(sizes.get(w, w) for w in pair)) for name, pair in widths.items()}

    return parts


def one(H):
    return {"h": (H,)}


CELLS = {
    "closed_form": (
        linear(a=("DH", 8), b=(8, "H"), c=(8, "H"), d=(8, "H"), e=(8, "H")), closed_form, one),
    "minimal_gru": (linear(a=("D", "H"), b=("D", "H")), minimal_gru, one),
    "peephole_lstm": (linear(a=("DHH", "4H")), peephole_lstm, lambda H: {"h": (H,), "c": (H,)}),
    "softsign": (linear(a=("D", "H"), b=("H", "H")), unitary_like, one),
    "gated_unit": (linear(a=("DH", "H"), b=("DH", "H")), gated_unit, one),
    "highway": (linear(a=("DH", "H"), b=("DH", "H"), c=(16, "H"), d=("H", 16)), highway, one),
    "normalised": (linear(a=("D", "H"), b=("H", "H")), normalised, one),
    "coupled": (linear(a=("DH", "H")), coupled, lambda H: {"h": (H,), "v": (H,)}),
    "leaky_relu": (linear(a=("DH", "H")), leaky_relu_cell, one),
    "softplus_gate": (linear(a=("D", "H"), b=("D", "H")), softplus_gate, one),
}  # fmt: skip
SOME = ("gru_head", "peephole_lstm", "coupled")
SOME_AND_ALL = some(["gru_head", *CELLS], *SOME)


def subject(name, step=None):
    if name == "gru_head":
        return TorchModule(Head, name=name)
    parts, right, states = CELLS[name]
    return TorchModule(lambda D, H: Step(parts, step or right, D, H), states=states, name=name)


def failed(judged, laws, seed, examples=16, **options):
    laws = [law for law in LAWS if law.id in laws]
    results = judge(judged, laws, examples=examples, seed=seed, shrink=False, **options)
    return {(r.law, r.dtype, r.reason) for r in results if r.status in ("failed", "error")}


@pytest.mark.parametrize("name", SOME_AND_ALL)
def test_sums_of_gradients(name):
    assert not failed(subject(name), COMPOSED, 1, examples=8)


@pytest.mark.parametrize(("name", "law", "draw"), [
    ("gru_head", "linear-in-cotangents", (7, 2, 4, 5, 1018750919)),
    ("closed_form", "links-affine", (4, 2, 5, 6, 271343687)),
    ("closed_form", "random-unbiased", (6, 3, 4, 5, 2753322339)),
])  # fmt: skip
def test_saturated_units_of_a_black_box(name, law, draw):
    """Drawn by many runs: the derivative of a saturated unit errs by more than its inputs can show."""
    from bpttcheck.cases.drawing import Draw
    from bpttcheck.cases.realising import realise
    from bpttcheck.measuring.trial import Trial
    from bpttcheck.running.evaluating import evaluate

    T, B, D, H, seed = draw
    judged = subject(name)
    capabilities = judged.capabilities()
    of_draw = Draw(T, B, D, H, 1, False, False, False, name == "gru_head", 8.0, seed)
    trial = Trial(judged, capabilities, *realise(of_draw, capabilities.cells[0], "float64", capabilities))
    assert not evaluate(next(one for one in LAWS if one.id == law), trial).failed


class Dropped(torch.autograd.Function):
    """The identity, whose gradient is a thousandth too large."""

    @staticmethod
    def forward(ctx, a):
        return a.clone()

    @staticmethod
    def backward(ctx, g):
        return g * (1 + 1e-3 * (g.abs() > g.abs().mean()))


class Clipped(Dropped):
    """The identity, whose gradient is clipped, as loops do."""

    @staticmethod
    def backward(ctx, g):
        return g.clamp(-1, 1)


@pytest.mark.parametrize("wrong", [Dropped, Clipped], ids=lambda wrong: wrong.__name__)
@pytest.mark.parametrize("name", CELLS)
def test_a_pullback_that_is_not_linear_is_seen(name, wrong):
    right = CELLS[name][1]

    def step(p, x, s):
        y, states = right(p, x, s)
        return y, {key: wrong.apply(a) for key, a in states.items()}

    seen = failed(subject(name, step), ("linear-in-cotangents",), 1, dtypes=["float64"])
    assert {law for law, *_ in seen} == {"linear-in-cotangents"}


class InFloat32:
    """One gradient of a correct cell is off by a ten-thousandth, only in float32."""

    name = "in float32"

    def __init__(self, right, block):
        self.right, self.block = right, block
        self.capabilities = right.capabilities

    def vjp(self, case):
        outputs, pullback = self.right.vjp(case)
        if case.dtype == "float64":
            return outputs, pullback

        def off(arrays):
            return {n: a * np.float32(1 + 1e-4) if n == self.block else a for n, a in arrays.items()}

        def pull(cotangents):
            dx, ((parameters,),), ((initial,),), *_ = pullback(cotangents)
            (dx,) = off({"x": dx}).values()
            return Gradients(dx, ((off(parameters),),), ((off(initial),),))

        return outputs, pull


@pytest.mark.parametrize("name", SOME_AND_ALL)
def test_float32_is_compared_with_the_implementations_own_float64(name):
    laws = ("forward-reference", "pullback-reference")
    right = subject(name)
    (cell,) = right.capabilities().cells
    assert not failed(right, laws, 1, dtypes=["float32"])
    for block in ("x", *cell.states(3), list(cell.parameters(3, 3))[-1]):
        (found,) = failed(InFloat32(right, block), laws, 1, dtypes=["float32"])
        assert found[0] == "pullback-reference" and block in found[2], block
    chosen = [law for law in LAWS if law.id in laws]
    statuses = {r.law: r.status for r in judge(right, chosen, dtypes=["float64"], examples=1)}
    assert statuses == dict.fromkeys(laws, "skipped")  # there no other implementation has the correct numbers
