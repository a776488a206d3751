"""Any recurrent module in PyTorch as an implementation, tested against its own forward pass; no adapter to write."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

from torch import nn

from bpttcheck.adapters.own_function import OwnFunction, cell_of
from bpttcheck.adapters.torch_subject import ModuleSubject
from bpttcheck.cases.blocks import streams
from bpttcheck.contract import Capabilities, Case, CustomCell
from bpttcheck.custom_cell import Shapes, of_sizes
from bpttref import Cell

_SMALL = 64  # sizes that are all tried; larger ones only if they divide a size in the shapes


class TorchModule(ModuleSubject):
    """Your own recurrent module in PyTorch as an implementation: ``module(x, states) -> (y, states)``.

    x is ``(T, B, D)``; states is a mapping of tensors ``(B, ...)``. A cell with streams calls
    ``module(q=.., k=.., states=..)``. If the states have a default it is also called without them. It gets ``lengths``
    ``(B,)`` of int64 and ``resets`` ``(T, B)`` of bool by name if these are among the inputs, or None if a case has
    none, and ``chunk`` if chunks are declared and it has a parameter of that name.

    Parameters
    ----------
    factory : callable
        From (D, H) to a module, whose parameters are filled with the case's; their names have a slash in place of a
        dot: ``layer/weight``.
    states : callable, optional
        From (D, H), or from H, to the shape of each state of one row; h of shape ``(H,)`` if left out.
    width : callable, optional
        From (D, H), or from H, to the number of outputs of a step; H if left out.
    cell : CustomCell, optional
        In place of these two, with streams and domains; the module has the parameters.
    name : str
        The name of the cell; the factory's name if empty.
    device : str
        Where it runs, such as "cuda".
    autocast : bool
        Whether 16 bits mean arrays in float32 under ``torch.autocast``.
    forward_mode : bool
        Whether forward-mode differentiation works.
    **declared
        Other fields of `Capabilities`.

    Raises
    ------
    ValueError
        If ``forward`` has no parameter for what is declared, or the factory makes no module.

    Examples
    --------
    >>> import torch
    >>> class Mine(torch.nn.Module):
    ...     def __init__(self, D, H):
    ...         super().__init__()
    ...         self.rnn = torch.nn.RNN(D, H)
    ...     def forward(self, x, states):
    ...         y, h = self.rnn(x, states["h"][None])
    ...         return y, {"h": h[0]}
    >>> TorchModule(Mine).name
    'Mine'
    """

    def __init__(
        self,
        factory: Callable[[int, int], nn.Module],
        *,
        states: Callable[..., Shapes] | None = None,
        width: Callable[..., int] | None = None,
        cell: CustomCell | None = None,
        name: str = "",
        device: str = "cpu",
        autocast: bool = False,
        forward_mode: bool = True,
        **declared: Any,
    ) -> None:
        super().__init__(device, autocast)
        if not forward_mode:
            self.jvp = None  # type: ignore[method-assign, assignment]
        self.name = name or getattr(factory, "__name__", "module")
        self._factory = factory
        self._found: dict[str, tuple[int, int]] = {}
        self._cell = replace(cell_of(self.name, cell, states=states, width=width), parameters=self._shapes)
        given = {"selects": True, **declared}
        takes = _forward(factory, declared.get("sizes", {}))
        self._call = OwnFunction(self.name, takes, self._cell, given, first=0, what="its forward")

    def capabilities(self) -> Capabilities:
        return self._call.declared

    def module(self, case: Case) -> nn.Module:
        module = self._factory(*self._sizes(case)).to(self.device)
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point() or tensor.is_complex():
                tensor.data = tensor.data.to(self.dtype(case, "fc"[tensor.is_complex()]))
        return module

    def parameters(self, module: nn.Module, case: Case) -> Any:
        return ((_by_name(module),),)

    def unroll(
        self, cell: Cell | CustomCell, parameters: Any, x: Any, initial: Any, lengths: Any, **beside: Any
    ) -> tuple[Any, Any]:
        there = None if lengths is None else lengths.to(self.device)
        y, final = self._call(parameters, (), x, initial and initial[0][0], lengths=there, **beside)
        return y, ((final,),)

    def _shapes(self, D: int, H: int) -> Shapes:
        return {name: tuple(p.shape) for name, p in _by_name(self._factory(D, H)).items()}

    def _sizes(self, case: Case) -> tuple[int, int]:
        """D and H with which the cell has the shapes of a case. Raises ValueError if there are none."""
        x = {name: array.shape[2:] for name, array in streams(case.x).items()}
        states = {n: a.shape[1:] for n, a in case.initial[0][0].items()} if case.initial else None
        parameters = {name: array.shape for name, array in case.parameters[0][0].items()}
        key = str((x, states, parameters))
        if key not in self._found:
            self._found[key] = self._fitting(x, states, parameters)
        return self._found[key]

    def _fitting(self, x: Shapes, states: Shapes | None, parameters: Shapes) -> tuple[int, int]:
        """The same for these shapes. Modules are made only of sizes that the other shapes allow."""
        cell, declared = self._cell, self._call.declared.sizes
        seen = {n for shapes in (x, states or {}, parameters) for shape in shapes.values() for n in (*shape, 1)}
        pool = [n for n in range(1, max(seen) + 1) if n <= _SMALL or any(size % n == 0 for size in seen)]

        def allowed(D: int, H: int) -> bool:
            there = {f"x.{n}": shape for n, shape in cell.streams(D, H).items()} if cell.streams else {"x": (D,)}
            return x in (there, {"x": ()}) and states in (None, of_sizes(cell.states, D, H))

        D_pool = x["x"] if x.get("x") else declared.get("D", pool)
        fitting = [*dict.fromkeys(sizes for sizes in product(D_pool, declared.get("H", pool)) if allowed(*sizes))]
        if len(fitting) > 1:
            fitting = [sizes for sizes in fitting if self._shapes(*sizes) == parameters]
        if not fitting:
            raise ValueError(f"{self.name} has the shapes of a case for no D and H: {x}, {states}, {parameters}")
        return fitting[0]


def _forward(factory: Any, sizes: Mapping[str, Collection[int]]) -> Any:
    """``forward`` of the modules without self; of a small one, unless the factory is their class. Raises ValueError for
    an object that is no factory of modules."""
    if isinstance(factory, type) and issubclass(factory, nn.Module):
        return partial(factory.forward, None)  # type: ignore[attr-defined]
    if isinstance(factory, nn.Module):
        raise ValueError(f"TorchModule takes a function from (D, H) to a module; this is a {type(factory).__name__}")
    D, H = (min(sizes.get(name, (2,))) for name in "DH")
    made = factory(D, H)
    if not isinstance(made, nn.Module):
        kind = type(made).__name__
        raise ValueError(f"TorchModule takes a function from (D, H) to a module, and this one returns a {kind}")
    return made.forward


def _by_name(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name.replace(".", "/"): parameter for name, parameter in module.named_parameters()}
