"""A character model, trained with one strategy of backpropagation through time.

The model reads tokens, ``h_t = cell(x_t, h_{t-1})``, and predicts the next one from ``o_t = W_qh h_t + b_q`` by
cross-entropy. Each step of plain gradient descent takes B sequences of T tokens from random places of the text, from a
state of zeros, and clips the gradient's norm at 1 (as D2L 9.5 does). With the same seed every strategy starts from the
same parameters and sees the same sequences.
"""

import math
import time
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from bpttcheck.studies.strategies.text import Text
from bpttref import (
    CELLS,
    Cell,
    Cotangents,
    Full,
    Objective,
    Random,
    Regular,
    Strategy,
    Window,
    streamed_gradients,
    vjp,
    zero_states,
)
from bpttref.arrays import Array

Parameters: TypeAlias = dict[str, Array]  # W_hx, ..., b_hh of the layer, and W_qh, b_q of the readout
_LAYER = ("W_hx", "W_hh", "b_hx")
_CLIP = 1.0
_JUDGED = 32  # sequences on which a loss is measured
_RECORDS = 20  # points of a learning curve


def strategy(kind: str, window: int, seed: int) -> Strategy:
    """By name: "full"; "regular" or "random" segments of ``window`` steps, exactly or on average; a "window" of cells.

    Raises ValueError for random segments of less than 2 steps on average, and where the name is unknown.
    """
    match kind:
        case "full":
            return Full()
        case "regular":
            return Regular(window)
        case "random":
            return Random(1 - 1 / window, seed)
        case "window":
            return Window(window)
    raise ValueError(f"there is no strategy {kind!r}")


@dataclass(frozen=True)
class Model:
    """The setting that all strategies of a study share: sequences of T steps, minibatches of B rows, H units."""

    cell: str
    T: int
    B: int
    H: int

    def initial(self, symbols: int, rng: np.random.Generator) -> Parameters:
        """Parameters before training, for ``symbols`` different tokens."""
        G, H = len(self._cell.gates), self.H
        shapes = {"W_hx": (G * H, symbols), "W_hh": (G * H, H), "W_qh": (symbols, H)}
        drawn = {name: rng.standard_normal(shape) / math.sqrt(H) for name, shape in shapes.items()}
        return {**drawn, "b_hx": np.zeros(G * H), "b_q": np.zeros(symbols)}

    def gradient(self, parameters: Parameters, x: Array, targets: Array, strategy: Strategy) -> Parameters:
        """The gradient of the mean loss of tokens ``x (T, B)`` and ``targets (T, B)`` by a strategy.

        Segments are pulled back one by one, in the memory of the longest; windows from one tape.
        """
        layer, objective = self._parts(parameters, targets)
        if isinstance(strategy, Window):
            outputs, pullback = vjp(self._cell, layer, x, strategy=strategy)
            assert outputs.y is not None
            evaluated = objective(outputs.y)
            pulled, readout = pullback(Cotangents(evaluated.dy)).parameters, evaluated.readout
        else:
            assert isinstance(strategy, Full | Regular | Random)
            initial = zero_states(self._cell, layer, x.shape[1])
            _, gradients, _ = streamed_gradients(self._cell, layer, [x], objective, initial, strategy)
            assert gradients.readout is not None
            pulled, readout = gradients.parameters, dict(gradients.readout)
        assert pulled is not None
        return {**pulled[0][0], **readout}

    def loss(self, parameters: Parameters, x: Array, targets: Array) -> float:
        """The mean loss of a token, in nats."""
        layer, objective = self._parts(parameters, targets)
        outputs, _ = vjp(self._cell, layer, x)
        assert outputs.y is not None
        return float(objective(outputs.y).loss)

    @property
    def _cell(self) -> Cell:
        return next(cell for cell in CELLS if cell.name == self.cell)

    def _parts(self, parameters: Parameters, targets: Array) -> tuple[tuple[tuple[Parameters]], Objective]:
        readout = parameters["W_qh"], parameters["b_q"]
        objective = Objective("cross-entropy", targets, *readout, scale=1 / targets.size)
        return (({name: parameters[name] for name in _LAYER},),), objective


@dataclass(frozen=True, eq=False)
class Training:
    """A job: train with one strategy from one seed."""

    name: str
    model: Model
    text: Text
    strategy: str
    window: int
    seed: int
    steps: int
    rate: float

    def run(self) -> dict[str, Array]:
        """The learning curve, and the parameters at its end by name.

        The curve: ``step``, ``seconds`` (CPU time of only the training), ``training`` and ``held_out``, the losses on
        fixed sequences of both.
        """
        rng, patterns = np.random.default_rng(self.seed), np.random.default_rng([self.seed, 1])
        model, T = self.model, self.model.T
        parameters = model.initial(len(self.text.characters), rng)
        judged = [self.text.stretches(tokens, T, _JUDGED) for tokens in (self.text.training, self.text.held_out)]
        recorded = set(np.linspace(0, self.steps, _RECORDS + 1).astype(int).tolist())
        curve, seconds = [], 0.0
        for step in range(self.steps + 1):
            if step in recorded:
                curve.append((step, seconds, *(model.loss(parameters, *sequences) for sequences in judged)))
            x, targets = self.text.sequences(rng, T, model.B)
            by = strategy(self.strategy, self.window, int(patterns.integers(2**32)))
            start = time.thread_time()
            descend(parameters, model.gradient(parameters, x, targets, by), self.rate)
            seconds += time.thread_time() - start
        names = ("step", "seconds", "training", "held_out")
        return {**dict(zip(names, np.array(curve).T, strict=True)), **parameters}


def descend(parameters: Parameters, gradient: Parameters, rate: float) -> None:
    """One step of gradient descent, in place, with the gradient's norm clipped."""
    norm = math.sqrt(sum(float(np.vdot(array, array)) for array in gradient.values()))
    for name, array in gradient.items():
        parameters[name] -= rate * min(1.0, _CLIP / max(norm, _CLIP)) * array
