"""Fresh problems for a diagnosis: kinds of problem, the simplest first, the same for the same declarations."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bpttcheck.cases.changes import of_steps, saturated, with_padding
from bpttcheck.cases.drawing import Draw, draw_case
from bpttcheck.cases.kinks import near_kink
from bpttcheck.cases.realising import realise
from bpttcheck.cases.truncations import COVERING, DRAWN, NO_TEMPORAL_TERM, OF_STEPS
from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, Implementation, TwoPhase, declares
from bpttcheck.measuring.calls import capabilities_of
from bpttcheck.measuring.trial import Trial
from bpttref import Cell, Links, Random, Strategy, trees

LONG = 24  # steps, rows, features or units above which one problem of a level is enough
_SMALL = {"T": 4, "B": 2, "D": 3, "H": 2}  # of an unknown cell, because each number is moved on its own
_PROBLEMS = 2  # of each other level of a known cell

_Problem = tuple[Case, Cotangents]


@dataclass(frozen=True)
class _Level:
    """A kind of problem: the changes of its draw, and the change of the case and the cotangents that are drawn."""

    name: str
    draw: Mapping[str, Any] = field(default_factory=dict)
    change: Callable[[np.random.Generator, Case, Cotangents], _Problem] = lambda rng, *problem: problem


def battery(subject: Implementation, cell: Cell | CustomCell, dtype: str) -> Iterator[tuple[str, Trial]]:
    """The problems, each with the name of its level."""
    capabilities = capabilities_of(subject)
    for k, level in enumerate(_levels(capabilities, isinstance(subject, TwoPhase))):
        unknown = isinstance(cell, CustomCell)
        for n in range(1 if unknown or max(map(int, level.draw.values()), default=0) > LONG else _PROBLEMS):
            rng = np.random.default_rng([7, k, n])
            small = _sizes(capabilities, level) if unknown else {}
            drawn = realise(_plain(rng, capabilities, {**small, **level.draw}), cell, dtype, capabilities)
            trial = Trial(subject, capabilities, *level.change(rng, *drawn))
            if not near_kink(trial.case) and not trial.calls.declines(trial.case):
                yield level.name, trial


def _sizes(capabilities: Capabilities, level: _Level) -> dict[str, int]:
    """Small sizes, or the nearest declared ones; 1 next to a large one."""
    wanted = dict.fromkeys(_SMALL, 1) if max(map(int, level.draw.values()), default=0) > LONG else _SMALL
    declared = {name: capabilities.sizes.get(name, (size,)) for name, size in wanted.items()}
    return {name: min(declared[name], key=lambda n, size=size: abs(n - size)) for name, size in wanted.items()}  # type: ignore[misc]


def _plain(rng: np.random.Generator, capabilities: Capabilities, changes: Mapping[str, Any]) -> Draw:
    """A draw of one layer and one direction, except for the ``changes``."""
    tokens = "dense" not in capabilities.inputs
    plain = {
        "layers": 1,
        "bidirectional": False,
        "ragged": False,
        "tokens": tokens,
        "weight_scale": 0.5,
        "unbiased": False,
        "resets": False,
    }
    return replace(draw_case(rng, capabilities, 0), **{**plain, **changes})


def _levels(capabilities: Capabilities, two_phase: bool) -> Iterator[_Level]:
    """The levels that are within the capabilities."""
    deep, two_ways, ragged = {"layers": capabilities.layers}, {"bidirectional": True}, {"ragged": True}
    stacks, lengths = capabilities.layers > 1, "lengths" in capabilities.inputs
    yield _Level("one step", {"T": 1})
    yield _Level("several steps")
    yield _Level("one row", {"B": 1})
    yield _Level("equal sizes", {"T": 3, "B": 3, "D": 3, "H": 3})
    yield _Level("sizes of 1", {"B": 1, "D": 1, "H": 1})
    if "tokens" in capabilities.inputs:
        yield _Level("tokens", {"tokens": True})
    if stacks:
        yield _Level("a stack", deep)
    if capabilities.bidirectional:
        yield _Level("two directions", two_ways)
    if stacks and capabilities.bidirectional:
        yield _Level("a stack of two directions", deep | two_ways)
    if lengths:
        yield _Level("rows of different lengths", ragged)
    if lengths and capabilities.bidirectional:
        yield _Level("two directions and rows of different lengths", two_ways | ragged)
    if "resets" in capabilities.inputs:
        yield _Level("resets", {"resets": True})
    for chunk in sorted(capabilities.chunks):
        yield _Level("more steps than a chunk", {"T": chunk + 2, "chunk": chunk})
    if lengths and capabilities.padding == "anything":
        yield _Level("NaN behind the ends of rows", ragged, _nan_behind)
    yield _Level("large weights", {"weight_scale": 8.0})
    yield _Level("small weights", {"weight_scale": 0.01})
    yield _Level("saturated units", {}, lambda rng, case, cotangents: (saturated(case), cotangents))
    yield _Level("a long sequence", {"T": 66})
    yield _Level("wide states", {"H": 35})
    yield _Level("many rows", {"B": 35})
    yield _Level("many features", {"D": 35})
    if two_phase:
        yield _Level("large cotangents", {}, _scaled(2.0**20))
        yield _Level("small cotangents", {}, _scaled(2.0**-20))
        yield _Level("no cotangent of y", {}, lambda rng, case, cotangents: (case, Cotangents(None, cotangents.final)))
        yield _Level("cotangents in Fortran order", {}, _strided)
        if capabilities.empty:
            yield _Level("no step at all", {}, _without_steps)
    for kind in capabilities.truncations:
        if kind is not Random:
            name = f"{kind.__name__.lower()} truncation"
            yield _Level(name, {}, _drawn(kind))
            if lengths and kind in OF_STEPS:
                yield _Level(f"{name} and rows of different lengths", ragged, _drawn(kind))
            if stacks:
                yield _Level(f"{name} in a stack", deep, _drawn(kind))
            if kind in NO_TEMPORAL_TERM:
                yield _Level(f"{name} of single steps", {}, _truncated(NO_TEMPORAL_TERM[kind]))
            if kind is not Links:
                yield _Level(f"{name} longer than T", {}, _truncated(COVERING[kind], longer=2))
    yield _Level("biases of zero", {"unbiased": True})
    if declares(capabilities.inputs, "initial") and capabilities.default_initial == "zeros":
        yield _Level("no initial states", {}, lambda rng, case, cotangents: (replace(case, initial=None), cotangents))


def _drawn(kind: type[Strategy]) -> Callable[..., _Problem]:
    return lambda rng, case, cotangents: (replace(case, truncation=DRAWN[kind](rng, case.T)), cotangents)


def _truncated(strategy: Callable[[int], Strategy], longer: int = 0) -> Callable[..., _Problem]:
    return lambda rng, case, cotangents: (replace(case, truncation=strategy(case.T + longer)), cotangents)


def _scaled(factor: float) -> Callable[..., _Problem]:
    return lambda rng, case, cotangents: (case, Cotangents(*(trees.scale(part, factor) for part in cotangents)))


def _strided(rng: np.random.Generator, case: Case, cotangents: Cotangents) -> _Problem:
    return case, Cotangents(None if cotangents.y is None else np.asfortranarray(cotangents.y), cotangents.final)


def _without_steps(rng: np.random.Generator, case: Case, cotangents: Cotangents) -> _Problem:
    dy = None if cotangents.y is None else cotangents.y[:0]
    return of_steps(case, slice(0)), Cotangents(dy, cotangents.final)


def _nan_behind(rng: np.random.Generator, case: Case, cotangents: Cotangents) -> _Problem:
    return with_padding(case, np.nan), cotangents
