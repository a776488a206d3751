"""Adapters as users write them: correct ones pass, incorrect ones fail with a sentence."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bpttcheck import LAWS, Capabilities, CustomCell, Outputs, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.measuring.calls import Refused
from bpttcheck.targets import TargetError, load
from bpttref import GRU, LSTM, RNN, Links, Random, Regular

README = Path(__file__).parents[2] / "README.md"


def statuses(subject, examples=15):
    return {(r.law, r.status) for r in judge(subject, LAWS, examples=examples, seed=5)}


def failed(subject):
    return {law for law, status in statuses(subject) if status in ("failed", "error")}


def test_the_adapter_in_the_readme():
    code = README.read_text().split("```python\n")[2].split("```")[0]
    namespace = {}
    exec(code, namespace)
    found = statuses(namespace["MyRNN"]())
    assert not {law for law, status in found if status in ("failed", "error", "vacuous")}


def test_a_file_is_looked_for_from_a_folder(tmp_path):
    (tmp_path / "mine.py").write_text("from bpttcheck.adapters.reference import Reference\nMine = Reference()\n")
    assert load("mine.py:Mine", tmp_path).name == "reference"


class Own(Reference):
    """The reference under other capabilities."""

    declared = Capabilities(cells=(LSTM(), GRU("before")))

    def capabilities(self):
        return self.declared


LIMITS = (
    {"biases": 1},
    {"biases": 0},
    {"inputs": ("dense",), "gradients": ("x", "parameters")},
    {"inputs": ("tokens", "initial")},
    {"gradients": ("parameters",)},
    {"outputs": ("y",)},
    {"outputs": ("final",)},
    {"reusable": False},
    {"sizes": {"T": (3,), "B": (2,), "D": (4,)}},
    {"refuses": lambda case: "it is odd" if len(case.x) % 2 else None},
    {"truncations": (Regular, Links, Random), "objectives": ("cross-entropy",), "reduction": "mean"},
)


@pytest.mark.parametrize("changes", LIMITS, ids=lambda changes: ",".join(changes))
def test_declared_limits_are_not_faults(changes):
    subject = Own()
    subject.declared = replace(Own.declared, **changes)
    assert not failed(subject)


def test_no_law_runs_on_a_case_that_is_refused():
    class Even(Own):
        def vjp(self, case):
            if len(case.x) % 2:
                raise RuntimeError("an odd number of steps")
            return super().vjp(case)

    subject = Even()
    subject.declared = replace(Own.declared, refuses=lambda case: "it is odd" if len(case.x) % 2 else None)
    results = list(judge(subject, LAWS, examples=15, seed=1))
    assert not [r for r in results if r.status == "error"] and "passed" in {r.status for r in results}


def test_forward_only():
    subject = Own()
    subject.declared = replace(Own.declared, gradients=())
    subject.vjp = lambda case: (Reference().vjp(case)[0], None)
    found = statuses(subject)
    assert ("forward-reference", "passed") in found and ("pullback-reference", "skipped") in found
    assert not failed(subject)


class Leaky:
    """A cell that bpttcheck does not know: h' = h/2 + tanh(V x), with or without its factor in the pullback."""

    name = "leaky"

    def __init__(self, factor):
        self.factor = factor

    def capabilities(self):
        cell = CustomCell("leaky", lambda D, H: {"V": (H, D)}, lambda H: {"h": (H,)})
        return Capabilities(cells=(cell,))

    def vjp(self, case):
        V, h, g = case.parameters[0][0]["V"], case.initial[0][0]["h"], np.tanh(case.x @ case.parameters[0][0]["V"].T)
        y = np.empty_like(g)
        for t in range(len(g)):
            h = y[t] = h / 2 + g[t]

        def pullback(cotangents):
            dh = 0 if cotangents.final is None else cotangents.final[0][0]["h"]
            da = np.empty_like(g)
            for t in reversed(range(len(g))):
                dh = dh + (0 if cotangents.y is None else cotangents.y[t])
                da[t] = dh * (1 - g[t] ** 2)
                dh = dh * np.asarray(self.factor, case.dtype)
            dV = np.einsum("tbh,tbd->hd", da, case.x)
            from bpttcheck import Gradients

            return Gradients(da @ V, (({"V": dV},),), (({"h": dh},),))

        return Outputs(y, (({"h": y[-1]},),)), pullback


def test_an_unknown_cell_is_tested_by_its_own_forward_pass():
    assert not failed(Leaky(0.5))
    assert "own-forward-derivative" in failed(Leaky(0.6))


@pytest.mark.parametrize("name", ["x", "y", "loss", "W_qh", "layer1.V", "initial.h"])
@pytest.mark.parametrize("what", ["parameters", "states"])
def test_names_that_belong_to_other_arrays(what, name):
    shapes = {"parameters": {"V": (2, 2)}, "states": {"h": (2,)}, what: {name: (2,)}}
    cell = CustomCell("leaky", lambda D, H: shapes["parameters"], lambda H: shapes["states"])
    subject = Own()
    subject.declared = Capabilities(cells=(cell,))
    with pytest.raises(ValueError, match=f"must not be called '{name}'"):
        list(judge(subject, LAWS, examples=1))


class Unused(Leaky):
    """It has a parameter without any effect, with a name like the beginning of another's place in a stack."""

    def capabilities(self):
        cell = CustomCell("leaky", lambda D, H: {"V": (H, D), "layered": (H,)}, lambda H: {"h": (H,)})
        return Capabilities(cells=(cell,), dtypes=("float64",))

    def vjp(self, case):
        outputs, pullback = super().vjp(case)

        def with_zeros(cotangents):
            gradients = pullback(cotangents)
            ((parameters,),) = gradients.parameters
            zeros = np.zeros_like(case.parameters[0][0]["layered"])
            return gradients._replace(parameters=(({**parameters, "layered": zeros},),))

        return outputs, with_zeros


