"""Formats that NumPy does not have, or whose operations are more or less precise: the implementations here round as
declared."""

import numpy as np
import pytest

from bpttcheck import LAWS, Capabilities, judge
from bpttcheck.dtypes import FORMATS, WITHIN, rounded
from bpttcheck.running.results import BAD
from bpttref import CELLS, GRU, LSTM, RNN, Cotangents, Gradients, Outputs, trees, vjp

from ..thorough import some

DTYPES = ("bfloat16", "float16")
SIXTEEN_BITS = some(DTYPES, "bfloat16")


@pytest.mark.parametrize("dtype", FORMATS.keys() - {"float8_e4m3"})
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


def test_float8_has_127_numbers_of_each_sign_and_takes_the_nearest():
    powers = [(1 + m / 8) * 2.0**e for e in range(-6, 9) for m in range(8)]
    numbers = np.array(sorted([m * 2.0**-9 for m in range(8)] + powers)[:-1])  # the largest one is a NaN
    assert len(numbers) == 127 and numbers[-1] == 448
    drawn = np.concatenate([numbers, 2.0 ** np.random.default_rng(1).uniform(-12, 9, 4000)])
    nearest = numbers[np.abs(drawn[:, None] - numbers).argmin(axis=1)]
    found = rounded(drawn, "float8_e4m3").astype(float)
    assert found.tolist() == rounded(found, "float8_e4m3").tolist() and set(found) <= set(numbers)
    np.testing.assert_array_equal(np.abs(found - drawn), np.abs(nearest - drawn))
    assert np.array_equal(rounded(-drawn, "float8_e4m3"), -found)


def to_10_bits(array):
    fraction, exponent = np.frexp(array)
    return np.ldexp(np.rint(fraction * 2**11) / 2**11, exponent)


