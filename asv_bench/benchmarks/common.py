"""Shared by the benchmarks: problems, one gradient by each strategy, the best of many runs, versions of series.

Sizes are T steps, B rows, D inputs and H units. This must import at every commit that is measured, so it uses the
public names of `bpttref` and no others.
"""

import ast
import hashlib
import inspect
import os
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from bpttref import (
    GRU,
    LSTM,
    RNN,
    Cell,
    Cotangents,
    Evaluated,
    Random,
    Regular,
    checkpointed_vjp,
    streamed_gradients,
    vjp,
    zero_states,
)

Run: TypeAlias = Callable[[], Any]

CELLS: dict[str, Cell] = {"rnn": RNN("tanh"), "lstm": LSTM(), "gru": GRU("after")}
SECONDS = float(os.environ.get("BENCH_SECONDS", "1"))  # for the best of many; 0 measures once
STRATEGIES = ("full", "regular", "random", "checkpointed")


class Problem(NamedTuple):
    """A layer, its inputs and the cotangents of its outputs ``(T, B, H)``."""

    cell: Cell
    parameters: dict[str, np.ndarray]
    x: np.ndarray  # (T, B, D), or tokens (T, B)
    dy: np.ndarray


def drawn(cell: Cell, T: int, B: int, D: int, H: int, dtype: str = "float64", tokens: bool = False) -> Problem:
    """A random problem, the same on each call. With ``tokens``, D is the size of the vocabulary."""
    rng, rows = np.random.default_rng(0), len(cell.gates) * H
    shapes = {"W_hx": (rows, D), "W_hh": (rows, H), "b_hx": (rows,), "b_hh": (rows,)}
    parameters = {name: (rng.standard_normal(s) / np.sqrt(H)).astype(dtype, copy=False) for name, s in shapes.items()}
    x, dy = (rng.standard_normal((T, B, k)).astype(dtype, copy=False) for k in (D, H))
    return Problem(cell, parameters, rng.integers(0, D, (T, B)) if tokens else x, dy)


def gradient(strategy: str, problem: Problem, window: int) -> Run:
    """One gradient by a strategy of `STRATEGIES`, by the call that is meant for it.

    ``window`` is the length of the segments of "regular", and the mean length of the segments of "random".
    """
    cell, _, x, dy = problem
    parameters = ((problem.parameters,),)
    initial = zero_states(cell, parameters, x.shape[1])
    if strategy == "full":
        return lambda: _pulled(vjp(cell, parameters, x, initial), dy)
    if strategy == "checkpointed":
        return lambda: _pulled(checkpointed_vjp(cell, parameters, x, initial), dy)

    def objective(y: np.ndarray, start: int) -> Evaluated:
        part = dy[start : start + len(y)]
        return Evaluated(np.vdot(part, y), part, {})

    links = truncation(strategy, window)
    chunks = [x[start : start + window] for start in range(0, len(x), window)]
    return lambda: streamed_gradients(cell, parameters, chunks, objective, initial, links)


def truncation(strategy: str, window: int, seed: int = 0) -> Regular | Random:
    """Segments of ``window`` steps: exactly, or on average."""
    return Regular(window) if strategy == "regular" else Random(1 - 1 / window, seed)


def _pulled(forward: tuple[Any, Any], dy: np.ndarray) -> tuple[Any, Any]:
    outputs, pullback = forward
    return outputs.y, pullback(Cotangents(dy))


def best_times(contenders: Sequence[Run], seconds: float = SECONDS) -> list[float]:
    """The smallest CPU time of each contender, interleaved, for about ``seconds`` of CPU time, once at least."""
    best = [float("inf")] * len(contenders)
    end = time.process_time() + seconds
    while time.process_time() < end or float("inf") in best:
        for k, run in enumerate(contenders):
            start = time.process_time()
            run()
            best[k] = min(best[k], time.process_time() - start)
    return best


def floored(number: float) -> float:
    """A number as asv can compare it: a ratio to an exact zero says nothing."""
    return max(float(number), 1e-12)


def longest_segment(strategy: Regular | Random, T: int) -> int:
    """Steps of the longest piece between two cuts of ``T`` steps."""
    cuts = np.flatnonzero(strategy.links(T) == 0)
    return int(np.diff([0, *cuts, T]).max())


def step_bytes(cell: Cell, array_bytes: int) -> int:
    """A step's cache: gates, states, and the other arrays that the cell keeps, of ``array_bytes = B H itemsize`` each.

    The gate of a plain RNN is its state.
    """
    gates = len(cell.gates) if len(cell.gates) > 1 else 0
    return (gates + len(cell.states) + cell.keeps) * array_bytes


class Benchmark:
    """A class of benchmarks whose series end where its module, this one, or one of its ``helpers`` changes.

    ``version`` is a hash of their code, without comments, docstrings and layout.
    """

    helpers: tuple[ModuleType, ...] = ()
    timer = time.process_time
    version: str

    def __init_subclass__(cls) -> None:
        modules = [sys.modules[cls.__module__], sys.modules[__name__], *cls.helpers]
        cls.version = hashlib.sha256("".join(map(_code, modules)).encode()).hexdigest()[:16]


def _code(module: ModuleType) -> str:
    """The syntax tree of a module, without docstrings."""
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            del node.body[0]
    return ast.dump(tree)
