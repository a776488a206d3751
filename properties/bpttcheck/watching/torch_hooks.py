"""Hooks that see a PyTorch training loop, and change nothing in it.

Hooks stand in PyTorch's global tables and not in the modules, which are copied and saved as they are. A hook on the
graph of the outputs of a forward call says that a backward reaches its steps, and one on its input keeps the gradient
that arrives there. The graph task identifies the call of backward to which both belong. When it ends, the gradients are
measured together and released: only the norms stay.

The input itself gets the hook, so that gradients are added up in the same order as without it. Where it needs no
gradient the module is given another tensor on the same memory that needs one, and where the gradient is left.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count, groupby
from operator import attrgetter
from typing import Any
from weakref import ReferenceType, ref

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import Variable
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.utils.rnn import PackedSequence

from bpttcheck.watching.record import ABSENT, UNSEEN, Backward, ForwardCall, Reached, Record, State, Trace
from bpttcheck.watching.torch_norms import Call, norms_of_calls
from bpttcheck.watching.torch_probe import Kept, Probe
from bpttcheck.watching.torch_states import Returned, has_graph, tensors
from bpttcheck.watching.torch_steps import Layout

_task, _transform = torch._C._current_graph_task_id, torch._C._functorch.peek_interpreter_stack
NO_GRADIENT, RECOMPUTED, TRANSFORMED = "no gradient", "recomputed", "transformed"


@dataclass
class Watched:
    """A module that is watched. called: the forward call that is under way, its input, and the hook on that where it is
    a leaf of the loop's own, which may live longer than the graph of the call."""

    module: ReferenceType[nn.Module]
    trace: Trace
    layout: Layout
    parameters: list[nn.Parameter]
    called: "tuple[Call, Tensor, _Removing | None] | None" = None

    def learns(self, args: tuple[Any, ...]) -> bool:
        """Whether a call with gradients computes a graph anyway."""
        return any(map(has_graph, self.parameters)) or any(map(has_graph, tensors(args)))


