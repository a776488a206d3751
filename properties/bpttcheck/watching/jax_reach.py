"""The triangle of a function in JAX."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, jit, vjp

from bpttcheck.watching.reach import Triangle, triangle_of


def reach(f: Callable[[Any], Any], x: Any, *, rows: int | None = None) -> Triangle:
    """See which inputs each output of a function reaches.

    f: from inputs ``(T, ..)`` to losses ``(T,)`` or outputs ``(T, ..)``, a JAX function with everything else bound; a
    training loss before its sum over steps. x: the inputs, floating; embed tokens first. rows: how many outputs to
    take, spread over the T; all up to T = 128, and 32 beyond, if None.

    Raises ValueError where x is not floating, or the outputs are not as many as the inputs.
    """
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"inputs of {x.dtype} have no gradient: give what is computed from them, such as an embedding")
    outputs, pullback = vjp(f, x)
    if not isinstance(outputs, Array):
        raise ValueError(f"f returns {type(outputs).__name__}, and not one array of losses or outputs")
    pull = jit(pullback)
    return triangle_of(np.asarray(x), np.asarray(outputs), lambda cotangent: pull(jnp.asarray(cotangent))[0], rows)
