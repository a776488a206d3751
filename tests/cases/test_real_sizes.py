"""Cases live at the sizes at which people train: cases that die, saturate or explode on purpose are a small part."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from bpttcheck import LAWS, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.drawing import draw_case
from bpttcheck.cases.kinks import near_kink
from bpttcheck.cases.realising import realise
from bpttcheck.measuring.scales import FEW
from bpttcheck.measuring.trial import Trial
from bpttcheck.running.own import Own
from bpttref import GRU, LSTM, RNN

from ..own_cells import CELLS
from ..thorough import some

REAL = {"T": (200,), "B": (2,), "D": (16,), "H": (128,)}
ALL = Reference().capabilities()


@pytest.mark.parametrize("cell", [RNN("tanh"), RNN("relu"), LSTM(), GRU("after")], ids=lambda cell: cell.name)
@pytest.mark.parametrize("dtype", some(["float32", "bfloat16"], "float32"))
def test_most_cases_are_determined(cell, dtype):
    """Rounding leaves them as they are, the states are not saturated, and some remember."""
    declared, found = replace(ALL.at(REAL), layers=1), Counter()
    draws = [draw_case(np.random.default_rng([3, k]), declared, k) for k in range(16)]
    for draw in draws:
        case, cotangents = realise(draw, cell, dtype, declared)
        trial = Trial(Reference(), declared, case, cotangents, replicates=FEW)
        h = np.abs(trial.outputs["y"])
        found["near a kink"] += near_kink(case)
        found["chaotic"] += not trial.determined
        found["saturated"] += cell.name != "rnn-relu" and float(np.mean(h > 0.99)) > 0.5
        found["remembers"] += draw.remembers
    assert found["near a kink"] <= 4 and found["chaotic"] <= 3 and found["saturated"] <= 2, found
    assert found["remembers"] == 4


def vacuous(results):
    ran = [result for result in results if result.status != "skipped"]
    assert {result.status for result in ran} <= {"passed", "vacuous"}
    return [result.law for result in ran if result.status == "vacuous"], len(ran)


@pytest.mark.parametrize("dtype", some(["float32", "float64"], "float32"))
def test_nearly_every_law_proves_something(dtype):
    sizes = {"T": (65,), "B": (4,), "D": (16,), "H": (64,)}
    none, ran = vacuous(judge(Reference(), LAWS, cells=["lstm"], dtypes=[dtype], examples=8, seed=2, own=Own(sizes)))
    assert len(none) <= 0.05 * ran, none


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["gated-attention", "selective-scan"])
def test_most_cases_of_unknown_cells_are_determined(name):
    sizes = {"T": (33,), "B": (2,), "D": (3,), "H": (17,)}
    none, ran = vacuous(judge(CELLS[name](dtypes=("float64",)), LAWS, examples=8, seed=2, own=Own(sizes)))
    assert len(none) <= 0.05 * ran, none
