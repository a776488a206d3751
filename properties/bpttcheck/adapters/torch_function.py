"""Any function of tensors as an implementation: a functional kernel, an operator, with or without parameters."""

from collections.abc import Callable
from typing import Any

from torch import nn

from bpttcheck.adapters.own_function import OwnFunction
from bpttcheck.adapters.torch_subject import TorchSubject
from bpttcheck.contract import Capabilities, CustomCell
from bpttref import Cell


class TorchFunction(TorchSubject):
    """``function(q=.., k=.., states=..) -> (y, states)`` for a cell with streams q and k, each ``(T, B, ..)``, and a
    mapping of states ``(B, ..)``; ``function(x, states)`` for one with a single input.

    function: a cell with parameters has a mapping of them as its first argument; a cell without states gives and takes
    none. If the states have a default it is called without them, too. It gets ``lengths`` ``(B,)`` of int64 and
    ``resets`` ``(T, B)`` of bool by name where these are among the inputs, or None where a case has none, and ``chunk``
    where chunks are declared and it has a parameter of that name.
    cell: a `CustomCell`. name: what reports call it, the function's own if empty. device: where it runs, such as
    "cuda". autocast: whether 16 bits mean arrays in float32 under ``torch.autocast``. declared: what else goes into its
    `Capabilities`.

    Raises ValueError where the function is a module, or does not take what is declared.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        cell: CustomCell,
        name: str = "",
        device: str = "cpu",
        autocast: bool = False,
        **declared: Any,
    ) -> None:
        super().__init__(device, autocast)
        if isinstance(function, nn.Module):
            raise ValueError(f"TorchFunction takes no module; {type(function).__name__} is one for TorchModule")
        self.name = name or getattr(function, "__name__", "function")
        self._function, self._has_parameters = function, cell.parameters is not CustomCell.parameters
        first = int(self._has_parameters)
        self._call = OwnFunction(self.name, function, cell, {"selects": True, **declared}, first=first)

    def capabilities(self) -> Capabilities:
        return self._call.declared

    def unroll(
        self, cell: Cell | CustomCell, parameters: Any, x: Any, initial: Any, lengths: Any, **beside: Any
    ) -> tuple[Any, Any]:
        first = (parameters[0][0],) if self._has_parameters else ()
        y, final = self._call(self._function, first, x, initial and initial[0][0], lengths=lengths, **beside)
        return y, ((final,),)
