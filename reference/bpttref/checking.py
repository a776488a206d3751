"""Whether arguments fit together. Each check raises ValueError, with a sentence about the argument that does not
fit."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from bpttref.arrays import Array
from bpttref.cells import Cell
from bpttref.inputs import is_tokens
from bpttref.strategies import Full, Links, LinkStrategy, Random, Regular, Strategy

_Tree: TypeAlias = Sequence[Sequence[Mapping[str, Array]]]  # parameters or states, by layer, direction and name


def check_links(strategy: LinkStrategy) -> None:
    """That truncation is by links, because no other kind can be taken apart into pieces of time."""
    if not isinstance(strategy, (Full, Regular, Random, Links)):
        raise ValueError(f"{strategy} does not cut links: use Full, Regular, Random or Links, or vjp")


def check_resets(parameters: _Tree, x: Array, resets: Array | None, reset_to: str) -> None:
    """That rows can be reset as requested."""
    if reset_to not in ("zeros", "initial"):
        raise ValueError(f"reset_to must be 'zeros' or 'initial', not {reset_to!r}")
    if resets is None:
        return
    shape = (len(x), x.shape[1 if is_tokens(x) else -2])
    if resets.shape != shape or resets.dtype != bool:
        raise ValueError(f"resets have shape {resets.shape} and {resets.dtype}; they must be flags of shape {shape}")
    if any(len(layer) > 1 for layer in parameters):
        raise ValueError("resets are not defined for the reverse direction: use one direction")


def check_strategy(parameters: _Tree, strategy: Strategy) -> None:
    """That truncation goes one way."""
    if not isinstance(strategy, Full) and any(len(layer) > 1 for layer in parameters):
        raise ValueError(f"{strategy} is not defined for the reverse direction: use one direction, or Full()")


def check_arguments(cell: Cell, parameters: _Tree, x: Array, initial: _Tree, lengths: Array | None) -> None:
    """That `bpttref.vjp` can take these arguments."""
    dtype = parameters[0][0]["W_hh"].dtype
    if is_tokens(x) and x.ndim != 2:
        raise ValueError(f"x has dtype {x.dtype} and shape {x.shape}, but tokens have two axes: steps and rows")
    if not (is_tokens(x) or x.dtype == dtype):
        raise ValueError(f"x has dtype {x.dtype}, but W_hh of the first layer has {dtype}")
    T, B = len(x), x.shape[1 if is_tokens(x) else -2]
    width = None if is_tokens(x) else x.shape[-1]
    for k, (layer, states) in enumerate(zip(parameters, initial, strict=True)):
        if len(layer) > 2:
            raise ValueError(f"layer {k} has {len(layer)} directions; a layer has one, or forward and reverse")
        for p, state in zip(layer, states, strict=True):
            H = p["W_hh"].shape[-1]
            rows, D = len(cell.gates) * H, p["W_hx"].shape[-1] if width is None else width
            shapes: dict[str, tuple[int, ...]] = {
                "W_hx": (rows, D),
                "W_hh": (rows, H),
                "b_hx": (rows,),
                "b_hh": (rows,),
            }
            if tuple(state) != cell.states:
                raise ValueError(f"layer {k} has initial states {tuple(state)}; a {cell.name} takes {cell.states}")
            of_states: dict[str, tuple[int, ...]] = dict.fromkeys(cell.states, (B, H))
            for kind, arrays, expected in (("parameter", p, shapes), ("initial state", state, of_states)):
                for name, array in arrays.items():
                    shape = expected.get(name)
                    if shape is None or array.shape[-len(shape) :] != shape or array.dtype != dtype:
                        raise ValueError(
                            f"{kind} {name} of layer {k} has {_described(array)}; "
                            f"a {cell.name} takes {shape} and {dtype}"
                        )
        width = sum(p["W_hh"].shape[-1] for p in layer)
    if lengths is not None:
        if lengths.shape != (B,) or lengths.dtype.kind not in "iu":
            raise ValueError(f"lengths must be {B} whole numbers, one a row, not {lengths}")
        if np.any((lengths < 0) | (lengths > T)):
            raise ValueError(f"lengths must lie between 0 and the number of steps {T}, not {lengths}")


def check_tokens(x: Array, D: int) -> None:
    """That tokens ``x (T, B)`` lie in ``[0, D)``: NumPy would take -1 for the last."""
    if x.size and not 0 <= x.min() <= x.max() < D:
        raise ValueError(f"tokens must lie between 0 and {D - 1}, not between {x.min()} and {x.max()}")


def check_cotangents(y: Array | None, final: _Tree | None, output: Array, states: _Tree) -> None:
    """That cotangents are shaped as the ``output`` and the final ``states``, each where it is given."""
    if y is not None and not _fits(y, output):
        raise ValueError(f"the cotangent of y has {_described(y)}, but y has {_described(output)}")
    if final is None:
        return
    for k, (layer, given) in enumerate(zip(states, final, strict=True)):
        if len(given) != len(layer):
            raise ValueError(f"layer {k} has cotangents of {len(given)} final states, but {len(layer)} directions")
        for state, cotangents in zip(layer, given, strict=True):
            for name, cotangent in cotangents.items():
                if name not in state:
                    raise ValueError(f"layer {k} has a cotangent of a final state {name}, not of {tuple(state)}")
                if not _fits(cotangent, state[name]):
                    raise ValueError(
                        f"the cotangent of the final state {name} of layer {k} has {_described(cotangent)}, "
                        f"but the state has {_described(state[name])}"
                    )


def _fits(cotangent: Array, output: Array) -> bool:
    same = cotangent.dtype == output.dtype or np.can_cast(cotangent.dtype, output.dtype, "same_kind")
    return same and cotangent.shape == output.shape


def _described(array: Array) -> str:
    return f"shape {array.shape} and dtype {array.dtype}"
