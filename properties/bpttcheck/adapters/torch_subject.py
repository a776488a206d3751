"""What adapters on PyTorch share: a forward pass becomes a subject by torch.autograd.

An adapter gives ``unroll``, from parameters and states in the canonical layout. Whatever it does to bring them into the
library's layout is differentiated with the rest, so that gradients come back in the layout of the case.

Truncation is by detach: ``unroll`` runs segment after segment, and what the carried state passes back at a cut is scaled.
"""

from typing import Any

import torch
from torch import Tensor

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
        outputs = self._outputs(case, at)
        seen = {name: output for name, output in named(outputs).items() if output.requires_grad}

        def pullback(cotangents: Cotangents) -> Gradients:
            given = {name: torch.tensor(c) for name, c in named(cotangents).items() if name in seen}
            wanted = tuple(named(at).values())
            found = torch.autograd.grad(
                [seen[name] for name in given], wanted, list(given.values()), retain_graph=True, allow_unused=True
            )
            gradients = dict(zip(wanted, found, strict=True))

            def gradient(leaf: Any) -> Array:
                g = gradients[leaf]
                array: Array = (torch.zeros_like(leaf) if g is None else g).numpy()
                return array

            return Gradients(*trees.each(gradient, at))

        return Outputs(*trees.each(lambda output: output.detach().numpy(), outputs)), pullback

    def _outputs(self, case: Case, at: Gradients) -> Outputs:
        """y and final states, with the graph cut where the case says."""
        assert not isinstance(case.truncation, Blocks | Window | Last) and at.x is not None
        T = len(at.x)
        xi = case.truncation.links(T).tolist()
        edges = [0, *(t for t in range(1, T) if xi[t] != 1), T]
        lengths = None if case.lengths is None else torch.tensor(case.lengths)
        state: Any = at.initial
        pieces = []
        for start, stop in zip(edges, edges[1:], strict=False):
            if start:
                state = trees.each(lambda s, xi=xi[start]: linked(s, xi), state)
            left = None if lengths is None else lengths - start
            piece, state = self.unroll(case.cell, at.parameters, at.x[start:stop], state, left)
            pieces.append(piece)
        return Outputs(torch.cat(pieces), state)


def _leaf(array: Array) -> Tensor:
    return torch.tensor(array, requires_grad=True)
