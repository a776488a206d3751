"""Any recurrent module in PyTorch as a subject, judged against its own forward pass; no adapter to write."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bpttcheck.adapters.torch import linked
from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, Gradients, Outputs, Pullback, Shapes
from bpttref import Blocks, Last, Links, Regular, Window
from bpttref.arrays import Array


class TorchModule:
    """``module(x, states) -> (y, states)``, with x ``(T, B, D)`` and a mapping of states ``(B, ..)``.

    factory: from (D, H) to a module, whose parameters are replaced by those of the case. states: from H to the shape of
    each state of one row, that of the first ending with H. name: of the cell, that of the factory if empty. declared:
    what else goes into its `Capabilities`. Truncated, the module is run segment by segment, and what the states pass
    back at a cut is scaled.
    """

    def __init__(
        self,
        factory: Callable[[int, int], nn.Module],
        *,
        states: Callable[[int], Shapes] = lambda H: {"h": (H,)},
        name: str = "",
        **declared: Any,
    ) -> None:
        torch.set_num_threads(1)  # for problems as small as these, more threads only wait for each other
        self.name = name or getattr(factory, "__name__", "module")
        self._factory = factory
        usual = {"truncations": (Regular, Links)}
        self._declared = Capabilities(cells=(CustomCell(self.name, self._shapes, states),), **(usual | declared))

    def capabilities(self) -> Capabilities:
        return self._declared

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        assert case.initial is not None
        x, parameters, initial = _leaf(case.x), _leaves(case.parameters[0][0]), _leaves(case.initial[0][0])
        wanted = [x, *parameters.values(), *initial.values()]
        y, final = self._run(case, x, parameters, initial)
        outputs = [y, *final.values()]

        def pullback(cotangents: Cotangents) -> Gradients:
            ends = {} if cotangents.final is None else cotangents.final[0][0]
            given = [cotangents.y, *(ends.get(name) for name in final)]
            pairs = [(o, torch.tensor(c)) for o, c in zip(outputs, given, strict=True) if c is not None]
            seen, cotangents_seen = zip(*(pair for pair in pairs if pair[0].requires_grad), strict=True)
            found = torch.autograd.grad(seen, wanted, cotangents_seen, retain_graph=True, allow_unused=True)
            dx, *rest = [torch.zeros_like(w) if g is None else g for w, g in zip(wanted, found, strict=True)]
            by_parameter = dict(zip(parameters, rest[: len(parameters)], strict=True))
            by_state = dict(zip(initial, rest[len(parameters) :], strict=True))
            return Gradients(dx.numpy(), ((_arrays(by_parameter),),), ((_arrays(by_state),),))

        return Outputs(y.detach().numpy(), ((_arrays(final),),)), pullback

    def _run(
        self, case: Case, x: Tensor, parameters: dict[str, Tensor], state: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """y and final states, with the graph cut where the case says."""
        assert not isinstance(case.truncation, Blocks | Window | Last)
        module = self._factory(x.shape[-1], next(iter(state.values())).shape[-1]).to(x.dtype)
        xi = case.truncation.links(len(x)).tolist()
        edges = [0, *(t for t in range(1, len(x)) if xi[t] != 1), len(x)]
        pieces = []
        for start, stop in zip(edges, edges[1:], strict=False):
            if start:
                state = {name: linked(s, xi[start]) for name, s in state.items()}
            y, state = functional_call(module, parameters, (x[start:stop], state))
            pieces.append(y)
        return torch.cat(pieces), dict(state)

    def _shapes(self, D: int, H: int) -> Shapes:
        return {name: tuple(p.shape) for name, p in self._factory(D, H).named_parameters()}


def _leaf(array: Array) -> Tensor:
    return torch.tensor(array, requires_grad=True)


def _leaves(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    return {name: _leaf(array) for name, array in arrays.items()}


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}
