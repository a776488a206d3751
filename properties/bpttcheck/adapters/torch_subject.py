"""What adapters on PyTorch share: a forward pass becomes a subject by torch.autograd, reverse and forward.

A `TorchSubject` gives ``unroll``, from parameters and states in the canonical layout. Whatever it does to bring them
into the library's layout is differentiated with the rest, so that gradients come back in the layout of the case. A
`ModuleSubject` runs a module that holds the numbers itself, as PyTorch's users do.

Only what a case wants is differentiated by, and where it wants outputs alone they are computed under ``torch.no_grad``.
The graph is retained only where a pullback may be called again: PyTorch takes other paths for each.

Truncation is by detach: ``unroll`` runs segment after segment, and the carried state is detached at a cut, or scaled in
the backward pass alone where a link has another multiplier.

In float32 a GPU multiplies matrices in TF32, of 10 bits, where it may, as cuDNN's recurrent layers may unless they are
told otherwise, and then no tolerance of float32 means anything. A subject switches it off, for the whole process.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.autograd.forward_ad as forward_mode
from torch import Tensor, nn

from bpttcheck.cases.blocks import named
from bpttcheck.cases.changes import with_arrays
from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, Gradients, Outputs, Pullback
from bpttcheck.measuring.completeness import kind
from bpttcheck.targets import TargetError
from bpttref import Blocks, Cell, Last, Window, trees
from bpttref.arrays import Array


class TorchSubject:
    """Base of an adapter.

    device: where it runs, such as "cuda". Elsewhere than on the CPU it offers no jvp, since the fused kernels there
    have no forward mode. Raises TargetError where there is no such device.
    """

    name: str

    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise TargetError(f"device {device} was asked for, and torch {torch.__version__} finds no CUDA device")
        if self.device.type != "cpu":
            self.jvp = None  # type: ignore[method-assign, assignment]
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        torch.set_num_threads(1)  # for problems as small as these, more threads only wait for each other

    def capabilities(self) -> Capabilities:
        """As of any implementation."""
        raise NotImplementedError

    def unroll(self, cell: Cell | CustomCell, parameters: Any, x: Any, initial: Any, lengths: Any) -> tuple[Any, Any]:
        """y and final states, nested and named as in `Outputs`, from tensors nested and named as in a `Case`; but for
        ``parameters``, which are what `held` says. Lengths are on the CPU. Without initial states initial is None."""
        raise NotImplementedError

    def held(self, case: Case, parameters: Any) -> tuple[Any, Any]:
        """What `unroll` gets for the parameters, and the tensors in it by which is differentiated, nested as they."""
        return parameters, parameters

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        case = replace(case, objective=None)
        with torch.set_grad_enabled(case.wanted != frozenset()):
            parameters, at = self._placed(case, _leaf)
            y, final = self._run(parameters, at)
        outputs: dict[str, Any] = named(Outputs(y, final))

        def pullback(cotangents: Cotangents) -> Gradients:
            given = {
                name: self._tensor(case, a) for name, a in named(cotangents).items() if outputs[name].requires_grad
            }
            retain = self.capabilities().reusable and not case.once
            return self._gradients(case, at, [outputs[name] for name in given], list(given.values()), retain)

        return Outputs(*trees.each(self._array, (y, final))), pullback

    def loss_and_gradients(self, case: Case) -> tuple[Outputs, Gradients]:
        """A training step: nn.functional.linear, a loss of nn.functional, and gradients for everything."""
        parameters, at = self._placed(case, _leaf)
        y, _ = self._run(parameters, at)
        objective: Any = at.objective
        o = y if objective.kind == "linear" else nn.functional.linear(y, objective.W_qh, objective.b_q)
        if objective.kind == "cross-entropy":
            targets = torch.tensor(objective.targets, device=self.device)
            losses = nn.functional.cross_entropy(o.mT, targets, reduction="none")
        else:
            targets = self._tensor(case, objective.targets)
            if objective.kind == "squared-error":
                losses = nn.functional.mse_loss(o, targets, reduction="none").sum(-1) / 2
            else:
                losses = torch.sum(targets * o, -1)
        loss = torch.sum(self._tensor(case, objective.factors) * losses)
        return Outputs(None, None, loss.item()), self._gradients(case, at, [loss], [torch.ones_like(loss)], False)

    def jvp(self, case: Case, tangents: Gradients) -> Outputs:
        """The pushforward by dual numbers, without oneDNN, whose LSTM has none."""
        case, moves = replace(case, objective=None), named(tangents)

        def dual(name: str, tensor: Any) -> Any:
            return forward_mode.make_dual(tensor, self._tensor(case, moves[name]))

        def tangent(output: Any) -> Array:
            moved = forward_mode.unpack_dual(output).tangent
            return self._array(torch.zeros_like(output) if moved is None else moved)

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)  # of its own, at the first call
            warnings.filterwarnings("ignore", "TF32 acceleration on top of oneDNN", UserWarning)  # the flags' own
            with forward_mode.dual_level(), torch.backends.mkldnn.flags(enabled=False):
                return Outputs(*trees.each(tangent, self._run(*self._placed(case, dual))))

    def _placed(self, case: Case, change: Callable[[str, Any], Any]) -> tuple[Any, Case]:
        """What `unroll` gets for the parameters, and the case with ``change(name, tensor)`` in place of each array."""
        at = with_arrays(case, lambda name, array: change(name, self._tensor(case, array)))
        parameters, own = self.held(case, at.parameters)
        at = replace(at, parameters=own)
        for name, tensor in _tensors(at).items():
            if not _wants(case, kind(name)):
                tensor.requires_grad_(False)
        return parameters, at

    def _run(self, parameters: Any, at: Case) -> tuple[Any, Any]:
        """y and final states, with the graph cut where the case says."""
        assert not isinstance(at.truncation, Blocks | Window | Last)
        x: Any = at.x
        states: Any = at.initial
        xi = at.truncation.links(len(x)).tolist()
        lengths = None if at.lengths is None else torch.tensor(at.lengths, device="cpu")
        edges = [0, *(t for t in range(1, len(x)) if xi[t] != 1), len(x)]
        if lengths is None or len(edges) == 2:
            left = [lengths] * (len(edges) - 1)
        else:
            left = [lengths - start for start in edges[:-1]]
        pieces = []
        for start, stop, rest in zip(edges, edges[1:], left, strict=False):
            if start:
                linked_states = trees.each(partial(linked, xi=xi[start]), states)
                states = linked_states if rest is None else _where(rest > 0, linked_states, states)
            y, states = self._piece(at, parameters, x[start:stop], states, rest)
            pieces.append(y)
        return torch.cat(pieces), states

    def _piece(self, at: Case, parameters: Any, x: Any, states: Any, left: Any) -> tuple[Any, Any]:
        """Some steps in one call. left: how many are left of each row, which no call is made for where there are none:
        such a row is run on zeros, and its state stays."""
        if left is None or bool((left > 0).all()):
            return self.unroll(at.cell, parameters, x, states, left if left is None else left.clamp(max=len(x)))
        live = left > 0
        x = torch.where(live.to(x.device)[:, None], x, 0)
        y, after = self.unroll(at.cell, parameters, x, states, left.clamp(1, len(x)))
        return torch.where(live.to(y.device)[:, None], y, 0), _where(live, after, states)

    def _gradients(
        self, case: Case, at: Case, outputs: list[Tensor], cotangents: list[Tensor], retain: bool
    ) -> Gradients:
        """Of what the case wants. retain: whether the graph is kept for another call."""
        by = {name: tensor for name, tensor in _tensors(at).items() if _wants(case, kind(name))}
        found = torch.autograd.grad(
            outputs, list(by.values()), cotangents, retain_graph=retain, allow_unused=True, materialize_grads=True
        )
        arrays: dict[str, Any] = dict(zip(by, map(self._array, found), strict=True))
        shaped = with_arrays(case, lambda name, _: arrays.get(name, np.zeros(0)))
        readout = shaped.objective.readout if shaped.objective else None
        return Gradients(
            shaped.x if _wants(case, "x") else None,
            shaped.parameters if _wants(case, "parameters") else None,
            shaped.initial if _wants(case, "initial") else None,
            readout if _wants(case, "parameters") else None,
        )

    def _tensor(self, case: Case, array: Array) -> Any:
        """A copy in the dtype of the case, on the device."""
        return torch.tensor(array, dtype=getattr(torch, case.dtype), device=self.device)

    def _array(self, tensor: Any) -> Array:
        """NumPy has no bfloat16: what is in it comes back in float32, as the contract has it."""
        array: Array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().cpu().numpy()
        return array


def _leaf(name: str, tensor: Any) -> Any:
    return tensor.requires_grad_()


def _tensors(at: Case) -> dict[str, Any]:
    """What is differentiated by, by name."""
    return named(Gradients(at.x, at.parameters, at.initial, at.objective.readout if at.objective else None))


def _wants(case: Case, what: str) -> bool:
    """Whether gradients of "x", "parameters" or "initial" are wanted."""
    return case.wanted is None or what in case.wanted


class ModuleSubject(TorchSubject):
    """Base of an adapter whose module holds the numbers of a case. `unroll` gets it for the parameters."""

    def module(self, case: Case) -> nn.Module:
        """A module for cases of this shape and dtype, on the device; whatever its parameters hold is overwritten."""
        raise NotImplementedError

    def parameters(self, module: nn.Module, case: Case) -> Any:
        """The module's own parameters, nested and named as those of the case."""
        raise NotImplementedError

    def held(self, case: Case, parameters: Any) -> tuple[Any, Any]:
        module = self.module(case)
        own = self.parameters(module, case)
        values, places = (named(Gradients(None, tree, None)) for tree in (parameters, own))
        with torch.no_grad():
            for name, place in places.items():
                parameter: Any = place
                parameter.requires_grad_().copy_(values[name])
        return module, own


def _where(live: Any, new: Any, old: Any) -> Any:
    """States ``new`` of the rows that are ``live``, and ``old`` of the others."""
    if isinstance(new, tuple):
        return tuple(_where(live, a, b) for a, b in zip(new, old, strict=True))
    return {name: torch.where(live.to(new[name].device)[:, None], new[name], old[name]) for name in new}


def linked(state: Any, xi: float) -> Any:
    """A state as it is, whose cotangent is multiplied by ``xi`` on its way back; cut where that is 0."""
    cut = state.detach()
    return cut if xi == 0 else cut + xi * (state - cut)
