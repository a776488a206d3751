"""Any recurrent module in PyTorch as a subject, judged against its own forward pass; no adapter to write."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.func import functional_call

from bpttcheck.adapters.torch_subject import TorchSubject
from bpttcheck.contract import Capabilities, CustomCell, Shapes
from bpttref import Cell, Links, Regular


class TorchModule(TorchSubject):
    """``module(x, states) -> (y, states)``, with x ``(T, B, D)`` and a mapping of states ``(B, ..)``.

    factory: from (D, H) to a module, whose parameters are replaced by those of the case. states: from H to the shape of
    each state of one row, that of the first ending with H. name: of the cell, that of the factory if empty. declared:
    what else goes into its `Capabilities`.
    """

    def __init__(
        self,
        factory: Callable[[int, int], nn.Module],
        *,
        states: Callable[[int], Shapes] = lambda H: {"h": (H,)},
        name: str = "",
        **declared: Any,
    ) -> None:
        super().__init__()
        self.name = name or getattr(factory, "__name__", "module")
        self._factory = factory
        usual = {"truncations": (Regular, Links)}
        self._declared = Capabilities(cells=(CustomCell(self.name, self._shapes, states),), **(usual | declared))

    def capabilities(self) -> Capabilities:
        return self._declared

    def unroll(self, cell: Cell | CustomCell, parameters: Any, x: Any, initial: Any, lengths: Any) -> tuple[Any, Any]:
        ((weights,),), ((state,),) = parameters, initial
        module = self._factory(x.shape[-1], next(iter(state.values())).shape[-1]).to(x.dtype)
        y, final = functional_call(module, weights, (x, state))
        return y, ((final,),)

    def _shapes(self, D: int, H: int) -> Shapes:
        return {name: tuple(p.shape) for name, p in self._factory(D, H).named_parameters()}
