"""A recurrent network: layers stacked, one or two directions each, rows of different lengths. All by composition.

Parameters and states are tuples over layers of tuples over directions (one, or forward and reverse) of mappings
from names to arrays: ``parameters[layer][direction]["W_hh"]``, ``initial[layer][direction]["c"]``.

A reverse direction is a forward unroll of the flipped sequence. A row that ends early runs on over zeros, its
results behind the end are set to zero, and its final state is the one after its own last step. Cells and the
recursion over time know of neither.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from bpttref import trees
from bpttref.arrays import Array
from bpttref.cells import Cell
from bpttref.checking import check_arguments, check_cotangents, check_resets, check_strategy, check_tokens
from bpttref.directions import Direction, OwnGradients, without_padding
from bpttref.inputs import is_tokens
from bpttref.strategies import Blocks, Full, Last, Strategy, Window
from bpttref.unrolling import NamedState, Parameters, Resets, backward, sweep

States: TypeAlias = tuple[tuple[NamedState, ...], ...]
ResetTo: TypeAlias = Literal["zeros", "initial"]
AllParameters: TypeAlias = tuple[tuple[Parameters, ...], ...]


class Outputs(NamedTuple):
    """What a forward pass returns.

    Parameters
    ----------
    y : Array or None
        The output of each step, ``(T, B, directions*H)``, read-only.
    final : tuple or None
        The states after the last step of each row, ``final[layer][direction]["h"]``, ``(B, H)`` each.
    loss : float, optional
        The value of an objective, if there is one.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.zeros((5, 2, 3))
    >>> Outputs(y, (({"h": y[-1]},),)).final[0][0]["h"].shape
    (2, 3)
    """

    y: Array | None
    final: States | None
    loss: float | None = None


class Cotangents(NamedTuple):
    """The derivatives of a loss by the outputs of a network, from which a pullback starts.

    Parameters
    ----------
    y : Array or None
        Shaped as ``Outputs.y``; None stands for zeros.
    final : tuple or None
        Nested and shaped as ``Outputs.final``; None stands for zeros.

    Examples
    --------
    >>> import numpy as np
    >>> Cotangents(np.ones((5, 2, 3))).final is None
    True
    """

    y: Array | None = None
    final: States | None = None


class Gradients(NamedTuple):
    """What a pullback returns: gradients that are shaped and nested as the arrays that they belong to.

    Parameters
    ----------
    x : Array or None
        The gradient of the inputs; None if these are tokens.
    parameters : tuple or None
        ``parameters[layer][direction]["W_hh"]``.
    initial : tuple or None
        The gradients of the initial states, ``initial[layer][direction]["h"]``.
    readout : mapping of str to Array, optional
        The gradients of an objective's readout, ``W_qh`` and ``b_q``.

    Examples
    --------
    >>> import numpy as np
    >>> gradients = Gradients(np.zeros((5, 2, 3)), (({"W_hh": np.zeros((4, 4))},),), None)
    >>> gradients.parameters[0][0]["W_hh"].shape
    (4, 4)
    """

    x: Array | None
    parameters: AllParameters | None
    initial: States | None
    readout: Mapping[str, Array] | None = None


Pullback: TypeAlias = Callable[[Cotangents], Gradients]
"""From `Cotangents` of the outputs to `Gradients`: the transposed derivative, of all losses that the cotangents stand
for at once."""


StrategyPullback: TypeAlias = Callable[[Cotangents, Strategy], tuple[Gradients, States | None]]
"""A pullback of one forward pass by any strategy. It gives, besides, the gradients of the states that rows are reset
to; None without resets."""


def zero_states(cell: Cell, parameters: AllParameters, batch: int) -> States:
    """Initial states of zeros.

    Parameters
    ----------
    cell : Cell
        It knows the names of the states.
    parameters : tuple
        They show the layers, the directions and H.
    batch : int
        The number of rows B.

    Returns
    -------
    tuple
        ``states[layer][direction]["h"]``, arrays ``(..., B, H)``.

    Examples
    --------
    >>> import numpy as np
    >>> from bpttref import LSTM
    >>> zero_states(LSTM(), (({"W_hh": np.ones((8, 2))},),), batch=1)
    (({'h': array([[0., 0.]]), 'c': array([[0., 0.]])},),)
    """
    return tuple(
        tuple({name: _zeros_before(p["W_hh"], batch) for name in cell.states} for p in directions)
        for directions in parameters
    )


def carried(cotangents: States | None, link: float, ended: Array | None = None) -> States | None:
    """Cotangents of states over a link; None where it is cut: 0 times an exploded gradient is not 0.

    ended: ``(B,)``, the rows whose last step lies before the link, if there may be any: it does not change theirs.
    """
    if ended is None or not ended.any():
        return trees.scale(cotangents, link) if link else None
    kept: States = trees.each(lambda d: np.where(ended[:, None], d, d * link if link else 0), cotangents)
    return kept


def vjp(
    cell: Cell,
    parameters: AllParameters,
    x: Array,
    initial: States | None = None,
    *,
    lengths: Array | None = None,
    strategy: Strategy = Full(),
    pull_inputs: bool = True,
    resets: Array | None = None,
    reset_to: ResetTo = "zeros",
) -> tuple[Outputs, Callable[..., Gradients]]:
    """Run a network forward, and return the outputs with a pullback for the gradients.

    Truncation and resets are defined forward in time: with two directions the strategy must be `Full`, without resets.

    Parameters
    ----------
    cell : Cell
        Its equations, such as ``LSTM()``.
    parameters : tuple
        ``parameters[layer][direction]`` with ``W_hx (G*H, D)``, ``W_hh (G*H, H)``, ``b_hx`` and ``b_hh (G*H,)``.
    x : Array
        Inputs ``(T, B, D)``, or integer tokens ``(T, B)``.
    initial : tuple, optional
        Initial states by layer, direction and name; zeros if left out.
    lengths : Array, optional
        The steps of each row, ``(B,)``; T if left out.
    strategy : Strategy
        How to truncate.
    pull_inputs : bool
        Whether the gradient of x is wanted.
    resets : Array, optional
        Flags ``(T, B)``: a row starts anew before a step. A reset replaces the link, whatever its multiplier is.
    reset_to : str
        "zeros", or "initial": the initial states, whose gradient is then the sum over all starts.

    Returns
    -------
    outputs : Outputs
        y and the final states.
    pullback : callable
        From `Cotangents` to `Gradients`, any number of times; ``pullback(cotangents, strategy)`` takes another
        strategy. It keeps the O(T) tape of the forward pass.

    Raises
    ------
    ValueError
        If shapes, dtypes, tokens or the strategy do not fit; from the pullback, if cotangents or its strategy do not.

    Examples
    --------
    >>> import numpy as np
    >>> from bpttref import RNN, Regular
    >>> cell, layer = RNN("identity"), {"W_hx": np.ones((1, 1)), "W_hh": np.full((1, 1), 0.5)}
    >>> outputs, pullback = vjp(cell, ((layer,),), np.ones((3, 1, 1)))
    >>> outputs.y.ravel()
    array([1.  , 1.5 , 1.75])
    >>> last = Cotangents(np.array([0.0, 0.0, 1.0]).reshape(3, 1, 1))
    >>> pullback(last).x.ravel(), pullback(last, Regular(2)).x.ravel()
    (array([0.25, 0.5 , 1.  ]), array([0., 0., 1.]))
    """
    B = x.shape[1 if is_tokens(x) else -2]
    states = zero_states(cell, parameters, B) if initial is None else initial
    check_resets(parameters, x, resets, reset_to)
    check_strategy(parameters, strategy)
    to = states if reset_to == "initial" else None
    outputs, pull = unroll(cell, parameters, x, states, lengths, pull_inputs, resets, to)

    def pullback(cotangents: Cotangents, strategy: Strategy = strategy) -> Gradients:
        check_strategy(parameters, strategy)
        gradients, again = pull(cotangents, strategy)
        return gradients if to is None else gradients._replace(initial=trees.add(gradients.initial, again))

    return outputs, pullback


def unroll(
    cell: Cell,
    parameters: AllParameters,
    x: Array,
    states: States,
    lengths: Array | None,
    pull_inputs: bool,
    resets: Array | None,
    to: States | None,
) -> tuple[Outputs, StrategyPullback]:
    """`vjp` of any strategy, where rows are reset ``to`` states of their own, zeros if None.

    The forward pass is the same for all strategies. ``states``: the initial ones. The pullback takes the strategy, and
    does not check whether it is defined for these directions.
    """
    T = len(x)
    check_arguments(cell, parameters, x, states, lengths)
    if resets is not None and lengths is not None:
        resets = resets & (np.arange(T)[:, None] < lengths)
    layers: list[list[Direction]] = []
    layer_input = x if lengths is None else without_padding(x, lengths)
    if is_tokens(x):
        check_tokens(layer_input, parameters[0][0]["W_hx"].shape[-1])
    again = trees.scale(states, 0) if to is None and resets is not None else to
    for k, (layer_parameters, layer_states) in enumerate(zip(parameters, states, strict=True)):
        starts = None if resets is None or again is None else Resets(resets, tuple(again[k][0].values()))
        directions = [
            Direction(cell, p, layer_input, s, lengths, reverse, starts)
            for p, s, reverse in zip(layer_parameters, layer_states, (False, True), strict=False)
        ]
        layers.append(directions)
        layer_input = directions[0].y if len(directions) == 1 else np.concatenate([d.y for d in directions], axis=-1)
    layer_input.flags.writeable = False  # it may be a view of the tape
    final = tuple(tuple(d.final for d in layer) for layer in layers)

    def pullback(cotangents: Cotangents, strategy: Strategy) -> tuple[Gradients, States | None]:
        dy = cotangents.y
        check_cotangents(dy, cotangents.final, layer_input, final)
        if dy is not None and lengths is not None:
            dy = without_padding(dy, lengths)
        dfinal = cotangents.final or tuple(tuple({} for _ in directions) for directions in layers)
        if isinstance(strategy, Blocks | Window) and T:
            dx, gradients = _pull_sweeps(layers, dy, dfinal, strategy, pull_inputs)
        else:
            dx, gradients = _pull_links(layers, dy, dfinal, strategy, pull_inputs)
        found = Gradients(
            dx,
            tuple(tuple(own.parameters for own in layer) for layer in gradients),
            tuple(tuple(own.initial for own in layer) for layer in gradients),
        )
        return found, None if resets is None else tuple(tuple(own.reset for own in layer) for layer in gradients)

    return Outputs(layer_input, final), pullback


_LayerGradients: TypeAlias = list[OwnGradients]  # per direction


def _pull_links(
    layers: list[list["Direction"]],
    dy: Array | None,
    dfinal: States,
    strategy: Strategy,
    pull_inputs: bool,
) -> tuple[Array | None, list[_LayerGradients]]:
    """Pull back through a stack, layer by layer: the multiplier of a step applies to every layer's state."""
    T = len(layers[0][0].y)
    links = np.ones(T) if isinstance(strategy, Blocks | Window) else strategy.links(T)
    silent = max(0, T - strategy.k) if isinstance(strategy, Last) else 0  # the losses that contribute nothing
    gradients: list[_LayerGradients] = []
    for layer, final in zip(reversed(layers), reversed(dfinal), strict=True):
        H = layer[0].y.shape[-1]
        shares = [None if dy is None else dy[..., k * H : (k + 1) * H] for k in range(len(layer))]
        pulled, dy = [], None
        for direction, share, dstate in zip(layer, shares, final, strict=True):
            incoming, ds = direction.entering(share, dstate)
            if silent:
                incoming = [_silenced(i, silent) for i in incoming]
            wanted = pull_inputs or layer is not layers[0]
            back = backward(direction.unrolled, direction.x, incoming, ds, links, wanted)
            pulled.append(direction.gradients(back, dstate))
            dx = None if back.x is None else direction.flip(back.x)
            dy = dx if dy is None or dx is None else dy + dx
        gradients.append(pulled)
    return dy, gradients[::-1]


