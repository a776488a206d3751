"""An implementation from a user's functions and one example of their arrays."""

from collections.abc import Callable, Collection, Mapping
from functools import partial, wraps
from inspect import signature, unwrap
from typing import Any

from bpttcheck.adapters.own_arrays.arguments import Arguments
from bpttcheck.adapters.own_arrays.cell import cell_of
from bpttcheck.adapters.own_arrays.finding import Rows, arguments_of, found, tried
from bpttcheck.adapters.own_arrays.loss import OwnLoss
from bpttcheck.adapters.own_arrays.steps import unrolled
from bpttcheck.adapters.own_arrays.subject import OwnArrays
from bpttcheck.contract import Implementation
from bpttcheck.custom_cell import Domain, check_domains
from bpttref import Strategy


def own_arrays(
    function: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    *,
    step_back: Callable[..., Any] | None = None,
    parameters: Any = None,
    x: Any = None,
    states: Any = None,
    time: int = 0,
    batch: Rows = "find",
    truncation: Mapping[str, type[Strategy]] | None = None,
    clip: float | None = None,
    rate: float | None = None,
    domains: Mapping[str, Domain] | None = None,
    without_cotangent: Collection[str] = (),
    surrogate: Collection[str] = (),
    affine: Mapping[str, Collection[str]] | None = None,
    smooth: bool = False,
    saturates: Collection[str] = (),
    lengths: str = "",
    resets: str = "",
    loss_weights: str = "",
    name: str = "",
    **declared: Any,
) -> Implementation:
    """Make an implementation from functions on arrays of your own names and shapes; `check` runs the laws on it.

    The function is one of::

        run(p, x, states) -> y, final states, pullback     pullback(dy, dfinal) -> gradients
        run(p, x, states) -> y, final states, cache        backward(dy, dfinal, cache) -> gradients
        step(p, x_t, states) -> y_t, states, cache         step_back(dy_t, dstates, cache) -> gradients
        loss(p, x, states) -> value, gradients

    Leave out p, x or states, if you pass none, and final states with their cotangent, if none are returned. Gradients
    are a mapping in which the gradient of W is called W or dW, or a tuple in the order of the arguments. A y without an
    axis of time is the output of the last step.

    Parameters
    ----------
    function : callable
        One of the four.
    backward, step_back : callable, optional
        The backward pass of a run that returns a cache, or of a step.
    parameters, x, states : optional
        One example of the arguments, with at least two steps and two rows of a batch. x is an array, a list of steps,
        or a mapping of several; parameters and states are arrays, mappings, lists or tuples. D and H stay as in the
        example; T and B vary.
    time, batch : int
        The axes of x. batch is found by leaving out a row; None if x is one sequence.
    truncation : mapping of str to strategy, optional
        By keyword of your function, the rule whose number of steps it takes: ``{"tau": Regular}``.
    clip, rate : float, optional
        Of a loss: the bound at which it clips gradients, and the rate of an optimiser's step inside it. The gradient is
        then the change of the parameters, in place or returned as gradients, divided by the rate.
    domains, without_cotangent, surrogate, affine, smooth, saturates : optional
        As in `CustomCell`.
    lengths, resets : str
        The keyword by which your function takes them: integers ``(B,)``, and flags with the axes of x.
    loss_weights : str
        The keyword by which a loss takes a weight for each step, ``(T,)``; it must have a default.
    name : str
        The name of the cell.
    **declared
        Fields of `Capabilities`, such as dtypes (float64, if left out), sizes, chunks.

    Returns
    -------
    Implementation
        It has one cell, and the capabilities that the example shows.

    Raises
    ------
    ValueError
        With a sentence, if the example does not show enough.

    Examples
    --------
    >>> import numpy as np
    >>> def run(x):
    ...     return np.cumsum(x, axis=0), lambda dy: (np.cumsum(dy[::-1], axis=0)[::-1],)
    >>> own_arrays(run, x=np.ones((4, 2, 3)), batch=1).name
    'run'
    """
    name = name or name_of(function)
    of_run = bool(truncation or lengths or resets)
    for sentence, holds in _contradictions(backward, step_back, parameters, x, states, of_run).items():
        if holds:
            raise ValueError(sentence)
    called, how = _called(function, parameters, x), dict[str, Any]()
    run = function if backward is None else _with_cache(function, backward)
    if step_back is not None:
        run = unrolled(function, step_back, Arguments.of(called, {}, parameters, x, states, time))
    said: dict[str, Any] = {"without_cotangent": without_cotangent, "surrogate": surrogate}
    said |= {"affine": affine or {}, "smooth": smooth, "saturates": saturates}
    check_domains(domains or {})
    made = partial(Arguments.of, called, domains or {}, parameters, x, states, time)
    fixed = {size for size, pool in declared.get("sizes", {}).items() if len(pool) == 1}
    arguments = arguments_of(name, run, made, x, batch, fixed)
    example = arguments.example(x)
    if step_back is None and backward is None and (rate is not None or _is_loss(name, run, arguments, example)):
        cell = cell_of(name, arguments, example, None, domains or {}, **said)
        if lengths or resets:
            raise ValueError("a loss takes no lengths and no resets: test the run inside it")
        how = {"clip": clip, "rate": rate, "knobs": truncation or {}, "weights": loss_weights}
        return OwnLoss(cell, run, arguments, example, **how, **declared)
    if clip is not None or rate is not None or loss_weights:
        raise ValueError("clip, rate and loss_weights belong to a loss; this function returns no loss")
    returned = found(name, run, arguments, example, fixed)
    cell = cell_of(name, arguments, example, returned.y, domains or {}, **said)
    how = {"knobs": truncation or {}, "lengths": lengths, "resets": resets}
    return OwnArrays(cell, run, arguments, example, returned, **how, **declared)


