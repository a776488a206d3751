"""The products and the sigmoid that every cell uses."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpttref import arrays
from bpttref.arrays import sigmoid


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 99))
def test_sigmoid_is_accurate_in_both_tails_on_any_strides(dtype, rows, gates, seed):
    """Relative to its own size; single columns of a wider array are what a cell with H = 1 hands over."""
    a = (20 * np.random.default_rng(seed).standard_normal((rows, gates))).astype(dtype)
    column = a[:, gates - 1 :]
    expected = 1 / (1 + np.exp(-column.astype(np.longdouble)))
    sigmoid(column, out=column)
    # exp turns the rounding of nothing but its own result into relative error: a handful of roundoffs in all
    assert np.all(np.abs(column - expected) <= 8 * np.finfo(dtype).eps * expected)


@pytest.mark.parametrize("limit", [1, 100, 1000, 10**6])
@given(data=st.data())
def test_a_product_by_blocks_of_columns_is_the_product(limit, data):
    """Whatever the machine: the limit from which on a product goes by blocks is set here."""
    B, K, replicates = (data.draw(st.integers(1, 9), label=name) for name in ("B", "K", "replicates"))
    N = data.draw(st.sampled_from([1, 16, 32, 48, 64, 256]), label="N")
    rng = np.random.default_rng(0)
    rows, matrix = rng.standard_normal((replicates, B, K)), rng.standard_normal((replicates, K, N))
    out = np.full((replicates, B, N), np.nan)
    with mock.patch.object(arrays, "_UNCOPIED", limit):
        arrays.multiply(rows, matrix, out)
    np.testing.assert_allclose(out, rows @ matrix, rtol=1e-12, atol=1e-12)


def test_a_product_by_blocks_is_by_blocks():
    rows, matrix, out = np.ones((4, 8)), np.ones((8, 64)), np.empty((4, 64))
    with mock.patch.object(arrays, "_UNCOPIED", 1000), mock.patch.object(arrays.np, "matmul") as product:
        arrays.multiply(rows, matrix, out)
    (_, blocks), given = product.call_args[0], product.call_args[1]["out"]
    assert blocks.shape == (4, 8, 16) and given.shape == (4, 4, 16) and np.shares_memory(given, out)
