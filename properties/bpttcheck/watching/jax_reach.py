"""The triangle of a function in JAX."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, jit, vjp

from bpttcheck.watching.reach import Triangle, triangle_of


def reach(f: Callable[[Any], Any], x: Any, *, rows: int | None = None) -> Triangle:
    """See which inputs each output of a function reaches.

    Parameters
    ----------
    f : callable
        From inputs ``(T, ...)`` to losses ``(T,)`` or outputs ``(T, ...)``: a JAX function with everything else bound,
        such as a training loss before its sum over steps.
    x : Array
        The inputs, floating; embed tokens first.
    rows : int, optional
        How many outputs to take, spread over the T; if left out, all up to T = 128, and 32 beyond.

    Returns
    -------
    Triangle
        It describes itself in words.

    Raises
    ------
    ValueError
        If x is not floating, or there are not as many outputs as inputs.

    Examples
    --------
    >>> print(str(reach(jnp.cumsum, jnp.ones(4))).splitlines()[0])
    Each output reaches all inputs before it: full BPTT.
    """
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"inputs of {x.dtype} have no gradient: give what is computed from them, such as an embedding")
    outputs, pullback = vjp(f, x)
    if not isinstance(outputs, Array):
        raise ValueError(f"f returns {type(outputs).__name__}, and not one array of losses or outputs")
    pull = jit(pullback)
    return triangle_of(np.asarray(x), np.asarray(outputs), lambda cotangent: pull(jnp.asarray(cotangent))[0], rows)
