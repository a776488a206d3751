"""Hooks that see a PyTorch training loop, and change nothing in it.

Hooks stand in PyTorch's global tables and not in the modules, which are copied and saved as they are. A hook on the
graph of the outputs of a forward call says that a backward reaches its steps, and one on its input keeps the gradient
that arrives there. The graph task identifies the call of backward to which both belong. When it ends, the gradients are
measured together and released: only the norms stay.

The input itself gets the hook, so that gradients are added up in the same order as without it. Where it needs no
gradient the module is given another tensor on the same memory that needs one, and where the gradient is left.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from operator import attrgetter
from typing import Any
from weakref import ReferenceType, ref

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import Variable
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.utils.rnn import PackedSequence

from bpttcheck.watching.record import UNSEEN, Backward, ForwardCall, Reached, Record, Trace
from bpttcheck.watching.torch_norms import norms_of_calls
from bpttcheck.watching.torch_probe import Kept, Probe
from bpttcheck.watching.torch_states import Returned, has_graph, tensors
from bpttcheck.watching.torch_steps import Layout

_task, _transform = torch._C._current_graph_task_id, torch._C._functorch.peek_interpreter_stack
_set_tracer = torch._C._dynamo.eval_frame.set_eval_frame  # which returns the one before
NO_GRADIENT, RECOMPUTED, TRANSFORMED = "no gradient", "recomputed", "transformed"


@dataclass
class Watched:
    """A module that is watched. called: the forward call that is under way, its input, and an object that its graph
    shall keep."""

    module: ReferenceType[nn.Module]  # its death ends the entry
    trace: Trace
    layout: Layout
    parameters: list[nn.Parameter]
    called: "tuple[ForwardCall, Tensor, object] | None" = None


def _untraced(hook: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.compiler.disable`` in less time: Dynamo traces neither the hook nor the functions that it calls."""
    from torch._dynamo.decorators import skip  # seconds to import

    def untraced(*args: Any) -> Any:
        tracer = _set_tracer(None)
        try:
            return hook(*args)
        finally:
            _set_tracer(tracer)

    skip(untraced)
    return untraced


def _hook(tensor: Tensor, hook: Callable[[object], None]) -> None:
    """``tensor.register_hook``, in a third of its time and without a trace on the tensor: there is no handle."""
    if tensor.grad_fn is None:
        tensor.register_hook(hook)
        return
    tensor._backward_hooks = OrderedDict({-1: hook})
    tensor.grad_fn._register_hook_dict(tensor)
    tensor._backward_hooks = None


