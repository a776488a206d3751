"""Any function of tensors as an implementation: a functional kernel, an operator, with or without parameters."""

from collections.abc import Callable
from typing import Any

from torch import nn

from bpttcheck.adapters.own_function import OwnFunction
from bpttcheck.adapters.torch_subject import TorchSubject
from bpttcheck.contract import Capabilities, CustomCell
from bpttref import Cell


class TorchFunction(TorchSubject):
    """Your own function of tensors as an implementation: ``function(x, states) -> (y, states)``.

    x is ``(T, B, D)``; states is a mapping of tensors ``(B, ...)``. A cell with streams calls
    ``function(q=.., k=.., states=..)``, each stream ``(T, B, ...)``.

    Parameters
    ----------
    function : callable
        If the cell has parameters it gets a mapping of them first; if the cell has no states it takes and returns none.
        If its states have a default it is also called without them. It gets ``lengths`` ``(B,)`` of int64 and
        ``resets`` ``(T, B)`` of bool by name if these are among the inputs, or None if a case has none, and ``chunk``
        if chunks are declared and it has a parameter of that name.
    cell : CustomCell
        The cell that it computes.
    name : str
        The name in reports; the function's name if empty.
    device : str
        Where it runs, such as "cuda".
    autocast : bool
        Whether 16 bits mean arrays in float32 under ``torch.autocast``.
    **declared
        Other fields of `Capabilities`.

    Raises
    ------
    ValueError
        If the function is a module, or does not take what is declared.

    Examples
    --------
    >>> import torch
    >>> from bpttcheck import CustomCell
    >>> SUM = CustomCell("sum", streams=lambda D, H: {"v": (H,)})
    >>> def run(v):
    ...     return torch.cumsum(v, 0)
    >>> TorchFunction(run, cell=SUM, outputs=("y",), name="sum").name
    'sum'
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
            raise ValueError(f"TorchFunction takes no module; {type(function).__name__} needs TorchModule")
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
