"""The arrays of a drawn case: the same for the same draw."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bpttcheck.cases.changes import only_ends, zero_where
from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.reductions import scale_of
from bpttcheck.cases.shapes import output_width, parameter_shapes, state_shapes, stream_shapes
from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, states_of
from bpttcheck.custom_cell import drawn as drawn_from
from bpttcheck.custom_cell import whole
from bpttcheck.dtypes import FORMATS, rounded
from bpttref import GRU, LSTM, RNN, Cell, Objective, trees
from bpttref.arrays import Array

_FEW_UNITS = 512  # of all steps and rows: none may come too near to a kink
KEEPING: Mapping[type, str] = {LSTM: "f", GRU: "z"}  # the gate that multiplies the kept state of a cell


def realise(draw: Draw, cell: Cell | CustomCell, dtype: str, capabilities: Capabilities) -> tuple[Case, Cotangents]:
    """The case and the cotangents of a draw: the same for the same draw. A user's own case starts from zeros unless it
    has initial states."""
    source = _Source(draw, cell, dtype)
    rng, values = source.rng, source.values
    directions = 2 if draw.bidirectional else 1

    x, width = _tokens(draw, rng, capabilities) if draw.tokens else (source.inputs(), draw.D)
    parameters, initial, final = [], [], []
    for _ in range(draw.layers):
        shapes = parameter_shapes(cell, width, draw.H, capabilities.biases)
        drawn = [{name: source.parameter(name, shape) for name, shape in shapes.items()} for _ in range(directions)]
        if draw.remembers and FORMATS[dtype].eps < 1e-3:  # in 16 bits nothing is remembered for long
            drawn = [remembering(cell, p, dtype) for p in drawn]
        elif cell == RNN("relu") and capabilities.biases and draw.T * draw.B * draw.H > _FEW_UNITS:
            drawn = [_decided(p, dtype) for p in drawn]
        parameters.append(tuple(drawn))
        rows = {name: (draw.B, *shape) for name, shape in state_shapes(cell, width, draw.H).items()}
        initial.append(
            tuple({name: source.of_domain(name, s, 0.5) for name, s in rows.items()} for _ in range(directions))
        )
        final.append(tuple({name: values(*s) for name, s in rows.items()} for _ in range(directions)))
        width = directions * output_width(cell, width, draw.H)
    lengths = None
    if draw.ragged:
        shortest = 0 if capabilities.empty and rng.random() < 0.3 else 1
        filled = draw.T == shortest or rng.random() < 2 / 3  # else the padding is wider than any row
        lengths = rng.integers(shortest, draw.T + filled, draw.B)
        if filled:
            lengths[rng.integers(draw.B)] = draw.T
        if shortest == 0 and draw.B > 1:  # chance draws a row without steps too rarely
            lengths[lengths.argmin()] = 0
    case = Case(
        cell,
        dtype,
        tuple(parameters),
        x,
        _declared(initial, capabilities.inputs, "initial"),
        lengths,
        chunk=draw.chunk or None,
        resets=_resets(draw) if draw.resets and not draw.bidirectional else None,
        reset_to=capabilities.resets_to,
        inside=capabilities.inside.get(dtype, ""),
    )
    objective = _objective(rng, values, (draw.T, draw.B, width), capabilities, draw.seed % 4 == 3)
    dy = values(draw.T, draw.B, width) if {"y", "last"} & {*capabilities.outputs} else None
    cotangents = Cotangents(dy, _declared(final, capabilities.outputs, "final"))
    if isinstance(cell, CustomCell):
        cotangents = cotangents._replace(final=zero_where(cotangents.final, cell.without_cotangent))
    if draw.file is not None:
        own, given, *_ = draw.file.holds(cell, dtype, capabilities)
        case = replace(own, initial=own.initial or trees.scale(case.initial, 0))
        cotangents = given if any(part is not None for part in given) else cotangents
    if "last" in capabilities.outputs and cotangents.y is not None:
        cotangents = cotangents._replace(y=only_ends(case, cotangents.y))
    if objective is not None:
        objective = _of_valid_steps(objective, case.lengths, capabilities)
    return replace(case, objective=objective), cotangents


def _declared(states: Any, declared: Collection[str], kind: str) -> Any:
    """The declared states; None if there is none."""
    names = states_of(declared, kind, states[0][0])
    if not names and kind not in declared:
        return None
    return tuple(tuple({name: leaf[name] for name in names} for leaf in layer) for layer in states)


def _resets(draw: Draw) -> Array:
    """Flags, of which one in three is set, also before the first step, and at least one inside the sequence."""
    rng = np.random.default_rng([draw.seed, 1])
    flags = rng.random((draw.T, draw.B)) < 1 / 3
    flags[rng.integers(min(1, draw.T - 1), draw.T), rng.integers(draw.B)] = True
    return flags


class _Source:
    """The numbers of a draw, one array after the other."""

    def __init__(self, draw: Draw, cell: Cell | CustomCell, dtype: str) -> None:
        self.rng = np.random.default_rng(draw.seed)
        self._draw, self._cell, self._dtype = draw, cell, dtype

    def values(self, *shape: int, scale: float = 1.0) -> Array:
        drawn = self.rng.standard_normal(shape)
        if self._draw.rounded:
            drawn = np.where(drawn < 0, -1, 1) * np.ceil(4 * np.abs(drawn)) / 4
        return rounded(scale * drawn, self._dtype)

    def of_domain(self, name: str, shape: tuple[int, ...], scale: float) -> Array:
        domain = self._cell.domain(name) if isinstance(self._cell, CustomCell) else None
        if domain is None:
            return self.values(*shape, scale=scale)
        nearer = 1 / 16 if self._draw.remembers and FORMATS[self._dtype].eps < 1e-3 else 1.0
        normal = self.values(*shape).astype(np.float64)
        found = drawn_from(domain, normal, self.rng, rounded=self._draw.rounded, nearer=nearer)
        return found if whole(domain) else rounded(found, self._dtype)

    def parameter(self, name: str, shape: tuple[int, ...]) -> Array:
        """Names tell which vectors are biases: other vectors of an unknown cell may have to stay away from zero."""
        drawn = self.of_domain(name, shape, self._draw.weight_scale if len(shape) > 1 else 0.5)
        unbiased = self._draw.unbiased and name.rpartition("/")[2].startswith(("b_", "bias"))
        return np.zeros_like(drawn) if unbiased else drawn

    def inputs(self) -> Any:
        """x, or the streams by name."""
        T, B, per_step = self._draw.T, self._draw.B, stream_shapes(self._cell, self._draw.D, self._draw.H)
        found = {name: self.of_domain(name, (T, B, *shape), 1.0) for name, shape in per_step.items()}
        return found["x"] if "x" in found else found


def remembering(cell: Cell | CustomCell, parameters: Mapping[str, Array], dtype: str) -> dict[str, Array]:
    """Weights of one direction of a layer with which a known cell's states neither vanish nor explode.

    The gate that keeps is almost open, where there are biases. A plain RNN turns its state, and is driven so weakly
    that its units do not saturate. A ReLU passes its units on, one to the next, and all of them stay positive.
    """
    p = dict(parameters)
    if isinstance(cell, CustomCell):
        return p
    H = p["W_hh"].shape[1]
    if isinstance(cell, RNN):
        relu = cell.activation == "relu"
        turned = np.roll(np.eye(H), 1, axis=0) if relu else np.linalg.qr(p["W_hh"].astype(np.float64))[0]
        p = {name: 0.05 * array for name, array in p.items()} | {"W_hh": turned}
        if relu and "b_hx" in p:
            p["b_hx"] = np.abs(p["b_hx"]) + 0.2
    elif type(cell) in KEEPING and "b_hx" in p:
        keeping = cell.gates.index(KEEPING[type(cell)])
        p = {name: array if name == "W_hh" else 0.2 * array for name, array in p.items()}  # the kept state stays small
        p["b_hx"] = p["b_hx"] + 4 * (np.arange(len(p["b_hx"])) // H == keeping)
    return {name: rounded(array.astype(np.float64), dtype) for name, array in p.items()}


def _decided(parameters: Mapping[str, Array], dtype: str) -> dict[str, Array]:
    """Weights with which the bias keeps each ReLU on or off for any input: of many other ReLUs some come too near to
    their kink."""
    p = {name: 0.2 * array.astype(np.float64) for name, array in parameters.items()}
    p["b_hx"] += np.where(p["b_hx"] < 0, -3, 3)
    return {name: rounded(array, dtype) for name, array in p.items()}


def _tokens(draw: Draw, rng: np.random.Generator, capabilities: Capabilities) -> tuple[Array, int]:
    """Tokens ``(T, B)`` and how many there may be. Half the time no two are the same: the columns of dW_hx are then
    the gradients of single steps."""
    size = draw.T * draw.B
    distinct = "D" not in capabilities.sizes and bool(rng.integers(2))
    tokens = rng.permutation(size) if distinct else rng.integers(0, draw.D, size)
    return tokens.reshape(draw.T, draw.B), size if distinct else draw.D


def _objective(
    rng: np.random.Generator,
    values: Callable[..., Array],
    shape: tuple[int, int, int],
    capabilities: Capabilities,
    large: bool,
) -> Objective | None:
    """An objective of one of the declared kinds for outputs of this ``shape``. In each fourth case the readout is
    large, so that gradients pass the bounds at which training loops clip them, but not so large that the logarithm of a
    softmax in float32 overflows."""
    if not capabilities.objectives:
        return None
    T, B, width = shape
    kind: Any = str(rng.choice(sorted(capabilities.objectives)))
    given = float(2.0 ** rng.integers(-2, 3))
    scale = given if capabilities.reduction == "given" else scale_of(capabilities, T, B, None)
    weights = rng.integers(1, 9, T) / 4 if capabilities.loss_weights else None
    readouts, size = int(rng.integers(2, 5)), 8 / width**0.5 if large else 1.0
    W_qh, b_q = (None, None) if kind == "linear" else (values(readouts, width, scale=size), values(readouts))
    b_q = b_q if capabilities.readout_bias else None
    if kind == "cross-entropy":
        targets = rng.integers(0, readouts, (T, B))
    else:
        targets = values(T, B, width if kind == "linear" else readouts)
    return Objective(kind, targets, W_qh, b_q, weights, scale)


def _of_valid_steps(objective: Objective, lengths: Array | None, capabilities: Capabilities) -> Objective:
    """The same for rows of these ``lengths``: losses behind the end of a row have the weight 0, and a mean counts only
    the steps of the rows. Weights of steps become weights of steps and rows. With outputs of only the last step all
    other steps have the weight 0."""
    T, B = objective.targets.shape[:2]
    last = "last" in capabilities.outputs
    if lengths is None or capabilities.padding_counts:
        of_steps = np.ones(T) if objective.weights is None else objective.weights
        return replace(objective, weights=of_steps * (np.arange(T) == T - 1)) if last else objective
    step, row = np.arange(T)[:, None], np.arange(B)
    there = ((step == lengths - 1) if last else (step < lengths)).astype(float)
    weights = there if objective.weights is None else there * objective.weights[(step + row) % T]
    given = capabilities.reduction == "given"
    scale = objective.scale if given else scale_of(capabilities, T, B, lengths)
    return replace(objective, weights=weights, scale=scale)