def arithmetic_of(dtype, operand=None):
    """An array type that rounds the result of every operation, in float64 otherwise, and the operands of a product."""

    class Rounding(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
            plain = [i.view(np.ndarray) if isinstance(i, Rounding) else i for i in inputs]
            if operand is not None and ufunc is np.matmul:
                plain = [operand(array) for array in plain]
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

    def __init__(self, change=lambda case, gradients: gradients, does=None, **declared):
        """does: the format of operations."""
        self.change, self.does = change, does
        self.declared = {"dtypes": DTYPES, "layers": 2, "bidirectional": True, **declared}

    def capabilities(self):
        return Capabilities(cells=CELLS, **self.declared)

    def vjp(self, case):
        operand = {"tf32": to_10_bits, "mixed": lambda a: rounded(a, case.dtype).astype(float)}.get(self.does)
        kind = arithmetic_of("float32" if self.does else case.dtype, operand)

        def returned(tree):
            dtype = "float32" if case.dtype == "float8_e4m3" else case.dtype
            return trees.each(lambda a: rounded(np.asarray(a), dtype), tree)

        given = (trees.each(kind, tree) for tree in (case.parameters, case.x, case.initial))
        outputs, pullback = vjp(case.cell, *given)

        def pull(cotangents):
            gradients = pullback(Cotangents(*(trees.each(kind, part) for part in cotangents)))
            parts = (returned(part) for part in (gradients.x, gradients.parameters, gradients.initial))
            return self.change(case, Gradients(*parts))

        return Outputs(returned(outputs.y), returned(outputs.final)), pull


@pytest.mark.parametrize("dtype", SIXTEEN_BITS)
def test_no_false_alarm(dtype):
    found = {(r.cell, r.law, r.status) for r in judge(SixteenBits(), LAWS, dtypes=[dtype], examples=32, seed=3)}
    assert not {f for f in found if f[2] in ("failed", "error", "unsure")}
    for cell in (RNN("tanh"), LSTM(), GRU("after"), GRU("before")):
        for law in ("forward-reference", "pullback-reference", "causality", "split-resume-pullback"):
            assert (cell.name, law, "passed") in found, law
    assert {s for _, law, s in found if law == "own-forward-derivative"} == {"skipped"}


def test_too_exact_a_dtype_is_reported():
    """float32 results are fine, float64 arrays break the contract."""
    subject = SixteenBits(lambda case, g: g._replace(x=g.x.astype(np.float64)))
    found = {r.law for r in judge(subject, LAWS, dtypes=["bfloat16"], examples=2, shrink=False) if r.status == "failed"}
    assert "gradients-complete" in found


@pytest.mark.parametrize("dtype", SIXTEEN_BITS)
def test_a_gradient_that_is_cut_in_the_middle(dtype):
    """The contribution of a state one step earlier is missing from dx: seen at 8 bits, too."""

    def cut(case, gradients):
        x = gradients.x.copy()
        x[: len(x) // 2] = 0
        return gradients._replace(x=x)

    found = {r.law for r in judge(SixteenBits(cut), LAWS, dtypes=[dtype], examples=8, shrink=False)
             if r.status == "failed"}  # fmt: skip
    assert "pullback-reference" in found


SOME = {"forward-reference", "pullback-reference", "split-resume-pullback", "pieces-alone", "tied-gradient-is-sum",
        "batch-gradient-is-sum", "linear-in-cotangents"}  # fmt: skip


def broken(subject, dtype):
    """Which of some laws it breaks, and the formats of operations that were found."""
    laws, cells = [law for law in LAWS if law.id in SOME], ["lstm", "gru-after"]
    results = [*judge(subject, laws, dtypes=[dtype], cells=cells, examples=12, shrink=False)]
    assert any(result.status == "passed" for result in results)
    return {r.law for r in results if r.status in BAD}, {r.inside for r in results if r.status != "skipped"}


def longer(case, gradients):
    """dW_hh is too long by one part in fifty."""
    parameters = trees.each(np.copy, gradients.parameters)
    for layer in parameters:
        for leaf in layer:
            leaf["W_hh"] = rounded(1.02 * leaf["W_hh"].astype(float), case.dtype)
    return gradients._replace(parameters=parameters)


@pytest.mark.parametrize(("dtype", "inside"), some(WITHIN, *[of for of in WITHIN if of[0] != "float16"]))
def test_operations_of_another_format(dtype, inside):
    """They are correct where that is declared; one part in fifty is seen, except where 8 bits go into each product."""
    declared = {"dtypes": (dtype,), "inside": {dtype: inside}}
    assert broken(SixteenBits(does=inside, **declared), dtype) == (set(), {inside})
    if (dtype, inside) != ("bfloat16", "mixed"):
        assert "pullback-reference" in broken(SixteenBits(longer, does=inside, **declared), dtype)[0]


def test_tf32_fails_where_it_is_not_declared():
    assert "pullback-reference" in broken(SixteenBits(does="tf32", dtypes=("float32",)), "float32")[0]


@pytest.mark.parametrize("dtype", SIXTEEN_BITS)
def test_float32_inside_is_found_out(dtype):
    """Operations that round to 16 bits may pass as mixed ones, in cases as small as these."""
    assert broken(SixteenBits(does="float32"), dtype) == (set(), {"float32"})
    assert broken(SixteenBits(does="mixed"), dtype) == (set(), {"mixed"})
    laws, found = broken(SixteenBits(), dtype)
    assert not laws and "float32" not in found
    assert broken(SixteenBits(inside={dtype: dtype}), dtype) == (set(), {dtype})


def test_weights_in_float8_are_correct_in_float32():
    declared = {"does": "float32", "dtypes": ("float8_e4m3",)}
    assert broken(SixteenBits(**declared), "float8_e4m3") == (set(), {""})
    assert "pullback-reference" in broken(SixteenBits(longer, **declared), "float8_e4m3")[0]


@pytest.mark.parametrize("inside", [{"float64": "tf32"}, {"float16": "float8"}, {"float32": "float64"}])
def test_formats_that_do_not_go_together_are_one_sentence(inside):
    with pytest.raises(ValueError, match=r"inside must be of 'float32': 'tf32', .*; there is"):
        Capabilities(cells=CELLS, inside=inside)
