"""One layer in one direction, unrolled over time: the whole of backpropagation through time.

The forward pass projects all inputs in one product, then walks the steps. The backward pass is one recursion for
the cotangent of the state (D2L 9.7.2, eqs. 9.7.13-14),

    sbar_{t-1} = xi_t * J_t' sbar_t + ybar_{t-1},              J_t = d s_t / d s_{t-1},

in which a strategy is only the multipliers ``xi_t`` of the links: 1 everywhere is full BPTT, 0 is a cut,
``1/pi`` with probability ``pi`` is randomized truncation. `sweep` runs the same recursion from many losses at once,
each over its own window, for the truncations that are not links. The adjoints ``da_t`` of the pre-activations are
stored for many steps, so that the gradients of the weights are large products over time and batch.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from bpttref.arrays import Array, added, bias_gradient, project
from bpttref.cells import Cell, State, Tape
from bpttref.inputs import input_weight_gradient, is_tokens, project_input

NamedState: TypeAlias = Mapping[str, Array]  # "h" and, for LSTM, "c": (B, H)
Parameters: TypeAlias = Mapping[str, Array]  # W_hx, W_hh and, unless the cell has no biases, b_hx, b_hh
_CACHED = 2**18  # bytes per block of local derivatives: with their operands they fit into a small L2 cache
_ROWS = 128  # the least that the products for the gradients sum over: fewer would be slow
Incoming: TypeAlias = Sequence[Array | None]  # per state: cotangents (T, ..., B, H) that enter at each step


class Resets(NamedTuple):
    """flags: ``(T, B)``, before which steps which rows are reset. to: the state that they then start from."""

    flags: Array
    to: State


class Unrolled(NamedTuple):
    """A layer after its forward pass, with the data for the backward pass."""

    cell: Cell
    parameters: Parameters
    tape: Tape
    resets: Resets | None = None


def forward(cell: Cell, parameters: Parameters, x: Array, initial: State, resets: Resets | None = None) -> Unrolled:
    """Unroll ``cell`` over ``x (T, ..., B, D)`` or tokens ``(T, B)`` from the ``initial`` state."""
    W_hh, b_hh = parameters["W_hh"], parameters.get("b_hh")
    with np.errstate(over="ignore"):  # sigmoid lets exp overflow on purpose
        T, H, G = len(x), W_hh.shape[-1], len(cell.gates)
        rows = initial[0].shape[:-1]
        states = tuple(np.empty_like(W_hh, order="C", shape=(T + 1, *rows, H)) for _ in cell.states)
        for state, start in zip(states, initial, strict=True):
            state[0] = start
        kept = np.empty_like(states[0], shape=(T, *rows, H)) if cell.keeps else None
        # A cell with one gate has no other output than that gate: it becomes the state where it stands.
        a = states[0][1:] if G == 1 else np.empty_like(states[0], shape=(T, *rows, G * H))
        project_input(x, parameters["W_hx"], a)
        biases = [parameters["b_hx"]] if "b_hx" in parameters else []
        if b_hh is not None:
            biases.append(cell.input_bias(b_hh))
        if biases:
            a += sum(biases[1:], biases[0])[..., None, :]  # one pass over the gates of all steps
        work = np.empty_like(a, shape=a.shape[1:])
        W = W_hh.swapaxes(-1, -2).copy()  # contiguous: faster in every step
        gates = zip(*(a[..., k * H : (k + 1) * H] for k in range(G)), strict=True)
        along_time = list(zip(*states, strict=True))
        before: Iterable[State] = along_time[:-1]
        restarted = None if resets is None else tuple(np.empty_like(state[1:]) for state in states)
        if resets is not None and restarted is not None:
            before = _restarting(before, zip(*restarted, strict=True), resets)
        kept_along_time = [None] * T if kept is None else kept
        for arrays in zip(a, gates, before, along_time[1:], kept_along_time, strict=True):
            cell.step(*arrays, W, b_hh, work)
    return Unrolled(cell, parameters, Tape(a, states, kept, restarted), resets)


def _restarting(states: Iterable[State], restarted: Iterable[State], resets: Resets) -> Iterator[State]:
    """The start of each step, written into ``restarted``: the state before, except in rows that are reset."""
    for state, start, rows in zip(states, restarted, resets.flags, strict=True):
        for whole, part, to in zip(start, state, resets.to, strict=True):
            np.copyto(whole, part)
            np.copyto(whole, to, where=rows[:, None])
        yield start


class Pulled(NamedTuple):
    """The gradients that come back to a layer. x: None for tokens, and where its gradient is not wanted. initial: to
    the initial states. reset: to the states that rows are reset to, summed over the resets; None where there are
    none."""

    x: Array | None
    parameters: dict[str, Array]
    initial: State
    reset: State | None = None


def backward(
    layer: Unrolled, x: Array, incoming: Incoming, final: State, links: Array, pull_input: bool = True
) -> Pulled:
    """The recursion over links, for a ``layer`` whose input was ``x``, whose gradient may not be wanted.

    incoming: cotangents of the states at each step. final: cotangents of the states after the last step.
    links: ``(T,)``, the multipliers ``xi_t``; ``links[0]`` belongs to the link from the initial state.

    The adjoints are pulled back to inputs and parameters a stretch at a time, so that their memory is a part of the
    tape's: an eighth of the steps, unless the products would be too small.
    """
    gates = layer.tape.gates
    dx = np.empty_like(x, order="C") if pull_input and not is_tokens(x) else None
    T, xi = len(gates), links.tolist()
    ds: State = tuple(cotangent.astype(gates.dtype, copy=False) for cotangent in final)
    stretch = max(1, -(-T // 8), -(-_ROWS // max(1, gates.shape[-2])))
    adjoints = np.empty_like(gates, shape=(min(stretch, T), *gates.shape[1:]))
    gradients: dict[str, Array] = {}
    reset = None if layer.resets is None else tuple(np.zeros_like(d) for d in ds)
    for start, stop in _ranges(0, T, stretch) or [(0, 0)]:
        da = adjoints[: stop - start]
        ds = _pull_steps(layer, start, stop, incoming, ds, xi, da, reset)
        _add_gradients(gradients, layer, start, stop, x, da)
        if dx is not None:
            project(da, layer.parameters["W_hx"], out=dx[start:stop])
    return Pulled(dx, gradients, ds, reset)


def _pull_steps(
    layer: Unrolled,
    start: int,
    stop: int,
    incoming: Incoming,
    ds: State,
    xi: list[float],
    da: Array,
    reset: State | None,
) -> State:
    """Take ``ds`` from the steps' end to their start; ``da`` receives their adjoints, and ``reset`` the cotangents of
    the states that rows are reset to."""
    cell, W_hh = layer.cell, layer.parameters["W_hh"]
    gates, resets = _by_gate(da, cell), layer.resets
    entering = [(k, sequence) for k, sequence in enumerate(incoming) if sequence is not None]
    for first, last in _ranges(start, stop, max(1, _CACHED // max(1, da[:1].nbytes))):
        local = zip(*cell.linearise(layer.tape.steps(first, last)), strict=True)
        for t, derivatives in reversed(list(zip(range(first, last), local, strict=True))):
            for k, sequence in entering:
                np.add(ds[k], sequence[t], out=ds[k])
            ds = cell.pull(derivatives, ds, W_hh, gates[t - start])
            if resets is not None and reset is not None:
                _take_resets(reset, ds, resets.flags[t])
            if xi[t] != 1:
                for cotangent in ds:
                    if xi[t] == 0:
                        cotangent.fill(0)  # not a product: 0 times an exploded gradient is not 0
                    else:
                        cotangent *= xi[t]
    return ds


def sweep(
    stack: Sequence[Unrolled], xs: Sequence[Array], incoming: Sequence[Incoming], k1: int, k2: int, pull_input: bool
) -> list[Pulled]:
    """Overlapping sweeps down a ``stack`` of layers with inputs ``xs``; per layer, the gradients that `backward`
    returns.

    The losses come in blocks of ``k1`` steps. Each block's sweep starts at its last step and goes back over
    ``k2`` steps, the block included; k1 = 1 gives every loss a window of k2 cells of its own.
    ``incoming`` holds the cotangents of each layer's states at each step, bottom layer first. In a stack one loss
    must carry its window down through all layers, so a sweep takes every layer back by one step before the next.

    All sweeps advance together, as replicates: lag j of every sweep is one step of the recursion.
    """
    tapes = [layer.tape for layer in stack]
    T = len(tapes[0].gates)
    first = np.arange(0, T, k1)
    last = np.minimum(first + k1, T) - 1
    local = [layer.cell.linearise(layer.tape) for layer in stack]
    da = [np.zeros_like(tape.gates) for tape in tapes]
    initial = [tuple(np.zeros_like(s[0]) for s in tape.states) for tape in tapes]
    reset = [
        None if layer.resets is None else tuple(np.zeros_like(total) for total in start)
        for layer, start in zip(stack, initial, strict=True)
    ]
    ds = [tuple(np.zeros_like(s, shape=(len(last), *s.shape[1:])) for s in tape.states) for tape in tapes]
    for lag in range(min(k2, T + 1)):
        times = last - lag
        for start, cotangents in zip(initial, ds, strict=True):
            for total, cotangent in zip(start, cotangents, strict=True):
                total += cotangent[times == -1].sum(axis=0)
        running = times >= 0
        times, first = times[running], first[running]
        last, in_block = last[running], times >= first
        from_above: Array | None = None
        for k in reversed(range(len(stack))):
            cell, parameters, _, resets = stack[k]
            state = tuple(cotangent[running] for cotangent in ds[k])
            for cotangent, sequence in zip(state, incoming[k], strict=True):
                if sequence is not None:
                    cotangent[in_block] += sequence[times[in_block]]
            if from_above is not None:
                state[0][...] += from_above
            step = np.empty_like(tapes[k].gates, shape=(len(times), *tapes[k].gates.shape[1:]))
            ds[k] = cell.pull(tuple(a[times] for a in local[k]), state, parameters["W_hh"], _by_gate(step, cell))
            if resets is not None and (again := reset[k]) is not None:
                rows = np.expand_dims(resets.flags[times], tuple(range(1, ds[k][0].ndim - 2)))
                _take_resets(again if lag + 1 < k2 else tuple(np.zeros_like(total) for total in again), ds[k], rows)
            da[k][times] += step
            from_above = step @ parameters["W_hx"]
    pulled = []
    for layer, x, adjoints, start, again in zip(stack, xs, da, initial, reset, strict=True):
        gradients: dict[str, Array] = {}
        _add_gradients(gradients, layer, 0, T, x, adjoints)
        dx = project(adjoints, layer.parameters["W_hx"]) if pull_input and not is_tokens(x) else None
        pulled.append(Pulled(dx, gradients, start, again))
    return pulled


def _take_resets(reset: State, ds: State, rows: Array) -> None:
    """Move cotangents of the ``rows (.., B)`` that are reset from ``ds``, of the states before, to ``reset``."""
    if rows.any():
        for total, cotangent in zip(reset, ds, strict=True):
            there = np.where(rows[..., None], cotangent, 0)
            total += there if there.ndim == total.ndim else there.sum(axis=0)
            np.copyto(cotangent, 0, where=rows[..., None])


def _by_gate(da: Array, cell: Cell) -> Array:
    """View ``(..., G*H)`` as ``(..., G, H)``."""
    G = len(cell.gates)
    return da.reshape(*da.shape[:-1], G, da.shape[-1] // G)


def _ranges(start: int, stop: int, size: int) -> list[tuple[int, int]]:
    """The steps ``start <= t < stop`` in ranges of at most ``size``, the last first."""
    return [(max(start, end - size), end) for end in range(stop, start, -size)]


def _add_gradients(so_far: dict[str, Array], layer: Unrolled, start: int, stop: int, x: Array, da: Array) -> None:
    """Add the gradients of the parameters for the steps ``start <= t < stop``, from their adjoints ``da``."""
    dW_hh, db_hh = layer.cell.recurrent_gradient(da, layer.tape.steps(start, stop))
    W_hx = layer.parameters["W_hx"]
    so_far["W_hx"] = input_weight_gradient(da, x[start:stop], W_hx, so_far.get("W_hx"))
    so_far["W_hh"] = added(so_far.get("W_hh"), dW_hh)
    if "b_hx" in layer.parameters:
        so_far["b_hx"] = added(so_far.get("b_hx"), bias_gradient(da))
    if "b_hh" in layer.parameters:
        so_far["b_hh"] = added(so_far.get("b_hh"), db_hh)
