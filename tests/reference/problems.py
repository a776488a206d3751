"""Problems for the tests of the reference, drawn by Hypothesis as sizes and a seed."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from bpttref import CELLS, Cell, Cotangents
from bpttref.oracles import Problem, array_at


def make(cell: Cell, T: int, B: int, D: int, H: int, layers: int, seed: int, scale: float = 0.6) -> Problem:
    """A problem with non-zero biases, states and cotangents."""
    rng = np.random.default_rng(seed)
    parameters, width = [], D
    for _ in range(layers):
        rows = len(cell.gates) * H
        shapes = {"W_hx": (rows, width), "W_hh": (rows, H), "b_hx": (rows,), "b_hh": (rows,)}
        parameters.append(({name: scale * rng.normal(size=shape) for name, shape in shapes.items()},))
        width = H

    def states() -> Any:
        return tuple(({name: rng.normal(size=(B, H)) for name in cell.states},) for _ in range(layers))

    x = rng.normal(size=(T, B, D))
    return Problem(cell, tuple(parameters), x, states(), Cotangents(rng.normal(size=(T, B, H)), states()))


def problems(cells: tuple[Cell, ...] = CELLS, layers: int = 2, least: int = 1) -> st.SearchStrategy[Problem]:
    return st.builds(
        make,
        st.sampled_from(cells),
        T=st.integers(least, 6),
        B=st.integers(1, 3),
        D=st.integers(1, 4),
        H=st.integers(1, 4),
        layers=st.integers(1, layers),
        seed=st.integers(0, 10**6),
    )


def gradient_at(gradients: Any, path: tuple[Any, ...]) -> Any:
    """The gradient for the array at a path of `bpttref.oracles.paths`."""
    return gradients.x if path == ("x",) else getattr(gradients, path[0])[path[1]][0][path[2]]


def close(got: Any, expected: Any, operations: int = 1000) -> bool:
    """Within rounding: each of ``operations`` operations errs by 2^-53 of the largest number in the block."""
    size = max(1.0, float(np.max(np.abs(expected), initial=0)))
    return bool(np.all(np.abs(np.asarray(got) - expected) <= operations * 2.0**-53 * size))


__all__ = ["array_at", "close", "gradient_at", "make", "problems"]
