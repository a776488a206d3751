"""Cells that bpttcheck does not know, as people have them in 2026, on HIPS autograd; and mistakes in their pullbacks.

Each is a step ``(parameters, inputs, states) -> (y, states)``, or a whole sequence at once where that is the point. The
derivatives are autograd's own, so the gradients here are correct without a line of calculus.
"""

import autograd.numpy as np
import numpy as plain
from autograd.core import make_vjp
from autograd.extend import defvjp, primitive
from autograd.misc import flatten
from autograd.tracer import getval as getvalue

from bpttcheck import Capabilities, CustomCell, Gradients, Outputs
from bpttref import Links, Regular

HEADS = 2
SMALL = {"T": range(1, 5), "B": (1, 2), "D": (2, 3), "H": (1, 2, 3)}  # autograd is slow


@primitive
def linked(state, xi):
    return state + 0


defvjp(linked, lambda ans, state, xi: lambda g: g * xi if xi else 0 * g)


class Subject:
    """A step in a loop. wrong: from the case, the pullback and cotangents to incorrect gradients."""

    def __init__(self, cell, step, dtypes=("float64", "float32"), wrong=None, **declared):
        self.name, self.cell, self.step, self.wrong = cell.name, cell, step, wrong
        cuts = (Regular, Links)
        self.declared = Capabilities(cells=(cell,), dtypes=dtypes, **{"truncations": cuts, **declared})

    def capabilities(self):
        return self.declared

    def forward(self, case, p, x, states):
        xi, outputs = case.truncation.links(case.T), []
        for t in range(case.T):
            if xi[t] != 1:
                states = {name: linked(state, xi[t]) for name, state in states.items()}
            now = {name: stream[t] for name, stream in x.items()} if isinstance(x, dict) else x[t]
            y, states = self.step(p, now, states)
            outputs.append(y)
        return np.stack(outputs), states

    def vjp(self, case):
        """What is differentiated by are all floating arrays; others are looked up in the case."""
        x = case.x if isinstance(case.x, dict) else {"x": case.x}
        floats = {name: array for name, array in x.items() if array.dtype.kind == "f"}

        at = {"p": dict(case.parameters[0][0]), "x": floats, "s": dict(case.initial[0][0])}
        flat, nested = flatten(at)
        found = {}

        def run(flat):
            at = nested(flat)
            inputs = {**x, **at["x"]}
            y, final = self.forward(case, at["p"], inputs if isinstance(case.x, dict) else inputs["x"], at["s"])
            outputs = {"y": y, **{name: final[name] for name in at["s"]}}
            found.update({name: plain.asarray(getvalue(array), case.dtype) for name, array in outputs.items()})
            return np.concatenate([array.ravel() for array in outputs.values()])

        pull, _ = make_vjp(run, flat)
        y, *ends = found.values()

        def pullback(cotangents):
            dy = plain.zeros_like(y) if cotangents.y is None else cotangents.y
            final = {} if cotangents.final is None else cotangents.final[0][0]
            given = [dy, *(final.get(name, plain.zeros_like(end)) for name, end in zip(at["s"], ends, strict=True))]
            pulled = nested(pull(plain.concatenate([array.ravel() for array in given])))
            parts = {k: {n: plain.array(a, case.dtype) for n, a in part.items()} for k, part in pulled.items()}
            dx = parts["x"] if isinstance(case.x, dict) else parts["x"]["x"]
            return Gradients(dx, ((parts["p"],),), ((parts["s"],),))

        def mistaken(cotangents):
            return self.wrong(case, pullback, cotangents)

        states = dict(zip(at["s"], ends, strict=True))
        return Outputs(y, ((states,),)), mistaken if self.wrong else pullback


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def attention(p, x, s):
    """Gated linear attention: a matrix for a state, a decay for each key."""
    S = x["decay"][..., None] * s["S"] + x["k"][..., None] * x["v"][..., None, :]
    y = np.einsum("bhk,bhkv->bhv", x["q"], S)
    return y.reshape(len(y), -1), {"S": S}


