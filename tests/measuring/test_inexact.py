"""tanh and sigmoid by correct formulas that err in proportion to 1: no alarm, and mistakes stay in sight."""

from dataclasses import replace

import numpy as np
import pytest

from bpttcheck import LAWS, Gradients, Outputs, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.realising import realise
from bpttcheck.measuring.trial import Trial
from bpttref import GRU, LSTM, RNN, Cotangents, trees, vjp

from ..thorough import some

TANH = {
    "by a logistic": lambda a: 2 / (1 + np.exp(-2 * a)) - 1,
    "by exponentials": lambda a: (
        (np.exp(np.clip(a, -30, 30)) - np.exp(-np.clip(a, -30, 30)))
        / (np.exp(np.clip(a, -30, 30)) + np.exp(-np.clip(a, -30, 30)))
    ),
    "by two sigmoids": lambda a: 1 / (1 + np.exp(-2 * a)) - 1 / (1 + np.exp(2 * a)),
    "by one exponential": lambda a: (1 - np.exp(-2 * np.maximum(a, -30))) / (1 + np.exp(-2 * np.maximum(a, -30))),
    "from 1": lambda a: 1 - 2 / (np.exp(2 * a) + 1),
}


def of_formula(formula):
    """An array type whose tanh is computed by a formula, and whose sigmoid is (1 + tanh(a / 2)) / 2."""

    class Formula(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
            plain = [i.view(np.ndarray) if isinstance(i, Formula) else i for i in inputs]
            if out is not None:
                options["out"] = tuple(o.view(np.ndarray) for o in out)
            with np.errstate(over="ignore"):
                if ufunc is np.tanh:
                    result = np.asarray(formula(plain[0])).astype(plain[0].dtype)
                elif ufunc is np.reciprocal:
                    result = (1 + (2 / plain[0] - 1)) / 2
                else:
                    return np.asarray(getattr(ufunc, method)(*plain, **options)).view(Formula)
            if out is not None:
                options["out"][0][...] = result
                result = options["out"][0]
            return result.view(Formula)

    return Formula


class Inexact(Reference):
    """The reference with another tanh; ``slip`` changes its gradients."""

    name = "inexact"

    def __init__(self, formula, cell, dtype, biases, slip=lambda gradients: gradients):
        self.kind, self.slip = of_formula(formula), slip
        self.declared = replace(
            super().capabilities(), cells=(cell,), dtypes=(dtype,), biases=biases, objectives=(), streams=False
        )
        self.loss_and_gradients = self.jvp = None

    def capabilities(self):
        return self.declared

    def vjp(self, case):
        def viewed(tree):
            return trees.each(lambda a: a.view(self.kind), tree)

        def plain(tree):
            return trees.each(np.asarray, tree)

        x = case.x if case.x.dtype.kind in "iu" else case.x.view(self.kind)
        rows = {"lengths": case.lengths, "resets": case.resets, "strategy": case.truncation}
        outputs, pullback = vjp(case.cell, viewed(case.parameters), x, viewed(case.initial), **rows)

        def pulled(cotangents):
            return self.slip(Gradients(*(plain(part) for part in pullback(Cotangents(*map(viewed, cotangents))))))

        return Outputs(plain(outputs.y), plain(outputs.final)), pulled


def failed(subject, seed, examples=32, laws=LAWS):
    results = judge(subject, laws, examples=examples, seed=seed, shrink=False)
    return {(r.law, r.reason) for r in results if r.status in ("failed", "error", "unsure")}


CASES = [(formula, RNN("tanh")) for formula in TANH] + [("by a logistic", LSTM()), ("by two sigmoids", GRU("after"))]


@pytest.mark.parametrize(("formula", "cell"), CASES, ids=str)
@pytest.mark.parametrize("dtype", some(["float64", "float32"], "float32"))
def test_no_alarm(formula, cell, dtype):
    laws = [law for law in LAWS if law.family in ("finite", "agreement", "derivative", "algebra", "time")]
    examples = 10 if cell == RNN("tanh") else 20  # the formula of the sigmoid shows in one of these
    for biases in (0, 1):
        assert not failed(Inexact(TANH[formula], cell, dtype, biases), seed=biases, examples=examples, laws=laws)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("cell", [RNN("tanh"), GRU("after")], ids=lambda cell: cell.name)
def test_a_real_mistake_is_the_one_that_is_seen(cell, dtype):
    def slip(gradients):
        (leaf,) = gradients.parameters[0] if len(gradients.parameters[0]) == 1 else gradients.parameters[0][:1]
        first = (leaf | {"W_hh": 1.01 * leaf["W_hh"]}, *gradients.parameters[0][1:])
        return gradients._replace(parameters=(first, *gradients.parameters[1:]))

    laws = [law for law in LAWS if law.family == "agreement"]
    slip_alone = {law for law, _ in failed(Inexact(TANH["by a logistic"], cell, dtype, 0, slip), seed=1, laws=laws)}
    assert "pullback-reference" in slip_alone and "forward-reference" not in slip_alone


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("size", [1e-3, 0.1])
def test_vanished_gradients_stay_in_sight(dtype, layers, size):
    """Small weights, no biases: a truncated dx is as far above the tolerance as if tanh were exact."""
    capabilities = Inexact(np.tanh, RNN("tanh"), dtype, 0).declared
    draw = Draw(6, 2, 3, 4, layers, False, False, False, False, size, 3)
    case, cotangents = realise(draw, RNN("tanh"), dtype, capabilities)
    last = Cotangents(np.where(np.arange(6)[:, None, None] == 5, cotangents.y, 0).astype(dtype))
    trial = Trial(Reference(), capabilities, case, last)
    assert trial.determined
    right = trial.gradients["x"]
    for step in trial.compare({"x": 0 * right}, {"x": right}, trial.measured):
        assert step.margin > 1000, step.block
