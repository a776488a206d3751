"""The products and the sigmoid that every cell uses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpttref.arrays import sigmoid


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 99))
def test_sigmoid_is_accurate_in_both_tails_on_any_strides(dtype, rows, gates, seed):
    """Relative to its own size; a cell with H = 1 passes single columns of a wider array."""
    a = (20 * np.random.default_rng(seed).standard_normal((rows, gates))).astype(dtype)
    column = a[:, gates - 1 :]
    expected = 1 / (1 + np.exp(-column.astype(np.longdouble)))
    sigmoid(column, out=column)
    # exp turns only the rounding of its own result into relative error: a few roundoffs in all
    assert np.all(np.abs(column - expected) <= 8 * np.finfo(dtype).eps * expected)
