"""A recurrent network: layers stacked, one or two directions each, rows of different lengths. All by composition.

Parameters and states are tuples over layers of tuples over directions (one, or forward and reverse) of mappings
from names to arrays: ``parameters[layer][direction]["W_hh"]``, ``initial[layer][direction]["c"]``.

A reverse direction is a forward unroll of the flipped sequence. A row that ends early runs on over zeros, its
results behind the end are set to zero, and its final state is the one after its own last step. Cells and the
recursion over time know of neither.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from bpttref import trees
from bpttref.arrays import Array
from bpttref.cells import Cell, State
from bpttref.checking import check_arguments, check_cotangents, check_tokens
from bpttref.inputs import is_tokens
from bpttref.strategies import Blocks, Full, Last, LinkStrategy, Strategy, Window
from bpttref.unrolling import Parameters, backward, forward, sweep

NamedState: TypeAlias = Mapping[str, Array]  # "h" and, for LSTM, "c": (B, H)
States: TypeAlias = tuple[tuple[NamedState, ...], ...]
AllParameters: TypeAlias = tuple[tuple[Parameters, ...], ...]


class Outputs(NamedTuple):
    """y: ``(T, B, directions*H)``, read-only. final: the states after each row's last step, by layer, direction and
    name, ``(B, H)`` each. loss: of an objective."""

    y: Array | None
    final: States | None
    loss: float | None = None


class Cotangents(NamedTuple):
    """What a caller hands a pullback: y and final, shaped as in the outputs; None stands for zeros."""

    y: Array | None = None
    final: States | None = None


class Gradients(NamedTuple):
    """Gradients of x, parameters, initial states and the readout of an objective, shaped and keyed as these are.

    ``x`` is None where the inputs are tokens.
    """

    x: Array | None
    parameters: AllParameters | None
    initial: States | None
    readout: Mapping[str, Array] | None = None


Pullback: TypeAlias = Callable[[Cotangents], Gradients]
"""From `Cotangents` of the outputs to `Gradients`: the transposed derivative, of all losses that the cotangents stand
for at once."""


def zero_states(cell: Cell, parameters: AllParameters, batch: int) -> States:
    """Initial states of zeros for ``batch`` rows: by the layers and directions of ``parameters``, and by the names of
    the states of ``cell``, arrays ``(..., B, H)``."""
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
) -> tuple[Outputs, Pullback]:
    """Outputs now, gradients when asked.

    parameters: by layer, direction and name, ``W_hx (G*H, D)``, ``W_hh (G*H, H)``, ``b_hx`` and ``b_hh (G*H,)``, as the
    cell's equations use them. x: ``(T, B, D)``, or integer tokens ``(T, B)``. initial: states, zeros if None. lengths:
    ``(B,)``, the steps of each row, T if None. strategy: how to truncate. pull_inputs: whether the gradient of ``x`` is
    wanted. The pullback may be called any number of times; it keeps the O(T) tape of the forward pass.

    Truncation is defined forward in time: with two directions the strategy must be `Full`.
    Raises ValueError where shapes, dtypes, tokens or the strategy do not fit; the pullback, where cotangents do not.
    """
    T, B = len(x), x.shape[1 if is_tokens(x) else -2]
    states = zero_states(cell, parameters, B) if initial is None else initial
    check_arguments(cell, parameters, x, states, lengths, strategy)
    if lengths is None and isinstance(strategy, Blocks | Window | Last):
        lengths = np.full(B, T)  # cotangents of final states then enter with the last step's loss
    layers: list[list[_Direction]] = []
    layer_input = x if lengths is None else _without_padding(x, lengths)
    if is_tokens(x):
        check_tokens(layer_input, parameters[0][0]["W_hx"].shape[-1])
    for layer_parameters, layer_states in zip(parameters, states, strict=True):
        directions = [
            _Direction(cell, p, layer_input, s, lengths, reverse)
            for p, s, reverse in zip(layer_parameters, layer_states, (False, True), strict=False)
        ]
        layers.append(directions)
        layer_input = directions[0].y if len(directions) == 1 else np.concatenate([d.y for d in directions], axis=-1)
    layer_input.flags.writeable = False  # it may be a view of the tape
    final = tuple(tuple(d.final for d in layer) for layer in layers)

    def pullback(cotangents: Cotangents) -> Gradients:
        dy = cotangents.y
        check_cotangents(dy, cotangents.final, layer_input, final)
        if dy is not None and lengths is not None:
            dy = _without_padding(dy, lengths)
        dfinal = cotangents.final or tuple(tuple({} for _ in directions) for directions in layers)
        if isinstance(strategy, Blocks | Window):
            dx, gradients = _pull_sweeps(layers, dy, dfinal, strategy, pull_inputs)
        else:
            dx, gradients = _pull_links(layers, dy, dfinal, strategy, pull_inputs)
        return Gradients(
            dx,
            tuple(tuple(parameters for parameters, _ in layer) for layer in gradients),
            tuple(tuple(initial for _, initial in layer) for layer in gradients),
        )

    return Outputs(layer_input, final), pullback


_LayerGradients: TypeAlias = list[tuple[dict[str, Array], dict[str, Array]]]  # per direction: parameters, initial


def _pull_links(
    layers: list[list["_Direction"]],
    dy: Array | None,
    dfinal: States,
    strategy: LinkStrategy | Last,
    pull_inputs: bool,
) -> tuple[Array | None, list[_LayerGradients]]:
    """Pull back through a stack, layer by layer: the multiplier of a step applies to every layer's state."""
    T = len(layers[0][0].y)
    links = strategy.links(T)
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
            pulled.append((back.parameters, direction.initial_gradients(back.initial, dstate)))
            dx = None if back.x is None else direction.flip(back.x)
            dy = dx if dy is None or dx is None else dy + dx
        gradients.append(pulled)
    return dy, gradients[::-1]


