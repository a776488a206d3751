"""The oracles that check the reference: they confirm it at any size, and see one incorrect number in a large array."""

import numpy as np
import pytest

from bpttcheck import LAWS, Cotangents, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.realising import realise
from bpttcheck.faults import FAULTS, Faulty
from bpttcheck.measuring.scales import measure
from bpttcheck.running.oracle import reference_is_confirmed
from bpttref import GRU, LSTM, RNN
from bpttref.oracles import complex_step

from ..thorough import some

SIZES = {"small": (4, 2, 3, 2), "many steps": (300, 2, 3, 4), "many units": (6, 3, 40, 48), "large": (60, 8, 32, 64)}


def case_of(cell, size, dtype="float64", scale=0.1):
    draw = Draw(*SIZES[size], 1, False, False, False, False, scale, 1)
    return realise(draw, cell, dtype, Reference().capabilities())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cell", [RNN("relu"), LSTM(), GRU("before")], ids=lambda cell: cell.name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_reference_is_confirmed(cell, size, dtype):
    assert reference_is_confirmed(*case_of(cell, size, dtype))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", some(["W_hx", "b_hh", "x", "initial.h"], "W_hx", "x"))
def test_one_incorrect_number_is_seen(monkeypatch, size, name):
    def wrong(case, *cotangents):
        found = measure(case, *cotangents)
        array = found[0].values[name]
        array.flat[array.size * 2 // 3] += 1e-4 * np.abs(array).max()
        return found

    monkeypatch.setattr("bpttcheck.running.oracle.measure", wrong)
    case, cotangents = case_of(LSTM(), size)
    assert not reference_is_confirmed(case, cotangents)
    assert not reference_is_confirmed(case, Cotangents(cotangents.y))


def test_two_oracles_are_enough_whichever_they_are(monkeypatch):
    """Where the complex step has the same error as the reference, differences and forward mode contradict."""
    off = {}

    def wrong(case, *cotangents):
        found = measure(case, *cotangents)
        array = found[0].values["W_hx"]
        off["W_hx"] = 1e-4 * np.abs(array).max() * np.eye(array.size)[array.size // 2]
        array += off["W_hx"].reshape(array.shape)
        return found

    def as_wrong(problem, along):
        path = ("parameters", 0, "W_hx")
        found = complex_step(problem, along)
        return found | {path: found[path] + along[path] @ off["W_hx"]}

    monkeypatch.setattr("bpttcheck.running.oracle.measure", wrong)
    monkeypatch.setattr("bpttcheck.running.oracle.complex_step", as_wrong)
    assert not reference_is_confirmed(*case_of(LSTM(), "small"))
    monkeypatch.setattr("bpttcheck.running.oracle._by_forward_mode", lambda problem: {})
    assert reference_is_confirmed(*case_of(LSTM(), "small"))  # then only differences contradict it


def test_the_reference_is_checked_once_at_each_case_that_failed(monkeypatch):
    asked = []
    monkeypatch.setattr("bpttcheck.running.verdict.reference_is_confirmed", lambda case, _: not asked.append(case))
    fault = next(fault for fault in FAULTS if fault.id == "di-uses-i")
    found = judge(Faulty(fault), LAWS, cells=["lstm"], dtypes=["float64"], examples=8, seed=1, shrink=False)
    cases = [result.case for result in found if result.status == "failed"]
    assert len(asked) == len(set(cases)) < len(cases)
