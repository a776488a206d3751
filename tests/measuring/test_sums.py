"""A sum in float32, one term after the other, is correct however long it is; a sum that lacks some terms is seen."""

from fractions import Fraction

import numpy as np
import pytest

from bpttcheck import Case
from bpttcheck.dtypes import FORMATS
from bpttcheck.measuring.noise import Noise
from bpttcheck.measuring.tolerance import allowed
from bpttref import LSTM

M, N = 4, 3


def terms(kind, K, rng):
    """Factors ``(M, K)`` and ``(K, N)`` of products that are added up."""
    a, b = rng.standard_normal((M, K)), rng.standard_normal((K, N))
    if kind == "of one sign":
        a, b = a + 3, b + 3
    if kind == "alike":
        a, b = np.repeat(a[:, :1], K, 1), np.repeat(b[:1], K, 0)
    if kind == "that cancel":
        a[:, K // 2 : 2 * (K // 2)] = a[:, : K // 2]
        b[K // 2 : 2 * (K // 2)] = -b[: K // 2] * (1 + 1e-3 * rng.standard_normal(b[: K // 2].shape))
    return a.astype(np.float32), b.astype(np.float32)


def tolerance(a, b, K, seed, replicates):
    """The scale of error of a sum over all steps and rows, as in the reference's gradients of parameters."""
    x = np.random.default_rng(seed).standard_normal((K, 1, 1)).astype(np.float32)
    noise = Noise(Case(LSTM(), "float32", (), x))
    left, right = (np.repeat(array.astype(float)[None], replicates, 0).view(noise.array) for array in (a, b))
    exact = a.astype(float) @ b.astype(float)
    noisy = np.asarray(np.ascontiguousarray(left.swapaxes(-1, -2)).swapaxes(-1, -2) @ right)
    return allowed(float(np.abs(noisy - exact).max()), float(np.abs(exact).max()), FORMATS["float32"], 1, K), exact


@pytest.mark.parametrize("K", [3, 100, 1000, 6400])
@pytest.mark.parametrize("kind", ["at random", "of one sign", "alike", "that cancel"])
def test_sums_one_after_the_other_are_correct(kind, K):
    for seed in range(10):
        a, b = terms(kind, K, np.random.default_rng(seed))
        summed = np.cumsum(a[:, :, None] * b[None], axis=1, dtype=np.float32)[:, -1]
        most, exact = tolerance(a, b, K, seed, 8)
        assert np.abs(summed - exact).max() < most / 2


@pytest.mark.parametrize("K", [3, 100, 1000, 6400])
@pytest.mark.parametrize("kind", ["at random", "of one sign", "alike"])
def test_a_hundredth_of_the_terms_that_is_missing_is_seen(kind, K):
    first = max(1, K // 100)
    for seed in range(10):
        a, b = (array.astype(float) for array in terms(kind, K, np.random.default_rng(seed)))
        most, exact = tolerance(a, b, K, seed, 8)
        assert np.abs(a[:, first:] @ b[first:] - exact).max() > most


@pytest.mark.parametrize("term", [0.1, 0.58, 1 / 3, 0.9])
def test_like_terms_in_float64(term):
    """The scale of error is then the reference's own rounding, which does not show how much of a sum is alike."""
    K = 3937
    exact, total = Fraction(term) * K, float(np.cumsum(np.full(K, term))[-1])
    tolerance = allowed(4 * 2.0**-52 * total, total, FORMATS["float64"], 1, K)
    assert abs(Fraction(total) - exact) <= tolerance < 1e-11 * total


def test_a_sum_of_nothing():
    """Without steps a gradient is zero, and next to nothing is allowed."""
    assert 0 < allowed(0.0, 0.0, FORMATS["float32"], 1, 0) < 1e-30