def _pull_sweeps(
    layers: list[list["Direction"]], dy: Array | None, dfinal: States, strategy: Blocks | Window, pull_inputs: bool
) -> tuple[Array | None, list[_LayerGradients]]:
    """Pull back through a stack of one direction by overlapping sweeps."""
    stack = [layer[0] for layer in layers]
    finals = [final[0] for final in dfinal]
    shares = [None] * (len(stack) - 1) + [dy]
    incoming = [d.entering_as_losses(share, final) for d, share, final in zip(stack, shares, finals, strict=True)]
    k1, k2 = (1, strategy.tau) if isinstance(strategy, Window) else (strategy.k1, strategy.k2)
    swept = sweep([d.unrolled for d in stack], [d.x for d in stack], incoming, k1, k2, pull_inputs)
    gradients = [
        [direction.gradients(back, final)] for direction, back, final in zip(stack, swept, finals, strict=True)
    ]
    return swept[0].x, gradients


def _silenced(sequence: Array | None, steps: int) -> Array | None:
    """A copy whose first ``steps`` are zero; not a product: 0 times an exploded cotangent is not 0."""
    return None if sequence is None else np.concatenate([np.zeros_like(sequence[:steps]), sequence[steps:]])


def _zeros_before(W_hh: Array, batch: int) -> Array:
    """A state of zeros for a layer with recurrent matrix ``W_hh (..., G*H, H)``."""
    return np.zeros_like(W_hh, shape=(*W_hh.shape[:-2], batch, W_hh.shape[-1]))
