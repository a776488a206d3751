"""The user's own case: weights and inputs in an .npz file, named as in `bpttcheck.cases.blocks.named`.

"x" ``(T, B, D)``, or the streams "x.q", ..., and the parameters of the cell, such as "W_hx", "layer1.W_hh",
"reverse.b_hx", must be there; "initial.h", ..., "lengths" ``(B,)`` and the cotangents "cotangent.y",
"cotangent.final.h", ... may. The folder of a failure holds such a file.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bpttcheck.case import one_stream
from bpttcheck.cases.blocks import Named, place
from bpttcheck.cases.shapes import output_width, parameter_shapes, state_shapes
from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, states_of
from bpttcheck.custom_cell import Shapes, whole
from bpttcheck.dtypes import rounded
from bpttref import Cell
from bpttref.arrays import Array
from bpttref.inputs import is_tokens

_MOST_UNITS = 4096


class Held(NamedTuple):
    """The contents of a file: a case, the cotangents that it has, and the features and units."""

    case: Case
    cotangents: Cotangents
    D: int
    H: int


@dataclass(frozen=True)
class CaseFile:
    """The file; it is read at the first use."""

    path: Path

    def holds(self, cell: Cell | CustomCell, dtype: str, capabilities: Capabilities) -> Held:
        """The contents for a cell, rounded to a dtype.

        Raises ValueError, with a sentence, where the file does not fit the cell and the capabilities, and OSError.
        """
        arrays = dict(_read(self.path))
        shapes = {name: array.shape for name, array in arrays.items()}
        layers = 1 + max((int(found[1]) for name in arrays if (found := re.match(r"layer(\d+)\.", name))), default=0)
        directions = 1 + any("reverse." in name for name in arrays)
        several = cell if isinstance(cell, CustomCell) and cell.streams else None
        x: Any = self._streams(arrays, several, dtype) if several else self._input(arrays)
        steps, B, *rest = one_stream(x).shape

        def width_of(layer: int) -> int:
            return directions * output_width(cell, width_of(layer - 1), H) if layer else D

        def parameters_of(layer: int) -> Shapes:
            return parameter_shapes(cell, width_of(layer), H, capabilities.biases)

        def tree(before: str, after: str, shapes_of: Callable[[int], Shapes]) -> Any:
            """Arrays that are taken out of the file, rounded, in layers and directions."""
            found = []
            for k in range(layers):
                prefixes = [before + place(k, d) + after for d in range(directions)]
                found.append(tuple({n: taken(p + n, s) for n, s in shapes_of(k).items()} for p in prefixes))
            return tuple(found)

        def taken(name: str, shape: tuple[int, ...]) -> Any:
            if name not in arrays:
                raise ValueError(f"{self.path} has no {name}, which {cell.name} with H = {H} needs in shape {shape}")
            array = arrays.pop(name)
            if array.shape != shape:
                raise ValueError(
                    f"{name} in {self.path} has shape {array.shape}; {cell.name} with H = {H} needs {shape}"
                )
            return self._rounded(name, array, dtype)

        D, H = self._sizes_of_streams(several, x, shapes) if several else self._sizes(cell, rest, shapes, capabilities)
        starts = partial(_states, cell, width_of, H, B, capabilities.inputs, "initial")
        ends = partial(_states, cell, width_of, H, B, capabilities.outputs, "final")
        if not several and is_tokens(x) and (outside := x[(x < 0) | (x >= D)]).size:
            raise ValueError(f"x in {self.path} has the token {outside[0]}; W_hx has columns for 0 to {D - 1}")
        case = Case(
            cell,
            dtype,
            tree("", "", parameters_of),
            x if several or is_tokens(x) else self._rounded("x", x, dtype),
            tree("", "initial.", starts) if any("initial." in name for name in arrays) else None,
            self._lengths(arrays.pop("lengths"), steps, B, capabilities) if "lengths" in arrays else None,
            resets=self._resets(arrays.pop("resets"), steps, B) if "resets" in arrays else None,
            reset_to=capabilities.resets_to,
        )
        y = taken("cotangent.y", (steps, B, width_of(layers))) if "cotangent.y" in arrays else None
        given = any("cotangent." in name for name in arrays)
        cotangents = Cotangents(y, tree("cotangent.", "final.", ends) if given else None)
        if arrays:
            raise ValueError(f"{self.path} has {', '.join(sorted(arrays))}, which {cell.name} does not have")
        if beyond := capabilities.undeclared(case):
            raise ValueError(f"{self.path} has {beyond}, which the target does not declare")
        return Held(case, cotangents, D, H)

    def _streams(self, arrays: Named, cell: CustomCell, dtype: str) -> dict[str, Array]:
        """The streams of a cell, taken out of the arrays: "x.q", ... Raises ValueError."""
        found = {}
        for name in cell.shapes(1, 1)["streams"]:
            array, holds_whole = arrays.pop(f"x.{name}", None), whole(cell.domain(name))
            if array is None or array.ndim < 2 or not array.size or (array.dtype.kind in "iub") != holds_whole:
                has = "none" if array is None else f"one of shape {array.shape} and {array.dtype}"
                numbers = "whole numbers" if holds_whole else "floating numbers"
                raise ValueError(f"{self.path} must hold x.{name}, (T, B, ...) and {numbers}; it has {has}")
            found[name] = array if holds_whole else self._rounded(f"x.{name}", array, dtype)
        if len({array.shape[:2] for array in found.values()}) > 1:
            said = ", ".join(f"x.{name} {array.shape[:2]}" for name, array in found.items())
            raise ValueError(f"the streams in {self.path} have different steps or rows: {said}")
        return found

    def _sizes(
        self, cell: Cell | CustomCell, features: list[int], shapes: dict[str, tuple[int, ...]], declared: Capabilities
    ) -> tuple[int, int]:
        """D and H with which the parameters of a cell have the shapes in the file. Raises ValueError."""
        D = features[0] if features else shapes.get("W_hx", (0,))[-1]
        H = units(lambda H: parameter_shapes(cell, D, H, declared.biases), shapes)
        if not H:
            needed = ", ".join(parameter_shapes(cell, D, 1, declared.biases))
            raise ValueError(f"{self.path} does not hold {needed} in shapes that fit {cell.name} and x of {D} features")
        return D, H

    def _sizes_of_streams(self, cell: CustomCell, x: Named, shapes: dict[str, tuple[int, ...]]) -> tuple[int, int]:
        """D and H with which streams and parameters of a cell have the shapes in the file. Raises ValueError."""
        there = shapes | {name: array.shape[2:] for name, array in x.items()}
        sizes = sorted({1, *(size for shape in there.values() for size in shape)})
        for D, H in product(sizes, sizes):
            found = cell.shapes(D, H)
            if all(there.get(n) == s for n, s in {**found["streams"], **found["parameters"]}.items()):
                return D, H
        said = ", ".join(f"{name} {shape}" for name, shape in there.items())
        raise ValueError(f"the arrays in {self.path} do not fit {cell.name}: {said}")

    def _input(self, arrays: Named) -> Array:
        """The input, taken out of the arrays. Raises ValueError."""
        x = arrays.pop("x", None)
        if x is None or x.ndim not in (2, 3):
            has = "none" if x is None else f"x of shape {x.shape}"
            raise ValueError(f"{self.path} must hold x, (T, B, D) or tokens (T, B); it has {has}")
        if x.dtype.kind not in ("iu" if x.ndim == 2 else "f"):
            raise ValueError(
                f"x in {self.path} has shape {x.shape} and holds {x.dtype}: tokens (T, B) need an integer dtype,"
                " and x (T, B, D) needs a floating one"
            )
        if not x.size:
            raise ValueError(f"x in {self.path} has shape {x.shape}: there is nothing in it")
        return x

    def _lengths(self, lengths: Array, steps: int, B: int, capabilities: Capabilities) -> Array:
        """The lengths of the rows as whole numbers. Raises ValueError."""
        least = 0 if capabilities.empty else 1
        if lengths.shape != (B,):
            raise ValueError(f"lengths in {self.path} have shape {lengths.shape}; x has {B} rows, so it must be ({B},)")
        if lengths.dtype.kind == "b" or np.any(lengths != np.floor(lengths)):
            raise ValueError(f"lengths in {self.path} must be whole numbers of steps; they are {lengths.tolist()}")
        if np.any((lengths < least) | (lengths > steps)):
            said = f"between {least} and {steps}, the steps of x"
            raise ValueError(f"lengths in {self.path} must lie {said}; they are {lengths.tolist()}")
        return lengths.astype(np.int64)

    def _resets(self, resets: Array, steps: int, B: int) -> Array:
        """The flags. Raises ValueError."""
        if resets.shape != (steps, B) or resets.dtype != bool:
            raise ValueError(
                f"resets in {self.path} are {resets.dtype} of {resets.shape}; expected flags ({steps}, {B})"
            )
        return resets

    def _rounded(self, name: str, array: Array, dtype: str) -> Array:
        """The array in a dtype. Raises ValueError where that cannot hold it."""
        with np.errstate(over="ignore"):
            found = rounded(array.astype(np.float64), dtype)
        if not np.all(np.isfinite(found)):
            raise ValueError(f"{name} in {self.path} has numbers that {dtype} cannot hold")
        return found


def _states(
    cell: Cell | CustomCell,
    width_of: Callable[[int], int],
    H: int,
    B: int,
    declared: Collection[str],
    kind: str,
    layer: int,
) -> Shapes:
    """The shapes of the declared states; of all states if none is declared: a later check reports those in the case."""
    shapes = state_shapes(cell, width_of(layer), H)
    return {name: (B, *shapes[name]) for name in states_of(declared, kind, shapes) or shapes}


def units(parameters: Callable[[int], Shapes], shapes: dict[str, tuple[int, ...]]) -> int:
    """The H for which a cell's parameters have the shapes in the file; 0 if there is none."""
    fitting = (H for H in range(1, _MOST_UNITS) if all(shapes.get(n) == s for n, s in parameters(H).items()))
    return next(fitting, 0)


@cache
def _read(path: Path) -> Named:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # a file may hold anything
        raise ValueError(f"{path} is not an .npz file of arrays, as numpy.savez writes it") from error
    if odd := [name for name, array in arrays.items() if array.dtype.kind not in "biuf"]:
        raise ValueError(f"{', '.join(odd)} in {path} must hold real numbers")
    if odd := [name for name, array in arrays.items() if not np.all(np.isfinite(array))]:
        raise ValueError(f"{', '.join(odd)} in {path} must be finite")
    return arrays