def test_an_input_without_any_effect_is_named():
    laws = [law for law in LAWS if law.id == "linear-in-cotangents"]
    (result,) = judge(Unused(0.5), laws, examples=10, seed=5)
    assert result.status == "passed" and result.dead == ("layered",)


class WithPushforward(Own):
    """The reference with a pushforward by differences of outputs: correct, or off by a factor."""

    factor = 1.0
    declared = Capabilities(cells=(RNN("identity"),), dtypes=("float64",))

    def jvp(self, case, tangents):
        from bpttcheck.cases.blocks import named
        from bpttcheck.cases.changes import with_arrays

        moves, step = named(tangents), 1e-5
        ends = [Reference().vjp(with_arrays(case, lambda n, a, s=s: a + s * moves[n]))[0] for s in (step, -step)]
        y = self.factor * (ends[0].y - ends[1].y) / (2 * step)
        states = tuple(
            tuple({k: self.factor * (a[k] - b[k]) / (2 * step) for k in a} for a, b in zip(p, m, strict=True))
            for p, m in zip(ends[0].final, ends[1].final, strict=True)
        )
        return Outputs(y, states)


def test_a_pushforward_may_be_refused_for_a_case():
    subject = WithPushforward()

    def jvp(case, tangents):
        raise Refused("there is none for it")

    subject.jvp = jvp
    laws = [law for law in LAWS if law.id == "forward-mode-duality"]
    (result,) = judge(subject, laws, examples=3)
    assert result.status == "vacuous" and "there is none for it" in result.reason


def test_duality_catches_an_incorrect_pushforward():
    subject = WithPushforward()
    subject.factor = 1.5
    assert "forward-mode-duality" in failed(subject)


@pytest.mark.parametrize(("spoil", "sentence"), [
    (lambda g: g._replace(x=None), "the gradient of x is missing"),
    (lambda g: g._replace(x=g.x[:, :, :1]), "has shape"),
    (lambda g: g._replace(x=g.x.astype(np.float16)), "has dtype float16; expected"),
])  # fmt: skip
def test_incorrect_results_fail_with_a_sentence(spoil, sentence):
    subject = Own()

    def vjp(case):
        outputs, pullback = Reference().vjp(case)
        return outputs, lambda cotangents: spoil(pullback(cotangents))

    subject.vjp = vjp
    reasons = [r.reason for r in judge(subject, LAWS, examples=10, seed=1) if r.status == "failed"]
    assert reasons and all(sentence in reason for reason in reasons)


def test_an_implementation_that_raises_is_at_fault():
    subject = Own()
    subject.vjp = lambda case: 1 / 0
    results = list(judge(subject, LAWS, examples=3, seed=1))
    assert {r.status for r in results} == {"error", "unfinished", "skipped"}
    assert {r.reason for r in results if r.status == "error"} == {"vjp raised ZeroDivisionError: division by zero"}


def test_an_implementation_that_ends_the_process_is_at_fault():
    subject = Own()
    subject.vjp = lambda case: sys.exit(3)
    reasons = {r.reason for r in judge(subject, LAWS, examples=3, seed=1) if r.status == "error"}
    assert reasons == {"vjp raised SystemExit: 3"}


@pytest.mark.parametrize(("returned", "sentence"), [
    (None, "vjp returned NoneType; expected a tuple of Outputs and a pullback"),
    ((1.0, 2), "vjp returned a tuple of float and int; expected a tuple of Outputs and a pullback"),
    ((Outputs([1.0], None), None), "y in Outputs is a list; expected a NumPy array"),
    ((Outputs(np.ones(1), {"h": 1}), None), "Outputs are not nested as layers, directions, names"),
])  # fmt: skip
def test_malformed_results_are_the_adapters_fault(returned, sentence):
    subject = Own()
    subject.vjp = lambda case: returned
    reasons = [r.reason for r in judge(subject, LAWS, examples=3, seed=1) if r.status == "error"]
    assert reasons and all(sentence in reason for reason in reasons)


def test_axes_that_vanish_for_single_steps_are_named():
    """The case itself is well-formed; the law's split into single steps is not."""
    subject = Own()

    def vjp(case):
        outputs, pullback = Reference().vjp(case)
        return outputs._replace(y=outputs.y[0] if len(outputs.y) == 1 else outputs.y), pullback

    subject.vjp = vjp
    laws = [law for law in LAWS if law.id == "tied-gradient-is-sum"]
    reasons = [r.reason for r in judge(subject, laws, examples=10, seed=1) if r.status == "failed"]
    assert reasons and all("with 1 steps and" in reason for reason in reasons)


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "bpttcheck.adapters.torch", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(TargetError, match=r"^torch needs torch: python -m pip install 'bpttcheck\[torch\]'$"):
        load("torch")


def test_undeclared_arrays_are_not_tested():
    class WrongInputs(Reference):
        def capabilities(self):
            return replace(super().capabilities(), cells=(RNN("tanh"),), gradients=("parameters",), objectives=())

        def vjp(self, case):
            outputs, pullback = super().vjp(case)
            return outputs, lambda c: (g := pullback(c))._replace(x=None if g.x is None else g.x + 1)

    results = list(judge(WrongInputs(), LAWS, dtypes=["float64"], examples=24, seed=1, shrink=False))
    assert not [r for r in results if r.status in ("failed", "error")]
    assert {(r.law, r.status) for r in results} >= {("pullback-reference", "passed"), ("regular-reference", "passed")}
