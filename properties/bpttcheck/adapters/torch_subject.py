"""What adapters on PyTorch share: a forward pass becomes a subject by torch.autograd.

An adapter gives ``unroll``, from parameters and states in the canonical layout. Whatever it does to bring them into the
library's layout is differentiated with the rest, so that gradients come back in the layout of the case.

Truncation is by detach: ``unroll`` runs segment after segment, and what the carried state passes back at a cut is
scaled.
"""

from functools import partial
from typing import Any

import torch

from bpttcheck.adapters.torch import linked
from bpttcheck.blocks import named
from bpttcheck.contract import Case, Cotangents, CustomCell, Gradients, Outputs, Pullback
from bpttref import Blocks, Cell, Last, Window, trees
from bpttref.arrays import Array


class TorchSubject:
    """Base of an adapter."""

    def __init__(self) -> None:
        torch.set_num_threads(1)  # for problems as small as these, more threads only wait for each other

    def unroll(self, cell: Cell | CustomCell, parameters: Any, x: Any, initial: Any, lengths: Any) -> tuple[Any, Any]:
        """y and final states, nested and named as in `Outputs`, from tensors nested and named as in a `Case`."""
        raise NotImplementedError

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        at = Gradients(*trees.each(_leaf, (case.x, case.parameters, case.initial)))
        wanted: dict[str, Any] = named(at)
        outputs = self.outputs(case, at)
        returned: dict[str, Any] = named(outputs)
        seen = {name: output for name, output in returned.items() if output.requires_grad}

        def pullback(cotangents: Cotangents) -> Gradients:
            given = {name: torch.tensor(c) for name, c in named(cotangents).items() if name in seen}
            found = torch.autograd.grad(
                [seen[name] for name in given],
                list(wanted.values()),
                list(given.values()),
                retain_graph=True,
                allow_unused=True,
            )
            gradients = dict(zip(wanted.values(), found, strict=True))

            def gradient(leaf: Any) -> Array:
                g = gradients[leaf]
                return to_numpy(torch.zeros_like(leaf) if g is None else g)

            return Gradients(*trees.each(gradient, at))

        return Outputs(*trees.each(to_numpy, outputs)), pullback

    def outputs(self, case: Case, at: Any) -> Any:
        """`Outputs` in tensors from `Gradients` in tensors, with the graph cut where the case says."""
        assert not isinstance(case.truncation, Blocks | Window | Last)
        T = len(at.x)
        xi = case.truncation.links(T).tolist()
        edges = [0, *(t for t in range(1, T) if xi[t] != 1), T]
        lengths = None if case.lengths is None else torch.tensor(case.lengths)
        state = at.initial
        pieces = []
        for start, stop in zip(edges, edges[1:], strict=False):
            if start:
                link: Any = partial(linked, xi=xi[start])
                state = trees.each(link, state)
            left = None if lengths is None else lengths - start
            piece, state = self.unroll(case.cell, at.parameters, at.x[start:stop], state, left)
            pieces.append(piece)
        y: Any = torch.cat(pieces)
        return Outputs(y, state)


def to_numpy(tensor: Any) -> Array:
    array: Array = tensor.detach().numpy()
    return array


def _leaf(array: Array) -> Any:
    return torch.tensor(array, requires_grad=True)