def _pull_sweeps(
    layers: list[list["_Direction"]], dy: Array | None, dfinal: States, strategy: Blocks | Window, pull_inputs: bool
) -> tuple[Array | None, list[_LayerGradients]]:
    """Pull back through a stack of one direction by overlapping sweeps."""
    stack = [layer[0] for layer in layers]
    finals = [final[0] for final in dfinal]
    shares = [None] * (len(stack) - 1) + [dy]
    incoming = [d.entering(share, final)[0] for d, share, final in zip(stack, shares, finals, strict=True)]
    k1, k2 = (1, strategy.tau) if isinstance(strategy, Window) else (strategy.k1, strategy.k2)
    swept = sweep([d.unrolled for d in stack], [d.x for d in stack], incoming, k1, k2, pull_inputs)
    gradients = [
        [(back.parameters, d.initial_gradients(back.initial, f))]
        for d, back, f in zip(stack, swept, finals, strict=True)
    ]
    return swept[0].x, gradients


class _Direction:
    """One layer in one direction, with rows of their own lengths: an unroll between flips and masks."""

    def __init__(
        self, cell: Cell, parameters: Parameters, x: Array, initial: NamedState, lengths: Array | None, reverse: bool
    ) -> None:
        self._lengths = lengths
        self._reverse = reverse
        self.x = self.flip(x)
        self.unrolled = forward(cell, parameters, self.x, tuple(initial[name] for name in cell.states))
        tape = self.unrolled.tape
        if lengths is None:
            ends = [state[-1].copy() for state in tape.states]  # a view would keep the whole tape
        else:
            ends = [np.moveaxis(_by_row(s)[lengths, np.arange(len(lengths))], 0, -2) for s in tape.states]
            # With a cleared tape no cotangent passes through the padding, whatever the cell computed there.
            for sequence in (tape.gates, tape.kept, *(state[1:] for state in tape.states)):
                if sequence is not None:
                    _clear_padding(sequence, lengths)
        self.final = dict(zip(cell.states, ends, strict=True))
        self.y = self.flip(tape.states[0][1:])

    def entering(self, dy: Array | None, dfinal: NamedState) -> tuple[list[Array | None], State]:
        """The cotangents as the recursion takes them: of each state at each step, and of the states after the last.

        With lengths, the cotangent of a final state enters at its row's own last step.
        """
        cell, states = self.unrolled.cell, self.unrolled.tape.states
        incoming: list[Array | None] = [None] * len(states)
        if dy is not None:
            incoming[0] = self.flip(dy)
        after = tuple(np.zeros_like(state[0]) for state in states)
        for k, name in enumerate(cell.states):
            if name in dfinal:
                if self._lengths is None:
                    after[k][...] = dfinal[name]
                else:
                    rows = np.flatnonzero(self._lengths)
                    sequence = np.zeros_like(states[k][1:])
                    _by_row(sequence)[self._lengths[rows] - 1, rows] = np.moveaxis(dfinal[name], -2, 0)[rows]
                    so_far = incoming[k]
                    incoming[k] = sequence if so_far is None else so_far + sequence
        return incoming, after

    def initial_gradients(self, dinitial: State, dfinal: NamedState) -> dict[str, Array]:
        """The gradients for the initial states by name."""
        named = dict(zip(self.unrolled.cell.states, dinitial, strict=True))
        if self._lengths is None:
            return named
        empty = (self._lengths == 0)[:, None]  # rows without a step: the final state is the initial one
        return {name: d + np.where(empty, dfinal[name], 0) if name in dfinal else d for name, d in named.items()}

    def flip(self, sequence: Array) -> Array:
        """Reverse each row within its length, if this is the reverse direction. Its own inverse."""
        if not self._reverse:
            return sequence
        if self._lengths is None:
            return sequence[::-1]
        t = np.arange(len(sequence))[:, None]
        source = np.where(t < self._lengths, self._lengths - 1 - t, t)
        by_row = _by_row(sequence) if sequence.ndim > 2 else sequence  # tokens are (T, B) already
        flipped = by_row[source, np.arange(len(self._lengths))]
        return np.moveaxis(flipped, 1, -2) if sequence.ndim > 2 else flipped


def _by_row(sequence: Array) -> Array:
    """View ``(T, ..., B, H)`` as ``(T, B, ..., H)``, to be indexed by step and row."""
    return np.moveaxis(sequence, -2, 1)


def _clear_padding(sequence: Array, lengths: Array) -> None:
    """Set what lies behind each row's end to zero, in place."""
    rows = sequence if sequence.ndim == 2 else _by_row(sequence)
    rows[np.arange(len(sequence))[:, None] >= lengths] = 0


def _without_padding(sequence: Array, lengths: Array) -> Array:
    """A copy in which what lies behind each row's end is zero: garbage there, NaN included, has no effect."""
    sequence = sequence.copy()
    _clear_padding(sequence, lengths)
    return sequence


def _silenced(sequence: Array | None, steps: int) -> Array | None:
    """A copy whose first ``steps`` are zero; not a product: 0 times an exploded cotangent is not 0."""
    return None if sequence is None else np.concatenate([np.zeros_like(sequence[:steps]), sequence[steps:]])


def _zeros_before(W_hh: Array, batch: int) -> Array:
    """A state of zeros for a layer with recurrent matrix ``W_hh (..., G*H, H)``."""
    return np.zeros_like(W_hh, shape=(*W_hh.shape[:-2], batch, W_hh.shape[-1]))