ATTENTION = CustomCell(
    "gated-attention",
    states=lambda D, H: {"S": (HEADS, D, H)},
    streams=lambda D, H: {"q": (HEADS, D), "k": (HEADS, D), "v": (HEADS, H), "decay": (HEADS, D)},
    width=lambda H: HEADS * H,
    domains={"decay": "(0, 1)"},
    affine={"S": ("S", "y")},
    smooth=True,
)


def delta(p, x, s):
    """The delta rule: keys of norm 1, and the part of the memory that is overwritten."""
    old = np.einsum("bk,bkv->bv", x["k"], s["S"])
    S = s["S"] + x["k"][..., None] * (x["beta"][..., None] * (x["v"] - old))[:, None]
    return np.einsum("bk,bkv->bv", x["q"], S), {"S": S}


DELTA = CustomCell(
    "delta-rule",
    states=lambda D, H: {"S": (D, H)},
    streams=lambda D, H: {"q": (D,), "k": (D,), "v": (H,), "beta": ()},
    domains={"beta": "(0, 1)", "k": "unit norm"},
    affine={"S": ("S", "y")},
    smooth=True,
)


def scan(p, x, s):
    """A diagonal state space: the step is positive, the rates are negative."""
    h = np.exp(x["dt"] * p["A"]) * s["h"] + x["dt"] * x["u"]
    return h * p["C"], {"h": h}


SCAN = CustomCell(
    "selective-scan",
    parameters=lambda D, H: {"A": (H,), "C": (H,)},
    states=lambda H: {"h": (H,)},
    streams=lambda D, H: {"u": (H,), "dt": (H,)},
    domains={"dt": "positive", "A": "negative"},
    affine={"h": ("h", "y")},
    smooth=True,
    saturates=("dt", "A"),
)


def stabilised(p, x, s):
    """An sLSTM: exponential gates, divided by a stabiliser m that counts as constant."""
    i, f, z, o = np.split(x @ p["W"] + s["h"] @ p["R"] + p["b"], 4, axis=-1)
    log_f = -np.log1p(np.exp(-f))
    m = linked(np.maximum(log_f + s["m"], i), 0)
    keep, take = np.exp(log_f + s["m"] - m), np.exp(i - m)
    c, n = keep * s["c"] + take * np.tanh(z), keep * s["n"] + take
    h = sigmoid(o) * c / n
    return h, {"h": h, "c": c, "n": n, "m": m}


STABILISED = CustomCell(
    "slstm",
    parameters=lambda D, H: {"W": (D, 4 * H), "R": (H, 4 * H), "b": (4 * H,)},
    states=lambda H: {"h": (H,), "c": (H,), "n": (H,), "m": (H,)},
    domains={"n": "positive"},
    without_cotangent=("m",),
    surrogate=("c", "n"),
    smooth=True,
)


class InLogSpace(Subject):
    """minGRU as it is trained: all steps at once, by cumulative sums of logarithms."""

    def forward(self, case, p, x, states):
        k, value = x @ p["Wz"], x @ p["Wh"]
        log_keep, log_take = -np.logaddexp(0, k), -np.logaddexp(0, -k)
        log_value = np.where(value >= 0, np.log(np.maximum(value, 0) + 0.5), -np.logaddexp(0, -np.minimum(value, 0)))
        sums, sofar, outputs = np.cumsum(log_keep, axis=0), np.log(states["h"]), []
        for t in range(case.T):
            sofar = np.logaddexp(sofar, log_take[t] + log_value[t] - sums[t])
            outputs.append(np.exp(sofar + sums[t]))
        return np.stack(outputs), {"h": outputs[-1]}


MINIMAL = CustomCell(
    "min-gru",
    parameters=lambda D, H: {"Wz": (D, H), "Wh": (D, H)},
    states=lambda H: {"h": (H,)},
    domains={"h": "positive"},
    affine={"h": ("h", "y")},
    saturates=("Wz",),
)


@primitive
def fires(a):
    return (a > 0).astype(a.dtype)


defvjp(fires, lambda ans, a: lambda g: g / (1 + 5 * abs(a)) ** 2)


def spiking(p, x, s):
    """A leaky unit that fires: the derivative of the step function is a surrogate."""
    v = 0.8 * s["v"] + x @ p["W"]
    y = fires(v - 1)
    return y, {"v": v - y}


