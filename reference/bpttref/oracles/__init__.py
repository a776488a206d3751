"""Independent ways to the same gradients. None shares derivative code with the backward pass."""

from bpttref.oracles.complex_step import complex_step
from bpttref.oracles.contributions import contributions, forward_mode
from bpttref.oracles.differences import differences
from bpttref.oracles.linear import linear_gradients
from bpttref.oracles.replicates import Problem, array_at, paths

__all__ = [
    "Problem",
    "array_at",
    "complex_step",
    "contributions",
    "differences",
    "forward_mode",
    "linear_gradients",
    "paths",
]
