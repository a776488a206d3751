"""The triangle of a function in PyTorch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bpttcheck.watching.reach import Triangle, triangle_of


def reach(f: Callable[[Tensor], Tensor], x: Tensor, *, rows: int | None = None) -> Triangle:
    """See which inputs each output of a function reaches.

    f: from inputs ``(T, ..)`` to losses ``(T,)`` or outputs ``(T, ..)``. x: the inputs, floating; embed tokens first.
    rows: how many outputs to take, spread over the T; all up to T = 128, and 32 beyond, if None.

    Raises ValueError where x is not floating, or the outputs are not as many as the inputs.
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
