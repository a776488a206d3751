"""``with watch(model) as seen``: see a PyTorch training loop as it runs."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor, nn

from bpttcheck.watching.record import Record
from bpttcheck.watching.seen import Seen
from bpttcheck.watching.torch_errors import explain
from bpttcheck.watching.torch_hooks import Hooks
from bpttcheck.watching.torch_steps import RECURRENT, Layout, TimeAxis, layout_of


@contextmanager
def watch(
    watched: "nn.Module | Tensor",
    *,
    module: "nn.Module | Iterable[nn.Module] | None" = None,
    time_axis: TimeAxis = "module",
    calls: int | None = None,
    probe: int = 0,
    starts: ArrayLike | None = None,
) -> Iterator[Seen]:
    """See how far back the gradients of a training loop go, and where its state is cut.

    The loop computes the same bits as without it.

    Parameters
    ----------
    watched : Module or Tensor
        The model, in which all recurrent modules of ``torch.nn`` are watched, or a tensor of floating-point inputs.
    module : Module or iterable of Module, optional
        Modules of the model to watch instead, such as your own cell, which takes the input first and then the state.
    time_axis : int or None
        The axis of time of the input of such a module, or None if a call is one step; modules of ``torch.nn`` know
        theirs.
    calls : int, optional
        Stop after so many calls of backward.
    probe : int
        How many single outputs to differentiate in addition, in the first two calls of backward; each takes up to the
        time of a training step.
    starts : Array, optional
        Flags ``(steps, rows)``, True where a document or an episode begins in a row, for the first steps: outputs that
        are probed should not reach across them.

    Yields
    ------
    Seen
        The record.

    Raises
    ------
    ValueError
        If there is nothing to watch, or the axis of time is unknown.

    Examples
    --------
    >>> import torch
    >>> from bpttcheck.torch import assert_reach, watch
    >>> from bpttref import Regular
    >>> model, h = torch.nn.RNN(2, 3), None
    >>> with watch(model) as seen:
    ...     for x in torch.ones(3, 4, 1, 2):
    ...         y, h = model(x, h)
    ...         y.sum().backward()
    ...         h = h.detach()
    >>> assert_reach(seen, Regular(4))
    """
    record = Record(limit=calls, starts=None if starts is None else np.asarray(starts, bool))
    if record.starts is not None and (record.starts.ndim != 2 or not probe):
        raise ValueError("starts are flags (steps, rows), and need probe=4 or another number of outputs to probe")
    seen = Seen(record)
    if isinstance(watched, Tensor):
        with _watching_tensor(record, watched, time_axis):
            yield seen
        return
    chosen = _chosen(watched, module, time_axis)
    hooks = Hooks(record, lambda met: chosen.get(id(met)), lambda: None, probe)
    for one in watched.modules():
        if id(one) in chosen:
            hooks.known(one)
    hooks.start()
    try:
        yield seen
    except RuntimeError as error:
        hooks.stop()
        explain(error, record)
        raise
    finally:
        hooks.stop()


def _chosen(
    model: nn.Module, module: "nn.Module | Iterable[nn.Module] | None", time_axis: TimeAxis
) -> dict[int, tuple[str, Layout]]:
    """Name and layout of each module to watch, by its id."""
    names = {id(one): name or type(one).__name__ for name, one in model.named_modules()}
    if module is None:
        own = [one for one in model.modules() if isinstance(one, RECURRENT)]
        if not own:
            raise ValueError(
                f"{type(model).__name__} has no recurrent module of torch.nn: name your own with module=model.cell, "
                "and time_axis=None if a call is one step, or the axis of time of its input"
            )
    else:
        own = [module] if isinstance(module, nn.Module) else list(module)
    return {id(one): (names.get(id(one), type(one).__name__), layout_of(one, time_axis)) for one in own}


@contextmanager
def _watching_tensor(record: Record, x: Tensor, time_axis: TimeAxis) -> Iterator[None]:
    """Raises ValueError for a tensor that has no gradient, or whose axis of time is unknown."""
    if not x.is_floating_point():
        raise ValueError(
            f"a tensor of {x.dtype} has no gradient: watch what is computed from it, such as its embedding"
        )
    if not isinstance(time_axis, int) or not -x.ndim <= time_axis < x.ndim:
        raise ValueError(f"a tensor of the shape {tuple(x.shape)} does not say where time is: give time_axis=0 or 1")
    hooks = Hooks(record, lambda met: None, lambda: None)
    needed = x.requires_grad
    x.requires_grad_()
    trace = hooks.trace("x", "Tensor")
    if not needed:
        record.made_to_need.add(trace.name)
    hooks.start()
    handle = hooks.watch_tensor(x, trace, time_axis % x.ndim)
    try:
        yield
    finally:
        handle.remove()
        hooks.stop()
        if not needed:
            x.requires_grad_(False)
            x.grad = None
