"""One layer in one direction, unrolled over time: the whole of backpropagation through time.

The forward pass projects all inputs in one product, then walks the steps. The backward pass is one recursion for
the cotangent of the state (D2L 9.7.2, eq. 9.7.12-13),

    sbar_{t-1} = xi_t * J_t' sbar_t + ybar_{t-1},              J_t = d s_t / d s_{t-1},

in which a strategy is nothing but the multipliers ``xi_t`` of the links: 1 everywhere is full BPTT, 0 is a cut,
``1/pi`` with probability ``pi`` is randomized truncation. `sweep` runs the same recursion from many losses at once,
each over its own window, for the truncations that are not links. Each step's adjoint ``da_t`` of the
pre-activations is stored, so that all weight gradients are single products over time and batch.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from bpttref.arrays import Array, bias_gradient
from bpttref.cells import Cell, State, Tape
from bpttref.inputs import input_weight_gradient, project_input

Parameters: TypeAlias = Mapping[str, Array]  # W_hx, W_hh and, unless the cell has no biases, b_hx, b_hh
_CACHED = 2**16  # numbers per block of local derivatives: half a megabyte in float64, the size of a small L2 cache
Incoming: TypeAlias = Sequence[Array | None]  # per state: cotangents (T, ..., B, H) that enter at each step


class Unrolled(NamedTuple):
    """A layer after its forward pass: what the backward pass needs to know."""

    cell: Cell
    parameters: Parameters
    tape: Tape


def forward(cell: Cell, parameters: Parameters, x: Array, initial: State) -> Unrolled:
    """Unroll ``cell`` over ``x (T, ..., B, D)`` or tokens ``(T, B)`` from the ``initial`` state."""
    W_hh, b_hh = parameters["W_hh"], parameters.get("b_hh")
    with np.errstate(over="ignore"):  # sigmoid lets exp overflow on purpose
        a = project_input(x, parameters["W_hx"])
        if "b_hx" in parameters:
            a += parameters["b_hx"][..., None, :]
        if b_hh is not None:
            a += cell.input_bias(b_hh)[..., None, :]
        T, hidden = len(a), (*a.shape[1:-1], W_hh.shape[-1])
        states = tuple(np.empty_like(a, shape=(T + 1, *hidden)) for _ in cell.states)
        for state, start in zip(states, initial, strict=True):
            state[0] = start
        kept = np.empty_like(a, shape=(T, *hidden)) if cell.keeps else None
        work = np.empty_like(a, shape=a.shape[1:])
        W = W_hh.swapaxes(-1, -2).copy()  # contiguous: faster in every step
        along_time = list(zip(*states, strict=True))
        for t in range(T):
            cell.step(a[t], along_time[t], along_time[t + 1], None if kept is None else kept[t], W, b_hh, work)
    return Unrolled(cell, parameters, Tape(a, states, kept))


def backward(layer: Unrolled, incoming: Incoming, final: State, links: Array) -> tuple[Array, State]:
    """The recursion over links.

    incoming: cotangents of the states at each step. final: cotangents of the states after the last step.
    links: ``(T,)``, the multipliers ``xi_t``; ``links[0]`` belongs to the link from the initial state.
    Returns the adjoints ``da (T, ..., B, G*H)`` and the cotangents of the initial state.
    """
    cell, W_hh, tape = layer.cell, layer.parameters["W_hh"], layer.tape
    ds: State = tuple(np.array(cotangent, dtype=tape.gates.dtype, subok=True) for cotangent in final)
    da = np.empty_like(tape.gates)
    gates = _by_gate(da, cell)
    entering = [(k, sequence) for k, sequence in enumerate(incoming) if sequence is not None]
    xi = links.tolist()
    for start, stop in _blocks(tape):
        local = list(zip(*cell.linearise(tape.steps(start, stop)), strict=True))
        for t in range(stop - 1, start - 1, -1):
            for k, sequence in entering:
                ds[k][...] += sequence[t]
            ds = cell.pull(local[t - start], ds, W_hh, gates[t])
            if xi[t] == 0:
                for cotangent in ds:
                    cotangent.fill(0)  # not a product: 0 times an exploded gradient is not 0
            elif xi[t] != 1:
                for cotangent in ds:
                    cotangent *= xi[t]
    return da, ds


def sweep(stack: Sequence[Unrolled], incoming: Sequence[Incoming], k1: int, k2: int) -> list[tuple[Array, State]]:
    """Overlapping sweeps down a ``stack`` of layers; per layer, what `backward` returns.

    The losses come in blocks of ``k1`` steps. Each block's sweep starts at its last step and goes back over
    ``k2`` steps, those of the block included; k1 = 1 gives every loss a window of k2 cells of its own.
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
            cell, parameters, _ = stack[k]
            state = tuple(cotangent[running] for cotangent in ds[k])
            for cotangent, sequence in zip(state, incoming[k], strict=True):
                if sequence is not None:
                    cotangent[in_block] += sequence[times[in_block]]
            if from_above is not None:
                state[0][...] += from_above
            step = np.empty_like(tapes[k].gates, shape=(len(times), *tapes[k].gates.shape[1:]))
            ds[k] = cell.pull(tuple(a[times] for a in local[k]), state, parameters["W_hh"], _by_gate(step, cell))
            da[k][times] += step
            from_above = step @ parameters["W_hx"]
    return list(zip(da, initial, strict=True))


def _by_gate(da: Array, cell: Cell) -> Array:
    """View ``(..., G*H)`` as ``(..., G, H)``."""
    G = len(cell.gates)
    return da.reshape(*da.shape[:-1], G, da.shape[-1] // G)


def _blocks(tape: Tape) -> list[tuple[int, int]]:
    """Ranges of steps, last first, whose local derivatives stay in the cache between being made and being used."""
    T = len(tape.gates)
    size = max(1, _CACHED // max(1, tape.gates[:1].size))
    return [(max(0, stop - size), stop) for stop in range(T, 0, -size)]


def layer_gradients(layer: Unrolled, x: Array, da: Array) -> dict[str, Array]:
    """Gradients for the parameters of a ``layer`` with input ``x``, from the adjoints ``da (T, ..., B, G*H)``."""
    parameters = layer.parameters
    dW_hh, db_hh = layer.cell.recurrent_gradient(da, layer.tape)
    gradients = {"W_hx": input_weight_gradient(da, x, parameters["W_hx"]), "W_hh": dW_hh}
    if "b_hx" in parameters:
        gradients["b_hx"] = bias_gradient(da)
    if "b_hh" in parameters:
        gradients["b_hh"] = db_hh
    return gradients