SPIKING = CustomCell(
    "spiking",
    parameters=lambda D, H: {"W": (D, H)},
    states=lambda H: {"v": (H,)},
    surrogate=("W", "v", "x"),
)


def embedded(p, x, s):
    """Inputs are whole numbers and flags next to numbers."""
    a = np.tanh(p["E"][x["token"]] + x["u"] + s["h"] * p["w"])
    h = np.where(x["keep"][:, None], a, s["h"])
    return h, {"h": h}


EMBEDDED = CustomCell(
    "embedded",
    parameters=lambda D, H: {"E": (5, H), "w": (H,)},
    states=lambda H: {"h": (H,)},
    streams=lambda D, H: {"token": (), "keep": (), "u": (H,)},
    domains={"token": range(5), "keep": bool},
    smooth=True,
    saturates=("u", "w"),
)


class Rotating:
    """A diagonal linear recurrence with complex states, as S4D and LRU have it, by hand: h' = a h + b x, y = re(c h).

    The gradient of a complex product is the product with the conjugate; slip: the factor that is not conjugated.
    """

    cell = CustomCell(
        "rotating",
        parameters=lambda D, H: {"a": (H,), "b": (H,), "c": (H,), "h0": (H,)},
        states=lambda H: {"h": (H,)},
        streams=lambda D, H: {"u": (H,)},
        domains={"a": complex, "b": complex, "c": complex, "h": complex, "h0": complex},
        affine={"h": ("h", "y")},
        smooth=True,
    )

    def __init__(self, slip="", learned=None, **declared):
        self.name, self.slip, self.learned, self.declared = "rotating", slip, learned, declared

    def capabilities(self):
        default = {"h": "h0"} if self.learned is not None else "zeros"
        return Capabilities(cells=(self.cell,), default_initial=default, **self.declared)

    def vjp(self, case):
        p, u, xi = case.parameters[0][0], case.x["u"], case.truncation.links(case.T).tolist()
        start = plain.zeros_like(u[0], dtype=p["a"].dtype)
        if case.initial is not None:
            start = case.initial[0][0]["h"]
        elif self.learned is not None:
            start = start + p["h0"]
        h = [start]
        for now in u:
            h.append(p["a"] * h[-1] + p["b"] * now)
        kept = {name: plain.conj(p[name]) if name != self.slip else p[name] for name in ("a", "b", "c")}

        def pullback(cotangents):
            d = {name: plain.zeros_like(array) for name, array in p.items()}
            dh = plain.zeros_like(start) if cotangents.final is None else cotangents.final[0][0]["h"].copy()
            du = plain.zeros_like(u)
            for t in reversed(range(len(u))):
                if cotangents.y is not None:
                    dh = dh + kept["c"] * cotangents.y[t]
                    d["c"] += (plain.conj(h[t + 1]) * cotangents.y[t]).sum(0)
                d["a"] += (plain.conj(h[t]) * dh).sum(0)
                d["b"] += (u[t] * dh).sum(0)
                du[t] = (kept["b"] * dh).real
                dh = xi[t] * kept["a"] * dh
            if case.initial is None and self.learned is not None:
                d["h0"] += self.learned(dh)
            return Gradients({"u": du}, ((d,),), None if case.initial is None else (({"h": dh},),))

        y = plain.array([(p["c"] * state).real for state in h[1:]])
        return Outputs(y, (({"h": h[-1].copy()},),)), pullback


CELLS = {
    "gated-attention": lambda **more: Subject(ATTENTION, attention, **more),
    "delta-rule": lambda **more: Subject(DELTA, delta, **more),
    "selective-scan": lambda **more: Subject(SCAN, scan, **more),
    "slstm": lambda **more: Subject(STABILISED, stabilised, **more),
    "min-gru": lambda **more: InLogSpace(MINIMAL, None, truncations=(), **more),
    "spiking": lambda **more: Subject(SPIKING, spiking, **more),
    "embedded": lambda **more: Subject(EMBEDDED, embedded, **more),
    "rotating": lambda **more: Rotating(learned=lambda dh: dh.sum(0), **more),
}
