"""Any recurrent module in PyTorch as a subject, judged against its own forward pass; no adapter to write."""

from collections.abc import Callable, Collection, Mapping
from inspect import Parameter, signature
from typing import Any

import torch
from torch import nn

from bpttcheck.adapters.torch_subject import ModuleSubject
from bpttcheck.cases.case_file import units
from bpttcheck.contract import Capabilities, Case, CustomCell, refuse_resets
from bpttcheck.custom_cell import Shapes
from bpttref import Cell, Links, Regular


class TorchModule(ModuleSubject):
    """``module(x, states) -> (y, states)``, with x ``(T, B, D)`` and a mapping of states ``(B, ..)``.

    A module of which the second parameter has a default is called without states, too. With "lengths" among the inputs
    it is ``module(x, states, lengths=lengths)``, a tensor ``(B,)`` of int64 on the device of x, or None where all rows
    have T steps.

    factory: from (D, H) to a module, whose parameters are filled with those of the case; their names have a slash for a
    dot: ``layer/weight``. states: from H to the shape of each state of one row, that of the first ending with H.
    width: from H to the number of outputs a step. name: of the cell, that of the factory if empty. device: where it
    runs, such as "cuda". forward_mode: False where a ``torch.autograd.Function`` leaves no jvp. declared: what else
    goes into its `Capabilities`.

    Raises ValueError where lengths are declared and ``forward`` has no parameter of that name.
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
        refuse_resets(self.name, declared.get("inputs", ()))
        self._factory = factory
        self._takes_lengths = "lengths" in declared.get("inputs", ())
        takes = _arguments(factory, declared.get("sizes", {}))
        if self._takes_lengths and not any(a.name == "lengths" or a.kind is a.VAR_KEYWORD for a in takes):
            raise ValueError(f"{self.name} is declared to take lengths, but its forward has no parameter 'lengths'")
        optional = len(takes) > 1 and takes[1].default is not takes[1].empty
        usual: dict[str, Any] = {
            "truncations": (Regular, Links),
            "selects": True,
            "default_initial": "zeros" if optional else "none",
        }
        cell = CustomCell(self.name, self._shapes, states, width)
        self._declared = Capabilities(cells=(cell,), **(usual | declared))

    def capabilities(self) -> Capabilities:
        return self._declared

    def module(self, case: Case) -> nn.Module:
        D = case.x.shape[-1]
        shapes = {name: array.shape for name, array in case.parameters[0][0].items()}
        if case.initial is None:
            H = units(lambda H: self._shapes(D, H), shapes)
        else:
            H = next(iter(case.initial[0][0].values())).shape[-1]
        return self._factory(D, H).to(self.device, getattr(torch, case.dtype))

    def parameters(self, module: nn.Module, case: Case) -> Any:
        return ((_by_name(module),),)

    def unroll(self, cell: Cell | CustomCell, module: Any, x: Any, initial: Any, lengths: Any) -> tuple[Any, Any]:
        states = () if initial is None else (initial[0][0],)
        y, final = module(x, *states, **({"lengths": _beside(x, lengths)} if self._takes_lengths else {}))
        return y, ((dict(final),),)

    def _shapes(self, D: int, H: int) -> Shapes:
        return {name: tuple(p.shape) for name, p in _by_name(self._factory(D, H)).items()}


def _arguments(factory: Any, sizes: Mapping[str, Collection[int]]) -> list[Parameter]:
    """What ``forward`` of the modules takes; of small ones, unless the factory is their class."""
    is_class = isinstance(factory, type) and issubclass(factory, nn.Module)
    if is_class:
        return [*signature(factory.forward).parameters.values()][1:]
    D, H = (min(sizes.get(name, (2,))) for name in "DH")
    return [*signature(factory(D, H).forward).parameters.values()]


def _beside(x: Any, lengths: Any) -> Any:
    return None if lengths is None else lengths.to(x.device)


def _by_name(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name.replace(".", "/"): parameter for name, parameter in module.named_parameters()}
