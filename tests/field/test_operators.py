"""Operators on whole sequences, as kernels are: next to a slow correct one, in chunks, with lengths and resets."""

import re
from functools import partial

import autograd.numpy
import numpy as np
import pytest
from autograd.core import make_vjp

import bpttcheck

DOMAINS = {"g": "(0, 1)"}
FEW = {"examples": 6, "domains": DOMAINS, "sizes": {"T": range(1, 10)}}


def example(B=3, T=5, D=2, H=4):
    """(B, T, ...), as kernels have it."""
    q, k, v = np.zeros((B, T, D)), np.zeros((B, T, D)), np.zeros((B, T, H))
    return {"streams": {"q": q, "k": k, "v": v, "g": np.full((B, T, D), 0.5)}, "state": {"S": np.zeros((B, D, H))}}


def naive(q, k, v, g, S, lengths=None, resets=None):
    """Gated linear attention, step by step: S' = diag(g) S + k v', y = S' q."""
    B, T, _ = q.shape
    there = np.arange(T) < (np.full(B, T) if lengths is None else lengths)[:, None]
    keep = (np.ones((B, T)) if resets is None else 1 - resets).astype(v.dtype)
    states, y = [S], np.zeros_like(v)
    for t in range(T):
        new = (g[:, t] * keep[:, t, None])[:, :, None] * states[-1] + k[:, t, :, None] * v[:, t, None]
        states.append(np.where(there[:, t, None, None], new, states[-1]))
        y[:, t] = np.where(there[:, t, None], np.einsum("bd,bdh->bh", q[:, t], states[-1]), 0)

    def pullback(dy, dS):
        dq, dk, dv, dg = (np.zeros_like(array) for array in (q, k, v, g))
        for t in reversed(range(T)):
            valid = there[:, t, None, None]
            dyt = np.where(valid[:, 0], dy[:, t], 0)
            dq[:, t] = np.einsum("bh,bdh->bd", dyt, states[t + 1])
            dS = dS + q[:, t, :, None] * dyt[:, None]
            here = np.where(valid, dS, 0)
            dk[:, t], dv[:, t] = np.einsum("bdh,bh->bd", here, v[:, t]), np.einsum("bdh,bd->bh", here, k[:, t])
            dg[:, t] = np.einsum("bdh,bdh->bd", here, states[t]) * keep[:, t, None]
            dS = np.where(valid, (g[:, t] * keep[:, t, None])[:, :, None] * dS, dS)
        return {"dq": dq, "dk": dk, "dv": dv, "dg": dg, "dS": dS}

    return y, states[-1], pullback


def chunked(q, k, v, g, S, chunk_size=4, wrong=""):
    """The same, chunk by chunk."""
    parts = []
    for start in range(0, q.shape[1], chunk_size):
        piece = [array[:, start : start + chunk_size] for array in (q, k, v, g)]
        y, S, pull = naive(*piece, S)
        parts.append((start, y, pull))

    def pullback(dy, dS):
        found = []
        for start, y, pull in reversed(parts):
            last = start == parts[-1][0]
            gradients = pull(dy[:, start : start + y.shape[1]], 0 * dS if wrong == "edge" and not last else dS)
            dS = gradients.pop("dS")
            found.insert(0, gradients)
        joined = {name: np.concatenate([part[name] for part in found], axis=1) for name in found[0]} | {"dS": dS}
        return joined | ({"dg": 2 * joined["dg"]} if wrong == "gate" else {})

    y = np.concatenate([y for _, y, _ in parts], axis=1)
    return (1.02 if wrong == "scale" else 1) * y, S, pullback


def test_a_correct_operator_passes():
    bpttcheck.assert_op(chunked, **example(), against=naive, chunk=4, **FEW)


def test_it_is_compared_with_only_a_forward_pass_too():
    def outputs(**given):
        return naive(**given)[:2]

    bpttcheck.assert_op(chunked, **example(), against=outputs, **FEW)
    bpttcheck.assert_op(outputs, **example(), against=naive, **FEW)
    with pytest.raises(AssertionError, match=r"forward-reference on chunked float64: y\[t=0\] is off"):
        bpttcheck.assert_op(partial(chunked, wrong="scale"), **example(), against=outputs, **FEW)


def test_a_diagnosis_uses_the_derivatives_of_the_slow_operator():
    """It has no backward pass, so that no gradient of it could be compared."""

    def outputs(**given):
        return naive(**given)[:2]

    with pytest.raises(AssertionError) as raised:
        bpttcheck.assert_op(partial(chunked, wrong="gate"), **example(), against=outputs, **FEW)
    said = " ".join(str(raised.value).split())
    assert re.search(r"incorrect: x.g \(twice as large\); correct: final.S, initial.S, x.k, x.q, x.v, y", said), said


def test_lengths_resets_and_dtypes_are_arguments():
    bpttcheck.assert_op(naive, **example(), lengths="lengths", resets="resets", dtypes=("float32", "float64"), **FEW)


def test_an_operator_of_another_library_goes_through_one_function():
    def through_autograd(op):
        def on_arrays(**arrays):
            names = list(arrays)
            pull, y = make_vjp(lambda values: op(**dict(zip(names, values, strict=True))), list(arrays.values()))
            return y, lambda dy: {f"d{name}": d for name, d in zip(names, pull(dy), strict=True)}

        return on_arrays

    def decayed(v, g):
        h, y = 0, []
        for t in range(v.shape[1]):
            h = g[:, t] * h + v[:, t]
            y.append(h)
        return autograd.numpy.stack(y, axis=1)

    streams = {"v": np.zeros((3, 5, 2)), "g": np.zeros((3, 5, 2))}
    bpttcheck.assert_op(decayed, streams=streams, batch=0, through=through_autograd, **FEW)
    with pytest.raises(AssertionError, match="forward-reference on late float64: y"):
        late = lambda v, g: decayed(v, g**2)  # noqa: E731
        late.__name__ = "late"
        bpttcheck.assert_op(late, streams=streams, against=decayed, through=through_autograd, **FEW)


@pytest.mark.parametrize(("wrong", "said"), [("edge", "own-forward-derivative|tied|split|pullback"), ("scale", "y")])
def test_an_incorrect_operator_is_caught(wrong, said):
    with pytest.raises(AssertionError, match=said):
        bpttcheck.assert_op(partial(chunked, wrong=wrong), **example(), against=naive, chunk=(2, 4), **FEW)
