"""Users' own laws on `bpttcheck.strategies.cases`: they hold, they fail on incorrect code, and failures shrink."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings, target

import bpttcheck
from bpttcheck.adapters.reference import Reference
from bpttcheck.strategies import cases, margin


class Decay:
    """h_t = a h_{t-1} + x_t, and y_t = h_t; ``late`` leaves out the decay after five steps."""

    def __init__(self, late=False):
        self.late = late

    def __call__(self, a, x, h):
        hs = [h]
        for t, x_t in enumerate(x):
            hs.append((1 if self.late and t > 2 else a) * hs[-1] + x_t)

        def pullback(dy, dh):
            da, dx = 0 * a, np.zeros_like(x)
            for t in reversed(range(len(x))):
                dh = dh + dy[t]
                decays = not self.late or t <= 2
                dx[t], da, dh = dh, da + decays * (dh * hs[t]).sum(axis=0), (a if decays else 1) * dh
            return da, dx, dh

        return np.array(hs[1:]), hs[-1], pullback


def subject(late=False):
    arrays = {"parameters": np.full(3, 0.5), "x": np.zeros((5, 4, 3)), "states": np.zeros((4, 3))}
    return bpttcheck.own_arrays(Decay(late), **arrays, domains={"a": "(0, 1)"}, name="decay")


def of_linearity(trial):
    """Of a linear recurrence outputs are linear in x and the initial state: twice as much in, twice as much out."""
    case = trial.case
    twice = replace(case, x=2 * case.x, initial=(({name: 2 * a for name, a in case.initial[0][0].items()},),))
    got = trial.results(twice, trial.cotangents)
    return margin(trial, {"y": got["y"] / 2}, trial.outputs)


def of_shift(trial):
    """A step does not know its number: with a first step of zeros from zeros, outputs come one step later."""
    case = replace(trial.case, initial=(({name: 0 * a for name, a in trial.case.initial[0][0].items()},),))
    later = replace(case, x=np.concatenate([0 * case.x[:1], case.x[:-1]]))
    first, second = (trial.calls.run(one)[0].y for one in (case, later))
    return margin(trial, {"y": second}, {"y": np.concatenate([0 * first[:1], first[:-1]])})


@settings(max_examples=20)
@given(trial=cases(subject()))
def test_a_users_own_law(trial):
    found = max(of_linearity(trial), of_shift(trial))
    target(found)
    assert found <= 1


def test_a_mistake_is_found_and_shrinks():
    quick = settings(max_examples=100, phases=(Phase.generate, Phase.shrink))
    smallest = find(cases(subject(late=True)), lambda trial: of_shift(trial) > 1, settings=quick)
    assert (smallest.case.T, smallest.case.B) == (4, 1)
    assert "T=4, B=1" in repr(smallest)


@settings(max_examples=5)
@given(trial=cases(Reference(), cell="lstm", dtype="float32"))
def test_known_cells_have_cases_too(trial):
    assert trial.case.cell.name == "lstm" and trial.case.x.dtype in (np.float32, np.int64)
    assert margin(trial, trial.outputs, trial.measured.values) <= 1


def test_bad_input_is_one_sentence():
    with pytest.raises(ValueError, match="decay has no cell 'lstm'; there are decay"):
        cases(subject(), cell="lstm")
    with pytest.raises(ValueError, match="decay declares no float16; there are float64"):
        cases(subject(), dtype="float16")
