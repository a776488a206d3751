"""Any program as an implementation, over its standard input and output; `docs/any-language.md` is the protocol.

The program keeps nothing from one request to the next: a pullback is a request that brings the whole case again. An
error is raised as AdapterError, and the next request goes to a new process.
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bpttcheck.adapters.messages import encoded
from bpttcheck.adapters.process import Hang, Process
from bpttcheck.cases.blocks import Named, named, nested, place, streams
from bpttcheck.cases.shapes import state_shapes
from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, Gradients, Outputs, Pullback
from bpttcheck.measuring.calls import AdapterError
from bpttref import CELLS, Cell, Full, Links, Regular

TIMEOUT = "BPTTCHECK_TIMEOUT"  # environment: the seconds that an answer may take
_SECONDS = "10"
_PATIENCE = 3  # hangs of a program before it is given up: each costs all those seconds

_CELLS: Mapping[str, Cell] = {cell.name: cell for cell in CELLS}
_CUTS = {"regular": Regular, "links": Links}  # the rules that multipliers of links describe
_LISTS = ("cells", "dtypes", "inputs", "outputs", "gradients", "truncations", "chunks")
_OTHERS = ("biases", "layers", "bidirectional", "padding", "empty", "reduction", "sizes", "conventions", "resets_to")
_OF_CELL = {
    *("name", "parameters", "states", "streams", "width", "domains"),
    *("without_cotangent", "surrogate", "affine", "smooth", "saturates"),
}
_DOMAINS = ("positive", "negative", "(0, 1)", "unit norm", "bool")


class Program:
    """A program, and the capabilities that it has sent."""

    def __init__(self, command: str, folder: Path) -> None:
        """``command`` is split as by a shell and started in ``folder``.

        Raises AdapterError, or ValueError, if that cannot be done or its capabilities make no sense.
        """
        seconds = os.environ.get(TIMEOUT, _SECONDS)
        if not seconds.replace(".", "", 1).isdecimal():
            raise ValueError(f"{TIMEOUT} must be a number of seconds, not {seconds!r}")
        self._command = shlex.split(command)
        if not self._command:
            raise ValueError("it names no program")
        self._folder = folder
        self._seconds = float(seconds)
        self._process: Process | None = None
        self._hangs = 0
        header, _ = self._asked({"ask": "capabilities"}, {})
        self._capabilities = declared(header)
        self.name = str(header.get("name", command))

    def capabilities(self) -> Capabilities:
        return self._capabilities

    def vjp(self, case: Case) -> tuple[Outputs, Pullback | None]:
        about = {"cell": case.cell.name, "dtype": case.dtype, **case.sizes}
        about |= {"layers": len(case.parameters), "directions": len(case.parameters[0])}
        about |= {"chunk": case.chunk} if self._capabilities.chunks else {}
        given = self._given(case)
        _, outputs = self._asked({"ask": "forward"} | about, given)
        _check_names(outputs, ["y", *_final_names(case)])

        def pullback(cotangents: Cotangents) -> Gradients:
            known = named(cotangents)
            pulled = {f"cotangent.{name}": known.get(name, np.zeros_like(array)) for name, array in outputs.items()}
            _, found = self._asked({"ask": "pullback"} | about, given | pulled)
            _check_names(found, [*streams(case.x), *named(Gradients(None, case.parameters, case.initial))])
            dx = {name: found.pop(name) for name in streams(case.x) if name in found}
            return Gradients(nested(dx) if dx else None, _nested(case, found, ""), _nested(case, found, "initial."))

        returned = Outputs(outputs.get("y"), _nested(case, outputs, "final."))
        return returned, pullback if self._capabilities.gradients else None

    def _given(self, case: Case) -> Named:
        """The arrays of a case. The program's declarations decide which; they are the same for all cases."""
        x = {n: a if a.dtype.kind == "f" else a.astype(np.int64) for n, a in streams(case.x).items()}
        arrays = x | named(Gradients(None, case.parameters, case.initial))
        if "lengths" in self._capabilities.inputs:
            arrays["lengths"] = np.full(case.B, case.T) if case.lengths is None else case.lengths
        if "resets" in self._capabilities.inputs:
            none = np.zeros((case.T, case.B), np.int64)
            arrays["resets"] = none if case.resets is None else case.resets.astype(np.int64)
        if self._capabilities.truncations:
            assert isinstance(case.truncation, Full | Regular | Links)
            arrays["xi"] = case.truncation.links(case.T)
        return {name: array.copy() for name, array in arrays.items()}

    def _asked(self, header: Mapping[str, object], arrays: Named) -> tuple[dict[str, Any], Named]:
        if self._hangs == _PATIENCE:
            raise AdapterError(f"the program has hung {_PATIENCE} times and is not asked again")
        process = self._process = self._process or Process(self._command, self._folder)
        try:
            return process.exchange(encoded(header, arrays), self._seconds)
        except BaseException as error:  # an interrupt, too
            self._process = None
            process.stop()
            self._hangs += isinstance(error, Hang)
            raise


