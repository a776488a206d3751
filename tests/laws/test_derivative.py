"""Own-forward-derivative: in single precision, too, it proves something in most cases, and gives no false alarm."""

from dataclasses import replace

import pytest

from bpttcheck import LAWS, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.drawing import WEIGHT_SCALES, Draw
from bpttcheck.laws.law import Asked
from bpttcheck.running.evaluating import evaluate, trial_of
from bpttref import CELLS

from ..thorough import some

(LAW,) = [law for law in LAWS if law.id == "own-forward-derivative"]
SOME = [cell for cell in CELLS if cell.name in ("rnn-tanh", "lstm", "gru-after")]


@pytest.mark.parametrize(
    "cell",
    some(CELLS, *SOME),
    ids=lambda cell: cell.name,
)
def test_it_proves_something_in_most_cases(cell):
    results = {r.dtype: r for r in judge(Reference(), [LAW], cells=[cell.name], examples=40, seed=1)}
    assert {r.status for r in results.values()} == {"passed"}
    assert results["float32"].examples > 20 and results["float64"].examples > 30


@pytest.mark.parametrize("cell", some(CELLS, *SOME), ids=lambda cell: cell.name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1e-6, *WEIGHT_SCALES, 30.0, 1e3])
def test_no_weights_cause_a_false_alarm(cell, dtype, scale):
    """Vanishing, saturated, exploding and chaotic cases; the error stays far below the tolerance."""
    declared = Reference().capabilities()
    asked = Asked(Reference(), declared, cell, dtype, declared)
    for seed in range(8):
        T = (1, 3, 8, 40)[seed % 4]
        trial = trial_of(asked, Draw(T, 3, 4, 5, 1 + seed % 2, False, False, False, False, scale, seed))
        if trial is not None:
            finding = evaluate(LAW, trial)
            assert finding.worst is None or finding.worst.margin < 0.2, finding.worst


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize("name", ["W_hx", "W_hh", "b_hx", "b_hh"])
@pytest.mark.parametrize("factor", [0.0, 0.5, -1.0])
def test_a_mistake_only_in_single_precision_is_seen(cell, name, factor):
    class Mistaken(Reference):
        def capabilities(self):
            return replace(super().capabilities(), dtypes=("float32",), layers=1, bidirectional=False)

        def vjp(self, case):
            outputs, pullback = super().vjp(case)

            def mistaken(cotangents):
                found = pullback(cotangents)
                ((p,),) = found.parameters
                return found._replace(parameters=(({**p, name: factor * p[name]},),))

            return outputs, mistaken

    (result,) = judge(Mistaken(), [LAW], cells=[cell.name], examples=40, seed=3, shrink=False)
    assert result.status == "failed" and name in result.reason
