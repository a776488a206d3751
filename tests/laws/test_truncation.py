"""Truncation: with lengths, with random links of the implementation, of unknown cells, and where nothing is cut."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpttcheck import LAWS, Capabilities, Case, CustomCell, Gradients, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.blocks import named
from bpttcheck.cases.truncations import DRAWN
from bpttcheck.laws.truncation import add_piece, pieces_of
from bpttcheck.measuring.trial import Trial
from bpttcheck.running.own import Own
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
    weights,
    zero_states,
)

from ..own_cells import CELLS, Subject
from ..reference.problems import close, problems

PIECES = [law for law in LAWS if law.id == "pieces-alone"]
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
def test_own_random_links_are_tested_by_all_gradients_in_every_run(seed):
    assert "random-pattern" in failed(ReachesDxAlone(), "random-pattern", seed=seed)
    assert failed(OwnGenerator(), "random-pattern", seed=seed) == set()


CELL = CustomCell("mine", lambda D, H: {"U": (H, D), "V": (H, H)}, lambda H: {"h": (H,)})


class Unknown:
    """A plain RNN under another name, which truncates correctly, except for some gradients, which follow another rule,
    by default full BPTT."""

    name = "unknown"

    def __init__(self, rule, wrong=(), by=lambda strategy: Full(), inputs=("dense", "initial")):
        self.rule, self.wrong, self.by, self.inputs = rule, wrong, by, inputs

    def capabilities(self):
        return Capabilities(cells=(CELL,), dtypes=("float64",), truncations=(self.rule,), inputs=self.inputs)

    def vjp(self, case):
        p = case.parameters[0][0]
        layer = (({"W_hx": p["U"], "W_hh": p["V"]},),)

        def run(strategy):
            options = {"lengths": case.lengths, "resets": case.resets, "strategy": strategy}
            return vjp(RNN("tanh"), layer, case.x, case.initial, **options)

        outputs, truncated = run(case.truncation)
        other = run(case.truncation if case.truncation == Full() else self.by(case.truncation))[1]

        def pullback(cotangents):
            a, b = truncated(cotangents), other(cotangents)
            found = {name: getattr(b if name in self.wrong else a, name) for name in ("x", "parameters", "initial")}
            own = found["parameters"][0][0]
            return Gradients(found["x"], (({"U": own["W_hx"], "V": own["W_hh"]},),), found["initial"])

        return outputs, pullback


ALL_RULES = (*RULES, Links)


@pytest.mark.parametrize("rule", ALL_RULES)
def test_an_unknown_cell_is_tested_by_its_own_pieces(rule):
    """Parts of its gradients are truncated and others are not."""
    assert failed(Unknown(rule), examples=16) == set()
    for wrong in (("parameters",), ("x",), ("initial",), ("x", "parameters")):
        assert failed(Unknown(rule, wrong), "pieces-alone", examples=12) == {"pieces-alone"}


@pytest.mark.parametrize(("rule", "wrong", "by"), [
    (Window, "initial", lambda window: Window(window.tau + 1)),  # it ends at the first step
    (Window, "initial", lambda window: Window(max(1, window.tau - 1))),
    (Blocks, "initial", lambda blocks: Blocks(blocks.k1, blocks.k2 + 1)),
    (Last, "initial", lambda last: Regular(last.k)),
    (Regular, "initial", lambda regular: Last(regular.tau)),
    (Regular, "initial", lambda regular: Window(regular.tau)),
    (Links, "parameters", lambda links: Links((1.0, *links.xi[:-1]))),
])  # fmt: skip
def test_another_rule_for_only_some_gradients_is_seen_without_a_reference(rule, wrong, by):
    assert failed(Unknown(rule, (wrong,), by), "pieces-alone", examples=12) == {"pieces-alone"}


@pytest.mark.parametrize("kind", ["lengths", "resets"])
def test_pieces_of_rows_that_end_or_start_anew(kind):
    """A truncation that is ignored for the parameters, where rows have lengths or are reset; else it is correct."""

    class Sometimes(Unknown):
        def vjp(self, case):
            there = getattr(case, kind) is not None
            return Unknown(self.rule, ("parameters", "initial") if there and self.wrong else ()).vjp(case)

    inputs = ("dense", "initial", kind)
    for rule in (Regular, Window, Links):
        assert failed(Sometimes(rule, inputs=inputs), "pieces-alone", examples=16) == set()
        assert failed(Sometimes(rule, ("all",), inputs=inputs), "pieces-alone", examples=16) == {"pieces-alone"}


@given(st.integers(1, 9), st.sampled_from(ALL_RULES), st.integers(0, 2**30))
def test_pieces_add_up_to_the_matrix(T, rule, seed):
    """The pieces of each rule contain each contribution, also of the initial state, as often as its M says."""
    rng = np.random.default_rng(seed)
    strategy = Links((1.0, *rng.integers(0, 2, T - 1) * 1.0)) if rule is Links else DRAWN[rule](rng, T)
    t, s = np.arange(T)[:, None], np.arange(-1, T)
    total = np.zeros((T, T + 1))
    for piece in pieces_of(strategy, T):
        back = (s >= piece.steps.start) | ((s < 0) & piece.of_initial)
        assert piece.losses[: piece.steps.start].sum() == piece.losses[piece.steps.stop :].sum() == 0
        total += (s <= t) & back & piece.losses[:, None]
    assert np.array_equal(total, weights(strategy, T))


@given(problems(least=3), st.sampled_from(ALL_RULES), st.integers(0, 2**30))
def test_pieces_add_up_to_the_gradients_of_the_reference(problem, rule, seed):
    """All gradients, of stacks of known cells."""
    T, rng = len(problem.x), np.random.default_rng(seed)
    strategy = Links((1.0, *rng.integers(0, 2, T - 1) * 1.0)) if rule is Links else DRAWN[rule](rng, T)
    case = Case(problem.cell, "float64", problem.parameters, problem.x, problem.initial)
    trial = Trial(Reference(), Reference().capabilities(), case, problem.cotangents)
    total = {name: np.zeros(array.shape) for name, array in trial.gradients.items()}
    for piece in pieces_of(strategy, T):
        before = replace(case, x=case.x[: piece.steps.start])
        add_piece(total, trial, piece, trial.run(before)[0].final)
    right = vjp(problem.cell, problem.parameters, problem.x, problem.initial, strategy=strategy)[1](problem.cotangents)
    assert total.keys() == named(right).keys()
    assert all(close(total[name], array, 3000) for name, array in named(right).items())


def test_pieces_of_states_of_any_shape_of_complex_ones_and_of_none():
    """A matrix, complex numbers, and a cell without a state, of which nothing can be cut."""
    small = {"T": range(1, 6), "B": (1, 2), "D": (2,), "H": (1, 2)}
    attention, rotating = CELLS["gated-attention"](sizes=small), CELLS["rotating"](truncations=(Regular, Links))
    for subject in (attention, rotating):
        results = judge(subject, PIECES, dtypes=["float64"], examples=16, seed=1, shrink=False)
        assert [r.status for r in results] == ["passed"], results

    def not_truncated(case, pullback, cotangents):
        full = Subject.vjp(CELLS["gated-attention"](), replace(case, truncation=Full()))[1](cotangents)
        return pullback(cotangents)._replace(initial=full.initial)

    wrong = CELLS["gated-attention"](sizes=small, wrong=not_truncated)
    assert failed(wrong, "pieces-alone", dtypes=["float64"], examples=16) == {"pieces-alone"}
    without = CustomCell("stateless", streams=lambda D, H: {"u": (H,)})
    (result,) = judge(Subject(without, lambda p, x, s: (x["u"] ** 2, {}), dtypes=("float64",)), PIECES, examples=16)
    assert result.status == "vacuous"


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


def test_a_truncation_that_cuts_nothing_proves_nothing():
    """Two steps: no segment or window is drawn that is shorter."""
    laws = [law for law in LAWS if law.id in ("regular-reference", "xray-regular", "truncation-leaves-states")]
    for result in judge(Chosen(), laws, examples=16, seed=1, own=Own({"T": (2,)})):
        expected = "passed" if result.law == "truncation-leaves-states" else "vacuous"
        assert result.status == expected, result
