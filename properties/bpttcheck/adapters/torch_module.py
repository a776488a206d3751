"""Any recurrent module in PyTorch as a subject, judged against its own forward pass; no adapter to write."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bpttcheck.adapters.torch_subject import ModuleSubject
from bpttcheck.contract import Capabilities, Case, CustomCell, Shapes
from bpttref import Cell, Links, Regular


class TorchModule(ModuleSubject):
    """``module(x, states) -> (y, states)``, with x ``(T, B, D)`` and a mapping of states ``(B, ..)``.

    factory: from (D, H) to a module, whose parameters are filled with those of the case; their names have a slash for a
    dot: ``layer/weight``. states: from H to the shape of each state of one row, that of the first ending with H.
    width: from H to the number of outputs a step. name: of the cell, that of the factory if empty. device: where it
    runs, such as "cuda". forward_mode: False where a ``torch.autograd.Function`` leaves no jvp. declared: what else
    goes into its `Capabilities`.
    """

    def __init__(
        self,
        factory: Callable[[int, int], nn.Module],
        *,
        states: Callable[[int], Shapes] = lambda H: {"h": (H,)},
        width: Callable[[int], int] = lambda H: H,
        name: str = "",
        device: str = "cpu",
        forward_mode: bool = True,
        **declared: Any,
    ) -> None:
        super().__init__(device)
        if not forward_mode:
            self.jvp = None  # type: ignore[method-assign, assignment]
        self.name = name or getattr(factory, "__name__", "module")
        self._factory = factory
        usual = {"truncations": (Regular, Links)}
        cell = CustomCell(self.name, self._shapes, states, width)
        self._declared = Capabilities(cells=(cell,), **(usual | declared))

    def capabilities(self) -> Capabilities:
        return self._declared

    def module(self, case: Case) -> nn.Module:
        assert case.initial is not None
        H = next(iter(case.initial[0][0].values())).shape[-1]
        return self._factory(case.x.shape[-1], H).to(self.device, getattr(torch, case.dtype))

    def parameters(self, module: nn.Module, case: Case) -> Any:
        return ((_by_name(module),),)

    def unroll(self, cell: Cell | CustomCell, module: Any, x: Any, initial: Any, lengths: Any) -> tuple[Any, Any]:
        y, final = module(x, initial[0][0])
        return y, ((dict(final),),)

    def _shapes(self, D: int, H: int) -> Shapes:
        return {name: tuple(p.shape) for name, p in _by_name(self._factory(D, H)).items()}


def _by_name(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name.replace(".", "/"): parameter for name, parameter in module.named_parameters()}
