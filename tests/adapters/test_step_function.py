"""A step in NumPy whose cell has streams and a matrix state, and rows that start anew: others are compared with it."""

from functools import partial

import numpy as np
import pytest

from bpttcheck import LAWS, CustomCell, judge
from bpttcheck.adapters.step_function import StepFunction
from bpttcheck.running.own import Own

from ..own_cells import Subject, attention
from .operators import ATTENTION, POLICY, ROTATING

SIZES = {"T": (1, 2), "B": (1, 2), "D": (2,), "H": (2,)}
RESETS = {law.id for law in LAWS if law.family == "resets"}


def step(q, k, v, g, states, carried=1.0):
    S = carried * g[..., None] * states["S"] + k[..., None] * v[..., None, :]
    return np.einsum("bnd,bndh->bnh", q, S), {"S": S}


def policy(parameters, seen, action, masked, states):
    assert action.dtype == np.int64 and masked.dtype == bool
    new = np.tanh(seen @ parameters["W"] + states["h"] @ parameters["U"] + parameters["E"][action])
    h = np.where(masked[:, None], states["h"], new)
    return h, {"h": h}


def wrapped(function, cell, **declared):
    return StepFunction(function, cell=cell, dtypes=("float64",), **{"sizes": SIZES, **declared})


def wrong(subject, laws, examples=6, **options):
    laws = [law for law in LAWS if law.id in laws]
    found = list(judge(subject, laws, examples=examples, seed=2, shrink=False, dtypes=["float64"], **options))
    assert any(result.status == "passed" for result in found)
    return {result.law for result in found if result.status not in ("passed", "skipped", "vacuous")}


@pytest.mark.parametrize("resets_to", ["zeros", "initial"])
def test_streams_and_resets(resets_to):
    assert not wrong(wrapped(step, ATTENTION, resets_to=resets_to), RESETS | {"own-forward-derivative"})
    assert not wrong(wrapped(policy, POLICY, resets_to=resets_to), RESETS | {"own-forward-derivative"})


@pytest.mark.parametrize(("carried", "broken"), [(1.0, set()), (0.9, {"forward-reference", "pullback-reference"})])
def test_another_implementation_is_compared_with_it(carried, broken):
    def renamed(p, x, s):
        return attention(p, {**x, "decay": x["g"]}, s)

    subject = Subject(ATTENTION, renamed, sizes=SIZES)
    right = wrapped(partial(step, carried=carried), ATTENTION)
    laws = {"forward-reference", "pullback-reference"}
    found = wrong(subject, laws | {"same-call-same-result"}, own=Own(against=right))
    assert broken & found == found and bool(found) == bool(broken)


@pytest.mark.parametrize(("cell", "declared", "sentence"), [
    (ATTENTION, {"inputs": ("dense", "initial", "lengths")}, "cannot take the lengths of rows"),
    (ATTENTION, {"width": lambda H: H}, "step is declared by a cell and by its width; the cell is enough"),
    (ROTATING, {}, "the step step has complex numbers"),
    (CustomCell("more", streams=lambda D, H: {"w": (D,)}), {}, "has a stream w, but it has no parameter 'w'"),
])  # fmt: skip
def test_unsupported_features_of_a_step_are_one_sentence(cell, declared, sentence):
    with pytest.raises(ValueError, match=sentence):
        wrapped(step, cell, **declared)
