"""The interface for JAX: ``from bpttcheck.jax import reach``."""

from bpttcheck.watching.jax_reach import reach
from bpttcheck.watching.reach import Triangle

__all__ = ["Triangle", "reach"]
