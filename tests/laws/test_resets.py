"""A policy whose rows start anew inside a sequence, by hand: it is correct for both states to start from, and mistakes
are red."""

from dataclasses import replace

import numpy as np
import pytest

from bpttcheck import LAWS, Capabilities, CustomCell, Gradients, Outputs, judge
from bpttcheck.adapters.reference import Reference
from bpttref import LSTM

CELL = CustomCell(
    "policy",
    parameters=lambda D, H: {"W": (D, H), "R": (H, H)},
    states=lambda H: {"h": (H,)},
    smooth=True,
    saturates=("W",),
)
OF_RESETS = [law for law in LAWS if law.family == "resets"]
RESETS = {law.id for law in OF_RESETS}


class Policy:
    """h' = tanh(x W + h R) from h = 0, or from the initial state, where a row is reset."""

    def __init__(self, reset_to="zeros", slip="", dtypes=("float64",)):
        self.name, self.slip = slip or "policy", slip
        inputs = ("dense", "initial", "resets")
        self.declared = Capabilities(cells=(CELL,), dtypes=dtypes, inputs=inputs, resets_to=reset_to)

    def capabilities(self):
        return self.declared

    def flags(self, case):
        flags = np.zeros(case.x.shape[:2], bool) if case.resets is None else case.resets.copy()
        if self.slip == "a step late":
            flags[1:], flags[0] = flags[:-1].copy(), False
        if self.slip == "a step early":
            flags[:-1], flags[-1] = flags[1:].copy(), False
        if self.slip == "of the first row for all":
            flags[:] = flags[:, :1]
        return flags[:, :, None]

    def vjp(self, case):
        p, x, slip, flags = case.parameters[0][0], case.x, self.slip, self.flags(case)
        first = case.initial[0][0]["h"]
        anew = first if self.declared.resets_to == "initial" else np.zeros_like(first)
        before, h = [], first
        for t in range(len(x)):
            before.append(np.where(flags[t], anew, h))
            h = np.tanh(x[t] @ p["W"] + before[-1] @ p["R"])
        ys = [np.tanh(x[t] @ p["W"] + before[t] @ p["R"]) for t in range(len(x))]

        def pullback(cotangents):
            dh = np.zeros_like(h) if cotangents.final is None else cotangents.final[0][0]["h"]
            dx, dW, dR, again = np.zeros_like(x), np.zeros_like(p["W"]), np.zeros_like(p["R"]), np.zeros_like(h)
            for t in reversed(range(len(x))):
                da = (dh if cotangents.y is None else dh + cotangents.y[t]) * (1 - ys[t] ** 2)
                dx[t] = da @ p["W"].T
                dW += x[t].T @ da
                used = (ys[t - 1] if t else first) if slip == "weights see the state that was left" else before[t]
                dR += used.T @ da
                dh = da @ p["R"].T
                again += np.where(flags[t], dh, 0)
                if slip != "the gradient crosses":
                    dh = np.where(flags[t], 0, dh)
            if self.declared.resets_to == "initial" and slip != "only the first stretch reaches h0":
                dh = dh + again
            return Gradients(dx, (({"W": dW, "R": dR},),), (({"h": dh},),))

        y = np.array([*before[1:], h] if slip == "y shows the state that is started from" else ys)
        return Outputs(y, (({"h": h},),)), pullback


def judged(subject, laws=LAWS, examples=24, **options):
    return {r.law: r for r in judge(subject, laws, examples=examples, seed=1, shrink=False, **options)}


@pytest.mark.parametrize("reset_to", ["zeros", "initial"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_correct_policy_is_green(reset_to, dtype):
    found = judged(Policy(reset_to, dtypes=("float32", "float64")), dtypes=[dtype])
    assert {r.status for r in found.values()} <= {"passed", "skipped"}
    assert {found[law].status for law in RESETS} == {"passed"}


SLIPS = {  # and the laws of resets that see each
    "a step late": {"reset-is-a-new-row", "reset-at-each-step", "nothing-crosses-a-reset"},
    "a step early": {"reset-is-a-new-row", "reset-at-each-step"},
    "of the first row for all": {"nothing-crosses-a-reset"},
    "the gradient crosses": {"reset-is-a-new-row", "reset-at-each-step", "nothing-crosses-a-reset"},
    "weights see the state that was left": {"reset-is-a-new-row", "reset-at-each-step"},
    "y shows the state that is started from": {"reset-is-a-new-row"},
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_red(slip):
    """Without a reference; without resets it is correct."""
    found = judged(Policy(slip=slip), OF_RESETS)
    assert SLIPS[slip] <= {law for law in RESETS if found[law].status == "failed"}
    plain = Policy(slip=slip)
    plain.declared = replace(plain.declared, inputs=("dense", "initial"))
    assert {r.status for r in judged(plain, examples=8).values()} <= {"passed", "skipped", "vacuous"}


def test_initial_states_get_the_gradients_of_all_stretches():
    found = judged(Policy("initial", "only the first stretch reaches h0"), OF_RESETS)
    assert {"reset-is-a-new-row", "reset-at-each-step"} <= {law for law in RESETS if found[law].status == "failed"}


def test_flags_of_none_that_change_something_are_red():
    class Moved(Policy):
        def vjp(self, case):
            outputs, pullback = super().vjp(case)
            return outputs._replace(y=outputs.y * (1 if case.resets is None else 2)), pullback

    assert judged(Moved())["no-reset-is-none"].status == "failed"


def test_the_reference_is_compared_with_where_it_knows_the_cell():
    """A state of two that is not reset; also where truncation cuts."""

    class Half(Reference):
        name = "half"

        def capabilities(self):
            return replace(super().capabilities(), cells=(LSTM(),), dtypes=("float64",), objectives=(), layers=1)

        def vjp(self, case):
            late = None if case.resets is None else np.roll(case.resets, 1, axis=0) & (np.arange(case.T) > 0)[:, None]
            return super().vjp(replace(case, resets=late))

    found = judged(Half(), [law for law in LAWS if law.id.endswith("-reference")], examples=40)
    assert found["forward-reference"].status == found["pullback-reference"].status == "failed"
