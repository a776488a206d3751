"""Correct implementations that tempt a checker to a false alarm: chaos, kinks, cancelled sums, odd but legal
results."""

from dataclasses import replace

import numpy as np
import pytest

from bpttcheck import LAWS, Capabilities, CustomCell, Gradients, Outputs, judge
from bpttcheck.adapters.reference import Reference
from bpttref import GRU, LSTM, RNN, trees

from ..thorough import some

DERIVATIVES = [law for law in LAWS if law.family in ("contract", "derivative")]


class Own(Reference):
    """The reference under other capabilities."""

    def __init__(self, **declared):
        self.declared = declared

    def capabilities(self):
        return replace(super().capabilities(), **self.declared)


def alarms(subject, laws=LAWS, examples=24, seed=3):
    results = judge(subject, laws, examples=examples, seed=seed, shrink=False)
    return {(r.law, r.reason) for r in results if r.status not in ("passed", "skipped", "vacuous")}


@pytest.mark.parametrize("cell", [RNN("tanh"), LSTM(), GRU("after")], ids=lambda cell: cell.name)
def test_long_sequences_in_chaos(cell):
    subject = Own(
        cells=(cell,), sizes={"T": (40,), "H": (16,), "B": (2,)}, layers=1, bidirectional=False, objectives=()
    )
    assert not alarms(subject, [law for law in LAWS if law.family != "randomized"], examples=12)


@pytest.mark.parametrize("seed", [24, 26, 47, 72, 81])
def test_differences_in_single_precision(seed):
    """Large weights leave the range in which a difference quotient converges."""
    subject = Own(cells=(RNN("tanh"),), dtypes=("float32",))
    assert not alarms(subject, DERIVATIVES, examples=40, seed=seed)


class Clipped:
    """A cell with kinks that it does not declare: h' = clip(V x + u h, -1, 1)."""

    name = "clipped"

    def capabilities(self):
        return Capabilities(
            cells=(CustomCell("clipped", lambda D, H: {"V": (H, D), "u": (H,)}, lambda H: {"h": (H,)}),)
        )

    def vjp(self, case):
        p, h = case.parameters[0][0], [case.initial[0][0]["h"]]
        a = np.empty((len(case.x), *h[0].shape), case.dtype)
        for t, x in enumerate(case.x):
            a[t] = x @ p["V"].T + p["u"] * h[-1]
            h.append(np.clip(a[t], -1, 1))

        def pullback(cotangents):
            dh = np.zeros_like(h[0]) if cotangents.final is None else cotangents.final[0][0]["h"]
            da = np.empty_like(a)
            for t in reversed(range(len(a))):
                dy = 0 if cotangents.y is None else cotangents.y[t]
                da[t] = (np.abs(a[t]) < 1) * (dh + dy)
                dh = da[t] * p["u"]
            gradients = {"V": np.einsum("tbh,tbd->hd", da, case.x), "u": (da * h[:-1]).sum(axis=(0, 1))}
            return Gradients(da @ p["V"], ((gradients,),), (({"h": dh},),))

        return Outputs(np.stack(h[1:]), (({"h": h[-1]},),)), pullback


@pytest.mark.parametrize("seed", some(range(4), 0))
def test_kinks_of_an_unknown_cell(seed):
    assert not alarms(Clipped(), examples=60, seed=seed)


class Lists(Own):
    """Lists where the contract says tuples."""

    def vjp(self, case):
        outputs, pullback = super().vjp(case)

        def listed(tree):
            return [list(layer) for layer in tree]

        def pulled(cotangents):
            gradients = pullback(cotangents)
            return gradients._replace(parameters=listed(gradients.parameters), initial=listed(gradients.initial))

        return outputs._replace(final=listed(outputs.final)), pulled


def test_lists_are_accepted():
    assert not alarms(Lists(cells=(LSTM(),), objectives=()))


class Unrounded(Own):
    """Single precision computed in double: nearer to the truth than expected."""

    def vjp(self, case):
        wide = trees.each(lambda a: a.astype(float), (case.parameters, case.initial))
        x = case.x if case.x.dtype.kind in "iu" else case.x.astype(float)
        outputs, pullback = super().vjp(replace(case, x=x, parameters=wide[0], initial=wide[1]))

        def narrow(tree):
            return trees.each(lambda a: a.astype(case.dtype), tree)

        def pulled(cotangents):
            wider = type(cotangents)(*(trees.each(lambda a: a.astype(float), part) for part in cotangents))
            return Gradients(*(narrow(part) for part in pullback(wider)))

        return Outputs(narrow(outputs.y), narrow(outputs.final)), pulled


def test_more_precise_than_declared():
    assert not alarms(Unrounded(cells=(GRU("before"),), dtypes=("float32",), objectives=()))
