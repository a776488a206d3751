"""Keras's layers pass every law on one backend, from KERAS_BACKEND or JAX, and adapters with mistakes do not."""

import importlib
import importlib.util
import os
from dataclasses import replace

import pytest

from bpttcheck import LAWS, judge
from bpttcheck.targets import TargetError, load
from bpttref import RNN, Full

ON = os.environ.get("KERAS_BACKEND") or "jax"
if ON not in ("jax", "torch"):
    pytest.skip(f"Keras is judged on jax and torch, not on {ON}", allow_module_level=True)
if not all(importlib.util.find_spec(library) for library in ("keras", ON)):
    reason = f"keras or {ON} is not installed: python -m pip install '.[keras]', or tox -e keras-{ON}"
    pytest.skip(reason, allow_module_level=True)

SIZES = {"sizes": {"T": (3,), "B": (2,), "D": (3,), "H": (4,)}} if ON == "jax" else {}  # one shape to compile
NEEDED = {"pullback-reference", "forward-mode-duality", "regular-reference", "links-reference"}


def subject_of(**options):
    name = {"jax": "KerasJax", "torch": "KerasTorch"}[ON]
    return getattr(importlib.import_module(f"bpttcheck.adapters.keras_{ON}"), name)(**SIZES, **options)


def statuses(subject, laws=LAWS, dtypes=("float32",), **chosen):
    judged = judge(subject, laws, dtypes=dtypes, examples=8, seed=2, shrink=False, **chosen)
    return {(r.law, r.status) for r in judged}


def failed(found):
    return {law for law, status in found if status in ("failed", "error", "unsure")}


def test_no_false_alarm():
    found = statuses(subject_of())
    assert not failed(found)
    assert {(law, "passed") for law in NEEDED} <= found


REFERENCES = [law for law in LAWS if law.id in {"forward-reference", "pullback-reference", "xray-regular"}]


@pytest.mark.parametrize("layer", [{"go_backwards": True}, {"implementation": 1}], ids=lambda layer: next(iter(layer)))
@pytest.mark.parametrize("cell", ["lstm", "gru-before"])
def test_other_ways_to_run(layer, cell):
    found = statuses(subject_of(layer=layer), laws=REFERENCES, cells=[cell])
    assert found == {(law.id, "passed") for law in REFERENCES}


def test_unrolled():
    subject = subject_of(layer={"unroll": True})
    declared = replace(subject.capabilities(), inputs=("dense", "initial"))
    subject.capabilities = lambda: declared
    assert statuses(subject, laws=REFERENCES, cells=["lstm"]) == {(law.id, "passed") for law in REFERENCES}


@pytest.mark.xfail(reason="Keras 3.15: on JAX zero_output_for_mask is not followed, on PyTorch go_backwards raises")
def test_unrolled_and_masked():
    assert not failed(statuses(subject_of(layer={"unroll": True}), laws=REFERENCES, cells=["lstm"]))


@pytest.mark.xfail(reason="Keras 3.15 computes in float32 where float64 is asked for: keras-team/keras#23704")
def test_float64():
    laws = [law for law in LAWS if law.id == "forward-reference"]
    assert not failed(statuses(subject_of(), laws=laws, dtypes=["float64"], cells=["gru-before"]))


def slip(subject, method, wrong):
    """The implementation, one method of which is ``wrong(right, ...)``."""
    right = getattr(subject, method)
    setattr(subject, method, lambda *arguments: wrong(right, *arguments))
    return subject


def test_a_convention_that_is_forgotten():
    """The order of the gates: r before z."""
    subject = slip(subject_of(), "_weights", lambda right, cell, p: right(RNN("tanh"), p))
    found = failed(statuses(subject, cells=["gru-before"]))
    assert {"forward-reference", "pullback-reference"} <= found and "own-forward-derivative" not in found


def test_a_gradient_that_is_missing():
    import keras

    def wrong(right, cell, p):
        kernel, recurrent_kernel, bias = right(cell, p)
        return kernel, keras.ops.stop_gradient(recurrent_kernel), bias

    found = failed(statuses(slip(subject_of(), "_weights", wrong), cells=["lstm"]))
    assert "pullback-reference" in found and "forward-reference" not in found


def test_a_cut_that_is_not_made():
    subject = slip(subject_of(), "vjp", lambda right, case: right(replace(case, truncation=Full())))
    found = failed(statuses(subject, cells=["rnn-tanh"]))
    assert "xray-regular" in found and "pullback-reference" not in found


def test_a_second_backend_in_one_process():
    subject_of()
    other = {"jax": "torch", "torch": "jax"}[ON]
    with pytest.raises(TargetError, match=f"keras-{other} cannot be loaded: .*Keras runs on {ON} in this process"):
        load(f"keras-{other}")