class _Removing:
    """Removes a hook when it dies."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def __del__(self) -> None:
        self._handle.remove()


class Hooks:
    """Watches modules from `start` to `stop`. find: the layout of a module, and its name; None leaves it out. ended:
    called before a forward call once the record has reached its limit of calls of backward.
    probe: how many single outputs are probed in each of the first calls."""

    def __init__(
        self,
        record: Record,
        find: Callable[[nn.Module], tuple[str, Layout] | None],
        ended: Callable[[], None],
        probe: int = 0,
    ) -> None:
        self.record = record
        self._find, self._ended = find, ended
        self._met: dict[int, Watched] = {}  # by the id of the module, which may be another's by now
        self._returned = Returned()
        self._probe = Probe(record, probe)
        self._full = record.limit == 0  # whether the record is at its limit
        self._task = -1  # of the last row
        self._reached: set[Call] = set()  # by it
        self._handles: list[Any] = []

    def start(self) -> None:
        """From here on calls are seen."""
        self._handles = [
            register_module_forward_pre_hook(torch.compiler.disable(self._before)),
            register_module_forward_hook(torch.compiler.disable(self._after), with_kwargs=True),
        ]

    def stop(self) -> None:
        """From here on nothing is seen, even if a graph outlives the watch."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._probe.forget()
        self.settle()

    def trace(self, name: str, kind: str, parts: tuple[str, ...] = ("state",)) -> Trace:
        """A new trace in the record, under a name that is free."""
        taken = {trace.name for trace in self.record.traces}
        names = (name if n == 1 else f"{name} ({n})" for n in count(1))
        self.record.traces.append(Trace(next(free for free in names if free not in taken), kind, parts))
        return self.record.traces[-1]

    def watch_tensor(self, x: Tensor, trace: Trace, axis: int) -> Any:
        """Measure the gradient of a tensor; returns the handle of its hook."""
        trace.calls.append(ForwardCall(0, x.shape[axis], UNSEEN))
        call = Call(trace.name, 0, x.shape[axis], axis)

        def arrived(gradient: Tensor) -> None:
            self._reaches(call, None, gradient)
            self._arrived(call, gradient)

        return x.register_hook(arrived)

    def known(self, module: nn.Module) -> Watched | None:
        """The record of a module; None if it is not watched."""
        known = self._met.get(id(module))
        if known and known.module() is module:
            return known
        if found := self._find(module):
            name, layout = found
            trace = self.trace(name, type(module).__name__, layout.parts)
            self._met[id(module)] = Watched(ref(module), trace, layout, list(module.parameters()))
            return self._met[id(module)]
        return None

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Put a hook on the input, or give the module one that has a hook."""
        if self._full:
            self._ended()
            return None
        known = self.known(module)
        if known is None:
            return None
        known.called = None
        if not args or self._reason() or not known.learns(args):
            return None
        x = args[0].data if isinstance(args[0], PackedSequence) else args[0]
        call = self._call(known, args[0], x)
        if x.requires_grad:
            known.called = call, x, self._measure_at(x, call)
            return None
        call.given = given = x.detach().requires_grad_()
        known.called = call, given, None
        self.record.made_to_need.add(call.name)
        return (given if x is args[0] else args[0]._replace(data=given), *args[1:])

    def _after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Describe the state that was given, remember the one that was returned, put hooks on the outputs."""
        known = self.known(module)
        if known is None or self._full:
            return
        trace, layout, called = known.trace, known.layout, known.called
        known.called = None
        reason = "" if called else self._reason()
        if reason:
            self.record.left_out[reason] += 1
            if reason != NO_GRADIENT:
                return
        state = self._state(trace, layout, args, kwargs)
        outputs = tensors(output)
        returned = outputs if layout.whole else tensors(layout.returned(output))
        self._returned.remember(trace.name, not reason, returned, layout.layers)
        outputs = list(filter(has_graph, outputs))
        if reason or not outputs:
            return
        if called is None:  # the input is given by keyword, where it can only be looked at
            given = kwargs[layout.input]
            x = given.data if isinstance(given, PackedSequence) else given
            call = self._call(known, given, x)
            called = call, x, self._measure_at(x, call) if x.requires_grad else None
        call, x, keeps = called
        trace.calls.append(ForwardCall(call.first, call.steps, state))
        probed = x.requires_grad and self._probe.wants(trace.name)
        if probed:
            self._probe.keep(trace.name, Kept(call.first, call.steps, call.axis, call.sizes, x, outputs[0]))
        reaches = partial(self._reaches, call, keeps)
        for tensor in outputs[-1:] if layout.last and not probed else outputs:
            node = tensor.grad_fn
            if node is None:
                tensor.register_hook(reaches)
            else:
                node.register_prehook(reaches)

    def _call(self, known: Watched, given: Any, x: Tensor) -> Call:
        """Raises ValueError if the input has no gradient or no time."""
        trace, layout = known.trace, known.layout
        if not (isinstance(x, Tensor) and x.is_floating_point()):
            what = x.dtype if isinstance(x, Tensor) else f"a {type(x).__name__}"
            raise ValueError(
                f"the input of {trace.name} is {what}, which has no gradient: name the module that computes with "
                "floating-point inputs"
            )
        if not trace.calls:
            trace.least = torch.finfo(x.dtype).tiny
        axis, sizes = layout.axis(trace.name, x), None if x is given else given.batch_sizes
        steps = len(sizes) if sizes is not None else 1 if axis is None else x.shape[axis]
        return Call(trace.name, trace.steps, steps, axis, sizes)

    def _measure_at(self, x: Tensor, call: Call) -> "_Removing | None":
        """Put a hook on an input of the loop's own. Steps are often views that one ``unbind`` returns: such views get a
        hook together, on that operation."""
        node = x.grad_fn
        if node is None or x._base is None:
            handle = x.register_hook(partial(self._arrived, call))
            return _Removing(handle) if x.is_leaf else None
        inputs = node.metadata.get(self)
        if inputs is None:
            inputs = node.metadata[self] = []
            node.register_prehook(partial(self._all_arrived, inputs))
        inputs.append((x.output_nr, call))
        return None

    def _state(self, trace: Trace, layout: Layout, args: tuple[Any, ...], kwargs: dict[str, Any]) -> State:
        if layout.state is None:
            return UNSEEN
        given = kwargs.get(layout.state, args[1] if len(args) > 1 else None)
        parts = tensors(given)
        return self._returned.describe(trace.name, parts, layout.layers) if parts else ABSENT

    def _reason(self) -> str:
        """Why a forward call is no step; empty if it is one."""
        if _transform() is not None:
            return TRANSFORMED
        if _task() != -1:
            return RECOMPUTED
        return "" if torch.is_grad_enabled() else NO_GRADIENT

    def _reaches(self, call: Call, keeps: object, gradients: object) -> None:
        """Backward enters the graph of a forward call. keeps: an object that lives as long as the graph."""
        if (_task() == self._task or self._begin()) and call not in self._reached:
            self._reached.add(call)
            self._probe.take(call.name)

    def _arrived(self, call: Call, gradient: Tensor) -> None:
        """A gradient arrives at the input of a forward call; from its outputs, or not."""
        if (_task() == self._task or self._begin()) and call in self._reached:
            call.gradient = gradient.detach() if gradient.requires_grad else gradient

    def _all_arrived(self, inputs: list[tuple[int, Call]], gradients: "tuple[Tensor | None, ...]") -> None:
        """Gradients arrive at the operation that returned some inputs. inputs: which of its outputs they are."""
        for number, call in inputs:
            if (gradient := gradients[number]) is not None:
                self._arrived(call, gradient)

    def _begin(self) -> bool:
        """Begin a row for a new call of backward. False where the call is left out."""
        if self._probe.running or not self._handles or self._full:
            return False
        self.settle()
        self._task = _task()
        self.record.backwards.append(Backward({trace.name: trace.steps for trace in self.record.traces}))
        self._full = len(self.record.backwards) == self.record.limit
        Variable._execution_engine.queue_callback(self.settle)
        return True

    def settle(self) -> None:
        """Turn the gradients of the last row into norms; on a GPU this waits for it, once a row."""
        reached, self._reached = self._reached, set()
        for name, alike in groupby(sorted(reached, key=attrgetter("name", "first")), attrgetter("name")):
            calls = list(alike)
            steps = [step for call in calls for step in range(call.first, call.first + call.steps)]
            self.record.backwards[-1].reached[name] = Reached(np.array(steps), norms_of_calls(calls))