class _Removing:
    """Removes a hook when it dies: the hook on a leaf of the loop's own, which may live longer than the graph of the
    call."""

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
        self._met: dict[int, Watched] = {}  # by the id of the module
        self._returned = Returned()
        self._probe = Probe(record, probe) if probe else None
        self._full = record.limit == 0  # whether the record is at its limit
        self._task = -1  # of the last row
        self._reached: defaultdict[str, dict[ForwardCall, object]] = defaultdict(dict)  # by it; kept by their graphs
        self._gradients: dict[ForwardCall, Tensor] = {}  # that arrived at them
        self._handles: list[Any] = []

    def start(self) -> None:
        """From here on calls are seen."""
        self._handles = [
            register_module_forward_pre_hook(_untraced(self._before)),
            register_module_forward_hook(_untraced(self._after), with_kwargs=True),
        ]

    def stop(self) -> None:
        """From here on nothing is seen, even if a graph outlives the watch."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._probe:
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
        call = ForwardCall(0, x.shape[axis], axis=axis)
        trace.calls.append(call)
        trace.steps = call.steps

        def arrived(gradient: Tensor) -> None:
            self._reaches(trace.name, call, None, gradient)
            self._arrived(trace.name, call, gradient)

        return x.register_hook(arrived)

    def known(self, module: nn.Module) -> Watched | None:
        """The record of a module; None if it is not watched."""
        key = id(module)
        if key not in self._met and (found := self._find(module)):
            name, layout = found
            trace = self.trace(name, type(module).__name__, layout.parts)
            dies = ref(module, lambda _: self._met.pop(key))
            self._met[key] = Watched(dies, trace, layout, list(module.parameters()))
        return self._met.get(key)

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Put a hook on the input, or give the module one that has a hook."""
        if self._full:
            self._ended()
            return None
        known = self._met.get(id(module)) or self.known(module)
        if known is None:
            return None
        known.called = None
        learns = any(map(has_graph, known.parameters)) or any(map(has_graph, tensors(args)))
        if not args or not learns or self._reason():
            return None
        x = args[0].data if isinstance(args[0], PackedSequence) else args[0]
        call = self._call(known, args[0], x)
        if x.requires_grad:
            known.called = call, x, self._measure_at(x, known.trace.name, call)
            return None
        given = x.detach().requires_grad_()
        known.called = call, given, given
        self.record.made_to_need.add(known.trace.name)
        return (given if x is args[0] else args[0]._replace(data=given), *args[1:])

    def _after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Describe the state that was given, remember the one that was returned, put hooks on the outputs."""
        known = self._met.get(id(module)) or self.known(module)
        if known is None or self._full:
            return
        trace, layout, called = known.trace, known.layout, known.called
        known.called = None
        reason = "" if called else self._reason()
        if reason:
            self.record.left_out[reason] += 1
            if reason != NO_GRADIENT:
                return
        state = UNSEEN
        if layout.state is not None:
            given = kwargs.get(layout.state, args[1] if len(args) > 1 else None)
            state = self._returned.describe(trace.name, tensors(given), layout.layers)
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
            called = call, x, self._measure_at(x, trace.name, call) if x.requires_grad else None
        call, x, keeps = called
        call.state = state
        trace.calls.append(call)
        trace.steps += call.steps
        probe = self._probe if self._probe and x.requires_grad and self._probe.wants(trace.name) else None
        if probe:
            probe.keep(trace.name, Kept(call, x, outputs[0]))
        reaches = partial(self._reaches, trace.name, call, keeps)
        for tensor in outputs[-1:] if layout.last and not probe else outputs:
            _hook(tensor, reaches)

    def _call(self, known: Watched, given: Any, x: Tensor) -> ForwardCall:
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
        if x is not given:
            rows = tuple(given.batch_sizes.tolist())
            return ForwardCall(trace.steps, len(rows), rows=rows)
        axis = layout.axis(trace.name, x)
        return ForwardCall(trace.steps, 1 if axis is None else x.shape[axis], axis=axis)

    def _measure_at(self, x: Tensor, name: str, call: ForwardCall) -> "_Removing | None":
        """Put a hook on an input of the loop's own. Steps are often views that one ``unbind`` returns: such views get a
        hook together, on that operation."""
        node = x.grad_fn
        if node is None or x._base is None:
            handle = x.register_hook(partial(self._arrived, name, call))
            return _Removing(handle) if x.is_leaf else None
        inputs = node.metadata.get(self)
        if inputs is None:
            inputs = node.metadata[self] = []
            node.register_prehook(partial(self._all_arrived, inputs))
        inputs.append((x.output_nr, name, call))
        return None

    def _reason(self) -> str:
        """Why a forward call is no step; empty if it is one."""
        if _transform() is not None:
            return TRANSFORMED
        if _task() != -1:
            return RECOMPUTED
        return "" if torch.is_grad_enabled() else NO_GRADIENT

    def _reaches(self, name: str, call: ForwardCall, keeps: object, gradients: object) -> None:
        """Backward enters the graph of a forward call. keeps: an object that lives as long as the graph: the input, if
        the module was given another in place of its own."""
        if _task() == self._task or self._begin():
            self._reached[name][call] = keeps
            if self._probe:
                self._probe.take(name)

    def _arrived(self, name: str, call: ForwardCall, gradient: Tensor) -> None:
        """A gradient arrives at the input of a forward call; from its outputs, or not."""
        if (_task() == self._task or self._begin()) and call in self._reached[name]:
            self._gradients[call] = gradient.detach() if gradient.requires_grad else gradient

    def _all_arrived(self, inputs: list[tuple[int, str, ForwardCall]], gradients: "tuple[Tensor | None, ...]") -> None:
        """Gradients arrive at the operation that returned some inputs. inputs: which of its outputs they are."""
        for number, name, call in inputs:
            if (gradient := gradients[number]) is not None:
                self._arrived(name, call, gradient)

    def _begin(self) -> bool:
        """Begin a row for a new call of backward. False where the call is left out."""
        if (self._probe and self._probe.running) or not self._handles or self._full:
            return False
        self.settle()
        self._task = _task()
        self.record.backwards.append(Backward({trace.name: trace.steps for trace in self.record.traces}))
        self._full = len(self.record.backwards) == self.record.limit
        Variable._execution_engine.queue_callback(self.settle)
        return True

    def settle(self) -> None:
        """Turn the gradients of the last row into norms; on a GPU this waits for it, once a row."""
        for name, keeps in self._reached.items():
            if keeps:
                calls = sorted(keeps, key=attrgetter("first"))
                gradients = [self._released(call, keeps[call]) for call in calls]
                steps = [step for call in calls for step in range(call.first, call.first + call.steps)]
                norms = norms_of_calls(calls, gradients)
                self.record.backwards[-1].reached[name] = Reached(np.array(steps), norms)
        self._reached.clear()

    def _released(self, call: ForwardCall, keeps: object) -> "Tensor | None":
        """The gradient that arrived at a forward call; it stays nowhere else."""
        if not isinstance(keeps, Tensor):
            return self._gradients.pop(call, None)
        gradient, keeps.grad = keeps.grad, None
        return gradient
