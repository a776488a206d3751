"""The triangle of a function in PyTorch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bpttcheck.watching.reach import Triangle, triangle_of


def reach(f: Callable[[Tensor], Tensor], x: Tensor, *, rows: int | None = None) -> Triangle:
    """See which inputs each output of a function reaches.

    Parameters
    ----------
    f : callable
        From inputs ``(T, ...)`` to losses ``(T,)`` or outputs ``(T, ...)``.
    x : Tensor
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
    >>> triangle = reach(lambda x: torch.cumsum(x, 0), torch.ones(4))
    >>> print(str(triangle).splitlines()[0])
    Each output reaches all inputs before it: full BPTT.
    """
    if not x.is_floating_point():
        raise ValueError(f"inputs of {x.dtype} have no gradient: give what is computed from them, such as an embedding")
    given = x.detach().requires_grad_()
    with torch.enable_grad():
        outputs = f(given)
    if not isinstance(outputs, Tensor):
        raise ValueError(f"f returns {type(outputs).__name__}, and not one tensor of losses or outputs")

    def pull(cotangent: Any) -> Any:
        if not outputs.requires_grad:
            return torch.zeros_like(given).numpy(force=True)
        along = torch.as_tensor(cotangent, dtype=outputs.dtype, device=outputs.device)
        (gradient,) = torch.autograd.grad(outputs, given, along, retain_graph=True, materialize_grads=True)
        return gradient.double().numpy(force=True)

    shown = outputs.detach().double().numpy(force=True)
    return triangle_of(given.detach().double().numpy(force=True), shown, pull, rows)