def declared(header: Mapping[str, Any]) -> Capabilities:
    """The capabilities that a header holds. Raises AdapterError, or ValueError as `Capabilities` does."""
    fields: dict[str, Any] = {"cells": [], "truncations": [], **header}
    fields.pop("name", None)
    if unknown := fields.keys() - {*_LISTS, *_OTHERS}:
        raise AdapterError(f"the program declares {', '.join(sorted(unknown))}, which is no capability")
    for name in _LISTS:
        if not isinstance(fields.get(name, []), list):
            raise AdapterError(f"the program declares for {name} {fields[name]!r}; expected a list")
    if strange := [cut for cut in fields["truncations"] if cut not in _CUTS]:
        raise AdapterError(f"the program declares the truncation {strange[0]!r}; there are {', '.join(_CUTS)}")
    cells, cuts = map(_cell, fields.pop("cells")), (_CUTS[cut] for cut in fields.pop("truncations"))
    return Capabilities(cells=tuple(cells), default_initial="none", truncations=tuple(cuts), **fields)


def _cell(said: Any) -> Cell | CustomCell:
    """A cell by its name, or one of the program's own with its shapes in D, H and numbers. Raises AdapterError, or
    ValueError as `CustomCell` does."""
    match said:
        case str() if said in _CELLS:
            return _CELLS[said]
        case {"name": str(name), "parameters": dict(), "states": dict()} if said.keys() <= _OF_CELL:
            shapes: dict[str, Any] = {k: said[k] for k in ("parameters", "states", "streams") if k in said}
            others: dict[str, Any] = {k: said[k] for k in ("affine", "smooth") if k in said}
            others |= {kind: partial(_shapes, of_each) for kind, of_each in shapes.items()}
            others |= {k: tuple(said[k]) for k in ("without_cotangent", "surrogate", "saturates") if k in said}
            domains = said.get("domains", {})
            width = said.get("width", "H")
            if all(map(_are_shapes, shapes.values())) and _are_shapes({"y": [width]}) and _are_domains(domains):
                cell = CustomCell(
                    name,
                    width=lambda D, H: _shapes({"y": [width]}, D, H)["y"][0],
                    domains={of: _domain(domain) for of, domain in domains.items()},
                    **others,
                )
                cell.shapes(1, 1)
                return cell
    raise AdapterError(f"the program declares the cell {said!r}; there are {', '.join(_CELLS)}, and cells of your own")


def _are_shapes(said: Any) -> bool:
    """Whether these are shapes by name, of D, H and numbers."""
    return isinstance(said, dict) and all(
        isinstance(shape, list) and all(type(size) is int or size in ("D", "H") for size in shape)
        for shape in said.values()
    )


def _are_domains(said: Any) -> bool:
    """Whether these are domains by name; a number n stands for the whole numbers below it."""
    return isinstance(said, dict) and all(
        domain in _DOMAINS if isinstance(domain, str) else type(domain) is int and domain > 0
        for domain in said.values()
    )


def _domain(said: Any) -> Any:
    return range(said) if isinstance(said, int) else bool if said == "bool" else said


def _shapes(said: Mapping[str, Any], D: int, H: int) -> dict[str, tuple[int, ...]]:
    return {name: tuple({"D": D, "H": H}.get(size, size) for size in shape) for name, shape in said.items()}


def _final_names(case: Case) -> Named:
    """The final states of a case by name, each one row of zeros."""
    row = {name: np.zeros(shape) for name, shape in state_shapes(case.cell, 1, 1).items()}
    return named(Outputs(None, tuple((row,) * len(directions) for directions in case.parameters)))


def _check_names(answer: Named, known: Sequence[str]) -> None:
    """Raises AdapterError if an answer has an array that is not called as one of the ``known``."""
    if strange := [name for name in answer if name not in known]:
        raise AdapterError(f"the program listed {strange[0]!r} in an answer that may have {', '.join(known)}")


def _nested(case: Case, arrays: Named, kind: str) -> Any:
    """The arrays that are named as of this ``kind``, as tuples over layers of tuples over directions of mappings."""
    by_place: dict[str, Named] = {}
    for name, array in arrays.items():
        before, dot, last = name.rpartition(".")
        by_place.setdefault(before + dot, {})[last] = array
    return tuple(
        tuple(by_place.get(place(k, d) + kind, {}) for d in range(len(directions)))
        for k, directions in enumerate(case.parameters)
    )
