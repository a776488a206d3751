"""Drawing cases. Hypothesis draws sizes, scales and a seed; the arrays follow from them.

That costs half a millisecond a case and shrinks well: to small sizes and, since ``rounded`` shrinks to True, to
values that are small multiples of 1/4, which a person can work through by hand.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, Outputs
from bpttref import RNN, Cell, vjp
from bpttref.arrays import Array
from bpttref.cells import State

WEIGHT_SCALES = (0.5, 1.0, 0.1, 2.0, 1e-3, 8.0)  # vanishing to saturated and exploding; the simplest first


@dataclass(frozen=True)
class Draw:
    """What Hypothesis chooses: everything that a case depends on."""

    T: int
    B: int
    D: int
    H: int
    layers: int
    bidirectional: bool
    ragged: bool
    rounded: bool
    weight_scale: float
    seed: int


def draws(capabilities: Capabilities) -> st.SearchStrategy[Draw]:
    """Draws that a subject with these capabilities can be given; sizes are mostly distinct and above 1."""
    return st.builds(
        Draw,
        T=st.integers(1, 7),
        B=st.integers(1, 4),
        D=st.integers(1, 5),
        H=st.integers(1, 5),
        layers=st.sampled_from([1, 1, capabilities.layers]),
        bidirectional=st.sampled_from([False, False, capabilities.bidirectional]),
        ragged=st.sampled_from([False, capabilities.lengths]),
        rounded=st.sampled_from([True, False, False]),
        weight_scale=st.sampled_from(WEIGHT_SCALES),
        seed=st.integers(0, 2**32 - 1),
    )


def realise(draw: Draw, cell: Cell | CustomCell, dtype: str, capabilities: Capabilities) -> tuple[Case, Cotangents]:
    """The case and the cotangents of a draw: the same for the same draw."""
    rng = np.random.default_rng(draw.seed)

    def values(*shape: int, scale: float = 1.0) -> Array:
        drawn = rng.standard_normal(shape)
        if draw.rounded:
            drawn = np.where(drawn < 0, -1, 1) * np.ceil(4 * np.abs(drawn)) / 4
        return (scale * drawn).astype(dtype)

    directions = 2 if draw.bidirectional else 1
    parameters, initial, final = [], [], []
    width = draw.D
    for _ in range(draw.layers):
        shapes = _parameter_shapes(cell, width, draw.H, capabilities.biases)
        parameters.append(
            tuple(
                {name: values(*s, scale=draw.weight_scale if len(s) > 1 else 0.5) for name, s in shapes.items()}
                for _ in range(directions)
            )
        )
        rows = {name: (draw.B, *shape) for name, shape in _state_shapes(cell, draw.H).items()}
        initial.append(tuple({name: values(*s, scale=0.7) for name, s in rows.items()} for _ in range(directions)))
        final.append(tuple({name: values(*s) for name, s in rows.items()} for _ in range(directions)))
        width = draw.H * directions
    lengths = rng.integers(1, draw.T + 1, draw.B) if draw.ragged else None
    if lengths is not None:
        lengths[rng.integers(draw.B)] = draw.T
    case = Case(
        cell,
        dtype,
        tuple(parameters),
        values(draw.T, draw.B, draw.D),
        None if capabilities.initial == "zero" else tuple(initial),
        lengths,
    )
    dy = values(draw.T, draw.B, width)
    return case, Cotangents(dy, tuple(final) if capabilities.final else None)


def _parameter_shapes(cell: Cell | CustomCell, D: int, H: int, biases: int) -> dict[str, tuple[int, ...]]:
    if isinstance(cell, CustomCell):
        return dict(cell.parameters(D, H))
    rows = len(cell.gates) * H
    shapes: dict[str, tuple[int, ...]] = {"W_hx": (rows, D), "W_hh": (rows, H)}
    return shapes | {name: (rows,) for name in ("b_hx", "b_hh")[:biases]}


def _state_shapes(cell: Cell | CustomCell, H: int) -> dict[str, tuple[int, ...]]:
    return dict(cell.states(H)) if isinstance(cell, CustomCell) else {name: (H,) for name in cell.states}


def with_arrays(case: Case, change: Callable[[str, Array], Array]) -> Case:
    """The case with each array replaced by ``change(name, array)``, names as in `bpttcheck.blocks.named`."""

    def tree(layers: Any, prefix: str) -> Any:
        return layers and tuple(
            tuple(
                {
                    name: change(f"layer{k}." * (k > 0) + "reverse." * d + prefix + name, array)
                    for name, array in leaf.items()
                }
                for d, leaf in enumerate(directions)
            )
            for k, directions in enumerate(layers)
        )

    return replace(
        case,
        x=change("x", case.x),
        parameters=tree(case.parameters, ""),
        initial=tree(case.initial, "initial."),
    )


def near_kink(case: Case, margin: float = 1e-3) -> bool:
    """Whether a ReLU's pre-activation is within ``margin`` times its terms of 0, where a small change may flip it."""
    if case.cell != RNN("relu"):
        return False
    smallest = [np.inf]

    class _Watched(RNN):
        def step(
            self, a: Array, before: State, after: State, kept: Array | None, W: Array, b_hh: Array | None, work: Array
        ) -> None:
            total = before[0] @ W + a
            terms = np.abs(before[0]) @ np.abs(W) + np.abs(a)
            smallest[0] = min(smallest[0], np.min(np.abs(total) / np.maximum(terms, 1e-30), initial=np.inf))
            super().step(a, before, after, kept, W, b_hh, work)

    vjp(_Watched("relu"), case.parameters, case.x, case.initial, lengths=case.lengths)
    return bool(smallest[0] < margin)


def only_y(outputs: Outputs | Cotangents, steps: slice) -> Cotangents:
    """Cotangents of y at some steps alone, zero at the others."""
    assert outputs.y is not None
    dy = np.zeros_like(outputs.y)
    dy[steps] = outputs.y[steps]
    return Cotangents(dy)
