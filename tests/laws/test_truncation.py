"""Truncation: with lengths, by an own generator, of cells that nobody knows, and where nothing is cut."""

from dataclasses import replace

import numpy as np
import pytest

from bpttcheck import LAWS, Capabilities, CustomCell, Gradients, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.running.verdict import Own
from bpttref import (
    LSTM,
    RNN,
    Blocks,
    Cotangents,
    Full,
    Last,
    Links,
    Random,
    Regular,
    Window,
    checkpointed_vjp,
    vjp,
    zero_states,
)

RULES = (Regular, Window, Blocks, Last)


def failed(subject, *laws, **options):
    """Which laws fail, of some or of all."""
    chosen = [law for law in LAWS if not laws or law.id in laws]
    results = judge(subject, chosen, **{"examples": 40, "seed": 1, "shrink": False} | options)
    return {result.law for result in results if result.status in ("failed", "error")}


class Chosen(Reference):
    """The reference with some capabilities."""

    changes: dict = {}

    def capabilities(self):
        return replace(super().capabilities(), cells=(LSTM(),), dtypes=("float64",), **self.changes)


class OwnGenerator(Chosen):
    """It draws its own links, and handles the parameters' gradients by ``parameters(truncated, full)``."""

    changes = {"truncations": (Random,), "layers": 1, "bidirectional": False}

    def parameters(self, truncated, full):
        return truncated

    def vjp(self, case):
        outputs, truncated = super().vjp(case)
        _, full = super().vjp(replace(case, truncation=Full()))

        def pullback(cotangents):
            a, b = truncated(cotangents), full(cotangents)
            return a._replace(parameters=self.parameters(a.parameters, b.parameters))

        return outputs, pullback


class ReachesDxAlone(OwnGenerator):
    def parameters(self, truncated, full):
        return full


@pytest.mark.parametrize("seed", range(5))
def test_an_own_generator_is_judged_by_all_gradients_in_every_run(seed):
    assert "random-pattern" in failed(ReachesDxAlone(), "random-pattern", seed=seed)
    assert failed(OwnGenerator(), "random-pattern", seed=seed) == set()


CELL = CustomCell("mine", lambda D, H: {"U": (H, D), "V": (H, H)}, lambda H: {"h": (H,)})


class Unknown:
    """A plain RNN under another name, which truncates as it should."""

    name = "unknown"

    def __init__(self, rule, untruncated=()):
        self.rule, self.untruncated = rule, untruncated

    def capabilities(self):
        return Capabilities(cells=(CELL,), dtypes=("float64",), truncations=(self.rule,))

    def vjp(self, case):
        p = case.parameters[0][0]
        layer = (({"W_hx": p["U"], "W_hh": p["V"]},),)
        outputs, truncated = vjp(RNN("tanh"), layer, case.x, case.initial, strategy=case.truncation)
        full = vjp(RNN("tanh"), layer, case.x, case.initial)[1]

        def pullback(cotangents):
            a, b = truncated(cotangents), full(cotangents)
            x = (b if "x" in self.untruncated else a).x
            own = (b if "parameters" in self.untruncated else a).parameters[0][0]
            return Gradients(x, (({"U": own["W_hx"], "V": own["W_hh"]},),), a.initial)

        return outputs, pullback


@pytest.mark.parametrize("rule", RULES)
def test_an_unknown_cell_is_judged_by_its_own_pieces(rule):
    assert failed(Unknown(rule)) == set()
    for part in ("parameters", "x"):
        assert "pieces-alone" in failed(Unknown(rule, (part,)), "pieces-alone")


@pytest.mark.parametrize("kind", [Regular, Window, Links])
def test_a_truncation_that_is_ignored_with_lengths_is_seen(kind):
    class Ignoring(Chosen):
        changes = {"truncations": (kind,)}

        def vjp(self, case):
            return super().vjp(case if case.lengths is None else replace(case, truncation=Full()))

    class Raising(Chosen):
        changes = {"truncations": (kind,)}

        def vjp(self, case):
            if case.lengths is not None and case.truncation != Full():
                raise NotImplementedError("not with lengths")
            return super().vjp(case)

    class Declining(Raising):
        changes = Raising.changes | {
            "refuses": lambda case: (
                "not truncated with lengths" if case.lengths is not None and case.truncation != Full() else None
            )
        }

    law = f"{kind.__name__.lower()}-reference"
    assert failed(Ignoring(), law) == {law}
    assert law in failed(Raising(), law)
    assert failed(Declining()) == set()


@pytest.mark.parametrize("seed", range(4))
def test_a_cut_in_the_padding_of_a_row_does_nothing_to_it(seed):
    """The cotangent of its final state passes unchanged, by `vjp` and from checkpoints."""
    rng = np.random.default_rng(seed)
    T, B, D, H = 6, 3, 2, 2
    layer = {"W_hx": rng.normal(size=(4 * H, D)), "W_hh": rng.normal(size=(4 * H, H)) / 2}
    x, lengths = rng.normal(size=(T, B, D)), np.array([2, 6, 3])
    final = (({"h": rng.normal(size=(B, H)), "c": rng.normal(size=(B, H))},),)
    xi = (1.0, 0.5, 1.0, 0.0, 2.0, 0.0)
    initial = zero_states(LSTM(), ((layer,),), B)
    for run in (vjp, checkpointed_vjp):
        _, pullback = run(LSTM(), ((layer,),), x, initial, lengths=lengths, strategy=Links(xi))
        dx = pullback(Cotangents(None, final)).x
        for b, n in enumerate(lengths):
            alone = (({name: array[b : b + 1] for name, array in final[0][0].items()},),)
            _, of_row = vjp(LSTM(), ((layer,),), x[:n, b : b + 1], strategy=Links(xi[:n]))
            np.testing.assert_allclose(dx[:n, b], of_row(Cotangents(None, alone)).x[:, 0], rtol=1e-12, atol=1e-14)


def test_what_cuts_nothing_proves_nothing():
    """Two steps: no segment or window is drawn that is shorter."""
    laws = [law for law in LAWS if law.id in ("regular-reference", "xray-regular", "truncation-leaves-states")]
    for result in judge(Chosen(), laws, examples=16, seed=1, own=Own({"T": 2})):
        expected = "passed" if result.law == "truncation-leaves-states" else "vacuous"
        assert result.status == expected, result
