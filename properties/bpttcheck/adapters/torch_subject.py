"""The base of adapters on PyTorch: a forward pass becomes an implementation by torch.autograd, reverse and forward.

A `TorchSubject` gives ``unroll``, from parameters and states in the canonical layout. Whatever it does to bring them
into the library's layout is differentiated with the rest, so that gradients come back in the layout of the case. A
`ModuleSubject` runs a module that holds the numbers itself, as PyTorch's users do.

Only the gradients that a case wants are computed; where it wants only outputs, the call runs under ``torch.no_grad``.
The graph is retained only where a pullback may be called again: PyTorch's code has another path for each. Where the
graph leads from no output to an input, PyTorch has no gradient: it is zero, and a warning says so.

Truncation is by detach: ``unroll`` runs segment after segment, and the carried state is detached at a cut, and where a
link has another multiplier only the backward pass scales it.

In float32 a GPU multiplies matrices in TF32, of 10 bits, where it may, as cuDNN's recurrent layers may by default, and
then no tolerance of float32 means anything. An implementation switches it off, for the whole process.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.autograd.forward_ad as forward_mode
from torch import Tensor, nn

from bpttcheck.adapters.torch_tensors import linked, others, where
from bpttcheck.cases.blocks import named, nested, streams
from bpttcheck.cases.changes import with_arrays
from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, Gradients, Outputs, Pullback
from bpttcheck.dtypes import FORMATS
from bpttcheck.measuring.calls import Refused
from bpttcheck.measuring.completeness import kind
from bpttcheck.targets import TargetError
from bpttref import Blocks, Cell, Full, Last, Window, trees
from bpttref.arrays import Array


class TorchSubject:
    """Base of an adapter.

    device: where it runs, such as "cuda". Elsewhere than on the CPU it offers no jvp, because the fused kernels there
    have no forward mode. autocast: whether 16 bits mean tensors in float32 under ``torch.autocast``. tf32: whether
    products of matrices in float32 may be in TF32, in this process. Raises TargetError where there is no such device.
    """

    name: str

    def __init__(self, device: str = "cpu", autocast: bool = False, tf32: bool = False) -> None:
        self.device, self._autocast = torch.device(device), autocast
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise TargetError(f"device {device} was requested, but torch {torch.__version__} finds no CUDA device")
        if self.device.type != "cpu":
            self.jvp = None  # type: ignore[method-assign, assignment]
        torch.backends.cudnn.allow_tf32 = tf32
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.set_num_threads(1)  # for problems as small as these, more threads only wait for each other

    def capabilities(self) -> Capabilities:
        """As of any implementation."""
        raise NotImplementedError

    def unroll(self, cell: Cell | CustomCell, parameters: Any, x: Any, initial: Any, lengths: Any) -> tuple[Any, Any]:
        """y and final states, nested and named as in `Outputs`, from tensors nested and named as in a `Case`, except
        ``parameters``, which come from `held`. Lengths are on the CPU. Without initial states initial is None.

        Where a case has them ``resets`` and ``chunk`` come by name."""
        raise NotImplementedError

    def held(self, case: Case, parameters: Any) -> tuple[Any, Any]:
        """The parameters that `unroll` gets, and the tensors among them that have gradients, nested likewise."""
        return parameters, parameters

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        case = replace(case, objective=None)
        with torch.set_grad_enabled(case.wanted != frozenset()):
            parameters, at = self._placed(case, _leaf)
            y, final = self._run(parameters, at)
        outputs: dict[str, Any] = named(Outputs(y, final))

        def pullback(cotangents: Cotangents) -> Gradients:
            given = {name: array for name, array in named(cotangents).items() if outputs[name].requires_grad}
            retain = self.capabilities().reusable and not case.once
            pulled = [self._tensor(case, array).to(outputs[name].dtype) for name, array in given.items()]
            found = _differentiated(case, at, [outputs[name] for name in given], pulled, retain)
            given_all = len(outputs) == len(named(cotangents)) and (
                ("initial" in self.capabilities().inputs) == (case.initial is not None)
            )
            if given_all and case.wanted is None and case.truncation == Full() and case.T > 0:
                _warn_of_gaps(case, outputs, found)
            return self._gradients(case, at, found)

        found: list[Any] = []
        trees.each(found.append, (y, final))  # type: ignore[arg-type]
        arrays = iter(self._arrays(case, found))
        return Outputs(*trees.each(lambda _: next(arrays), (y, final))), pullback

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
        found = _differentiated(case, at, [loss], [torch.ones_like(loss)], False)
        return Outputs(None, None, loss.item()), self._gradients(case, at, found)

    def jvp(self, case: Case, tangents: Gradients) -> Outputs:
        """The pushforward by dual numbers, without oneDNN, whose LSTM has none. Raises Refused if there is none."""
        case, moves = replace(case, objective=None), named(tangents)

        def dual(name: str, tensor: Any) -> Any:  # that requires no gradient loses its tangent in compiled code
            return forward_mode.make_dual(tensor.requires_grad_(), self._tensor(case, moves[name]))

        def tangent(output: Any) -> Array:
            moved = forward_mode.unpack_dual(output).tangent
            return self._array(case, torch.zeros_like(output) if moved is None else moved)

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)  # of its own, at the first call
            warnings.filterwarnings("ignore", "TF32 acceleration on top of oneDNN", UserWarning)  # the flags' own
            try:
                with forward_mode.dual_level(), torch.backends.mkldnn.flags(enabled=False):
                    return Outputs(*trees.each(tangent, self._run(*self._placed(case, dual))))
            except NotImplementedError as error:  # of an operator, or of a torch.autograd.Function without jvp
                raise Refused(f"PyTorch has no forward mode for it: {str(error).partition(chr(10))[0]}") from error

    def _placed(self, case: Case, change: Callable[[str, Any], Any]) -> tuple[Any, Case]:
        """The parameters that `unroll` gets, and the case with ``change(name, tensor)`` in place of each array."""
        at = with_arrays(case, lambda name, array: change(name, self._tensor(case, array)))
        parameters, own = self.held(case, at.parameters)
        x = {name: self._tensor(case, a) if isinstance(a, np.ndarray) else a for name, a in streams(at.x).items()}
        at = replace(at, parameters=own, x=nested(x))
        for name, tensor in _tensors(at).items():
            if not _wants(case, kind(name)):
                tensor.requires_grad_(False)
        return parameters, at

    def _run(self, parameters: Any, at: Case) -> tuple[Any, Any]:
        """y and final states, with the graph cut where the case says.

        Later pieces do not know the initial states: where rows are reset to these a piece begins with each reset.
        """
        assert not isinstance(at.truncation, Blocks | Window | Last)
        states: Any = at.initial
        xi = at.truncation.links(at.T).tolist()
        lengths = None if at.lengths is None else torch.tensor(at.lengths, device="cpu")
        resets = None if at.resets is None else torch.tensor(at.resets, device=self.device)
        edges = [t for t in range(1, at.T) if xi[t] != 1]
        if edges and resets is not None and at.reset_to == "initial":
            edges = sorted({*edges, *resets.any(1).nonzero()[:, 0].tolist()} - {0})
        pieces = []
        for start, stop in zip([0, *edges], [*edges, at.T], strict=True):
            rest = lengths if lengths is None or not edges else lengths - start
            flags = None if resets is None else resets[start:stop]
            if start:
                linked_states = trees.each(partial(linked, xi=xi[start]), states)
                if flags is not None and at.reset_to == "initial":
                    linked_states = where(flags[0], at.initial, linked_states)
                states = linked_states if rest is None else where(rest > 0, linked_states, states)
            x = nested({name: stream[start:stop] for name, stream in streams(at.x).items()})
            y, states = self._piece(at, parameters, x, states, rest, flags)
            pieces.append(y)
        return torch.cat(pieces), states

    def _piece(self, at: Case, parameters: Any, x: Any, states: Any, left: Any, resets: Any) -> tuple[Any, Any]:
        """Some steps in one call. left: how many are left of each row. A row without steps runs on other numbers, and
        its state stays."""
        beside = {} if resets is None else {"resets": resets}
        beside |= {} if at.chunk is None else {"chunk": at.chunk}
        steps = len(next(iter(streams(x).values())))
        if left is None or bool((left > 0).all()):
            return self._unrolled(at, parameters, x, states, left if left is None else left.clamp(max=steps), beside)
        live = left > 0
        x = nested({name: where(live, a, others(at.cell, name, a), 1) for name, a in streams(x).items()})
        y, after = self._unrolled(at, parameters, x, states, left.clamp(1, steps), beside)
        return where(live, y, torch.zeros_like(y), 1), where(live, after, states)

    def _unrolled(
        self, at: Case, parameters: Any, x: Any, states: Any, lengths: Any, beside: Mapping[str, Any]
    ) -> tuple[Any, Any]:
        """`unroll`, in 16 bits under autocast where that is wanted."""
        casting: AbstractContextManager[Any] = nullcontext()
        if self._casts(at):
            casting = torch.autocast(self.device.type, getattr(torch, at.dtype))
        with casting:
            return self.unroll(at.cell, parameters, x, states, lengths, **beside)

    def _gradients(self, case: Case, at: Case, found: Mapping[str, Any]) -> Gradients:
        """The results for the tensors of a case, in arrays; None is zero."""
        like = _tensors(at)
        all_found = [torch.zeros_like(like[name]) if found[name] is None else found[name] for name in found]
        arrays: dict[str, Any] = dict(zip(found, self._arrays(case, all_found), strict=True))
        shaped = with_arrays(case, lambda name, _: arrays.get(name, np.zeros(0)))
        readout = shaped.objective.readout if shaped.objective else None
        return Gradients(
            nested({name: arrays[name] for name in streams(case.x) if name in arrays}) if _wants(case, "x") else None,
            shaped.parameters if _wants(case, "parameters") else None,
            shaped.initial if _wants(case, "initial") else None,
            readout if _wants(case, "parameters") else None,
        )

    def dtype(self, case: Case, kind: str) -> torch.dtype:
        """Of tensors of a case that hold arrays of this kind, as NumPy calls it."""
        if kind not in "fc":
            return torch.bool if kind == "b" else torch.int64
        found: torch.dtype = torch.float32 if self._casts(case) else getattr(torch, case.dtype)
        return found if kind == "f" else found.to_complex()

    def _casts(self, case: Case) -> bool:
        return self._autocast and case.dtype in ("bfloat16", "float16")

    def _tensor(self, case: Case, array: Array) -> Any:
        """A copy in the dtype of the case, on the device."""
        return torch.tensor(array, dtype=self.dtype(case, array.dtype.kind), device=self.device)

    def _arrays(self, case: Case, tensors: Sequence[Any]) -> list[Array]:
        """Arrays of tensors, which come from another device in one transfer."""
        if self.device.type != "cpu" and len({tensor.dtype for tensor in tensors}) == 1:
            together = torch.cat([tensor.detach().reshape(-1) for tensor in tensors]).cpu()
            parts = together.split([tensor.numel() for tensor in tensors])
            tensors = [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
        return [self._array(case, tensor) for tensor in tensors]

    def _array(self, case: Case, tensor: Any) -> Array:
        """NumPy has no bfloat16: such tensors come back in float32, as the contract has it."""
        tensor = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().cpu()
        array: Array = tensor.resolve_conj().resolve_neg().numpy()
        return array.astype(FORMATS[case.dtype].storage) if self._casts(case) and array.dtype.kind == "f" else array


def _leaf(name: str, tensor: Any) -> Any:
    return tensor.requires_grad_()


def _tensors(at: Case) -> dict[str, Any]:
    """The differentiated tensors by name."""
    tensors: dict[str, Any] = named(
        Gradients(at.x, at.parameters, at.initial, at.objective.readout if at.objective else None)
    )
    return {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point() or tensor.is_complex()}


def _differentiated(case: Case, at: Case, outputs: list[Tensor], cotangents: list[Tensor], retain: bool) -> Any:
    """The gradients that the case wants, by name; None where the graph does not lead to it. retain: whether the
    graph is kept for another call."""
    by = {name: tensor for name, tensor in _tensors(at).items() if _wants(case, kind(name))}
    found = torch.autograd.grad(outputs, [*by.values()], cotangents, retain_graph=retain, allow_unused=True)
    return dict(zip(by, found, strict=True))


def _warn_of_gaps(case: Case, outputs: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """For outputs without a graph, and inputs to which no graph leads."""
    aside = case.cell.without_cotangent if isinstance(case.cell, CustomCell) else ()
    cut = [name for name, output in outputs.items() if not output.requires_grad]
    unreached = [name for name, gradient in found.items() if gradient is None]
    for way, names in (("from", cut), ("to", unreached)):
        if told := [name for name in names if name.rpartition(".")[2] not in aside]:
            warnings.warn(f"PyTorch's graph does not lead {way} {', '.join(told)}: zero is taken", stacklevel=2)


def _wants(case: Case, what: str) -> bool:
    """Whether gradients of "x", "parameters" or "initial" are wanted."""
    return case.wanted is None or what in case.wanted


class ModuleSubject(TorchSubject):
    """Base of an adapter whose module holds the numbers of a case. `unroll` gets it for the parameters."""

    def module(self, case: Case) -> nn.Module:
        """A module for cases of this shape and dtype, on the device; whatever its parameters hold is overwritten."""
        raise NotImplementedError

    def parameters(self, module: nn.Module, case: Case) -> Any:
        """The module's own parameters, nested and named as in the case."""
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