def _contradictions(
    backward: Any, step_back: Any, parameters: Any, x: Any, states: Any, of_run: bool
) -> dict[str, bool]:
    """Possible mistakes in the arguments, each as a sentence, and whether it is there. of_run: whether there are
    arguments that only a run takes."""
    either = backward is not None or step_back is not None
    return {
        "pass an example of the arguments: parameters=, x=, or both": x is None and parameters is None,
        "backward goes with a run, step_back with a step: pass one of them": backward is not None
        and step_back is not None,
        "a run over a sequence needs an example of it: x=": either and x is None,
        "truncation, lengths and resets go with a run: a step knows nothing of them": step_back is not None and of_run,
        "a step needs an example of the state from which it starts: states=": step_back is not None and states is None,
    }


def _with_cache(forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    """A run that returns a pullback where ``forward`` returns the cache for ``backward``."""

    @wraps(forward)
    def run(*given: Any, **chosen: Any) -> Any:
        returned = forward(*given, **chosen)
        if not isinstance(returned, tuple) or len(returned) not in (2, 3):
            raise ValueError("it must return a tuple: y, cache, or y, final states, cache")
        *outputs, cache = returned
        return (*outputs, lambda *cotangents: backward(*cotangents, cache))

    return run


def name_of(function: Callable[..., Any]) -> str:
    """The name of a function, below its wrappers."""
    function = unwrap(function.func if isinstance(function, partial) else function)
    return str(getattr(function, "__name__", type(function).__name__)).strip("<>")


def _called(function: Callable[..., Any], parameters: Any, x: Any) -> dict[str, str]:
    """The function's own names of its parameters and states."""
    try:
        names = [p.name for p in signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    except (TypeError, ValueError):
        names = []
    of_states = names[(parameters is not None) + (x is not None) :]
    return {"p": (names or ["p"])[0], "state": (of_states or ["state"])[0]}


def _is_loss(name: str, run: Callable[..., Any], arguments: Arguments, example: Any) -> bool:
    """Whether the first result is a number."""
    returned = tried(name, "the example", run, *arguments.given(example))
    first = returned[0] if isinstance(returned, tuple) and returned else returned
    return not hasattr(first, "__len__") and getattr(first, "ndim", 0) == 0 and first is not None
