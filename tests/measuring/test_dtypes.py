"""Formats of 16 bits: NumPy has no bfloat16, so a subject is made here whose every operation rounds to it."""

import numpy as np
import pytest

from bpttcheck import LAWS, Capabilities, judge
from bpttcheck.dtypes import FORMATS, rounded
from bpttref import CELLS, GRU, LSTM, RNN, Cotangents, Gradients, Outputs, trees, vjp

DTYPES = ("bfloat16", "float16")


@pytest.mark.parametrize("dtype", FORMATS)
def test_rounding(dtype):
    eps = FORMATS[dtype].eps
    values = np.array([1 + eps, 1 + eps / 2, 1 + eps * 3 / 2, -1 - eps * 0.6, 0, np.inf, -np.inf])
    if dtype == "float64":  # in which the middles do not exist
        values = rounded(values, dtype)
    expected = [1 + eps, 1, 1 + 2 * eps, -1 - eps, 0, np.inf, -np.inf]
    np.testing.assert_array_equal(rounded(values, dtype), np.where(dtype == "float64", values, expected))
    assert np.isnan(rounded(np.array([np.nan]), dtype)) and rounded(values, dtype).dtype == FORMATS[dtype].storage


def test_bfloat16_is_float32_without_its_last_16_bits():
    numbers = rounded(np.random.default_rng(1).standard_normal(1000), "bfloat16")
    assert not np.any(numbers.view(np.uint32) & 0xFFFF)
    assert rounded(np.array([FORMATS["bfloat16"].most]), "bfloat16") == FORMATS["bfloat16"].most


def arithmetic_of(dtype):
    """An array type that rounds the result of every operation, in float64 otherwise."""

    class Rounding(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
            plain = [i.view(np.ndarray) if isinstance(i, Rounding) else i for i in inputs]
            result = np.asarray(getattr(ufunc, method)(*plain, **options))
            if result.dtype.kind == "f":
                result = rounded(result, dtype).astype(np.float64)
            if out is None:
                return result.view(Rounding)
            out[0].view(np.ndarray)[...] = result
            return out[0]

    return lambda array: array.astype(np.float64).view(Rounding)


class SixteenBits:
    """The reference in the arithmetic of a format, with gradients changed by a function."""

    name = "sixteen bits"

    def __init__(self, change=lambda case, gradients: gradients):
        self.change = change

    def capabilities(self):
        return Capabilities(cells=CELLS, dtypes=DTYPES, layers=2, bidirectional=True)

    def vjp(self, case):
        kind, storage = arithmetic_of(case.dtype), FORMATS[case.dtype].storage

        def returned(tree):
            return trees.each(lambda a: np.asarray(a).astype(storage), tree)

        given = (trees.each(kind, tree) for tree in (case.parameters, case.x, case.initial))
        outputs, pullback = vjp(case.cell, *given)

        def pull(cotangents):
            gradients = pullback(Cotangents(*(trees.each(kind, part) for part in cotangents)))
            parts = (returned(part) for part in (gradients.x, gradients.parameters, gradients.initial))
            return self.change(case, Gradients(*parts))

        return Outputs(returned(outputs.y), returned(outputs.final)), pull


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_false_alarm(dtype):
    found = {(r.cell, r.law, r.status) for r in judge(SixteenBits(), LAWS, dtypes=[dtype], examples=32, seed=3)}
    assert not {f for f in found if f[2] in ("failed", "error", "unsure")}
    for cell in (RNN("tanh"), LSTM(), GRU("after"), GRU("before")):
        for law in ("forward-reference", "pullback-reference", "causality", "split-resume-pullback"):
            assert (cell.name, law, "passed") in found, law
    assert {s for _, law, s in found if law == "own-forward-derivative"} == {"skipped"}


def test_too_exact_a_dtype_is_told():
    """float32 results are fine, float64 arrays are not what the contract asks for."""
    subject = SixteenBits(lambda case, g: g._replace(x=g.x.astype(np.float64)))
    found = {r.law for r in judge(subject, LAWS, dtypes=["bfloat16"], examples=2, shrink=False) if r.status == "failed"}
    assert "gradients-complete" in found


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gradient_that_is_cut_in_the_middle(dtype):
    """What a state one step earlier would add is missing from dx: seen at 8 bits, too."""

    def cut(case, gradients):
        x = gradients.x.copy()
        x[: len(x) // 2] = 0
        return gradients._replace(x=x)

    found = {r.law for r in judge(SixteenBits(cut), LAWS, dtypes=[dtype], examples=8, shrink=False)
             if r.status == "failed"}  # fmt: skip
    assert "pullback-reference" in found
