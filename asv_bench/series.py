"""The measured series as the page shows them: a panel for each cell, in it a line for each strategy.

A benchmark's parameter "strategy", or its first one, makes the lines, and all others make the panels.
"""

import ast
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from asv_runs import Cell, Cells
from limits import limit_of
from marks import Mark, Readings, marks

About: TypeAlias = Mapping[str, Any]  # the entry of a benchmark in asv's table

# One sentence each, for readers of the page; a benchmark that is not here has its docstring.
TITLES = {
    "work.Step.track_calls": "One step, forward and backward, calls NumPy this often.",
    "work.Step.track_bytes": "One step, forward and backward, allocates this many bytes in total.",
    "work.Step.track_multiply_adds": "The matrix products of one step need this many multiply-adds.",
    "work.Step.track_instructions": "In one step Python runs this many bytecode instructions of the reference.",
    "work.Step.track_forward_steps": "Each step runs forward this often; checkpoints run it once more.",
    "memory.Traced.track_peak_bytes": "The arrays of one LSTM gradient need this much memory at their peak.",
    "memory.Traced.track_states_kept": "An LSTM gradient keeps this share of all its steps in memory.",
    "memory.Theory.track_peak_over_theory": "The peak memory is this many times what the strategy needs.",
    "memory.Process.peakmem_gradient": "The whole process needs this much memory at its peak.",
    "quality.Regular.track_bias": "A gradient of regular truncation has this relative error.",
    "quality.Regular.track_cosine_loss": "A gradient of regular truncation points away by this much (1 minus cosine).",
    "quality.Random.track_bias": "The mean of 100 random gradients has this relative error; its expected value is 0.",
    "quality.Random.track_variance": "A gradient of random truncation has this relative mean squared error.",
    "quality.Random.track_cosine_loss": "A gradient of random truncation points away by this much (1 minus cosine).",
    "quality.Random.track_price": "Accuracy by random truncation costs this much: variance times CPU time.",
    "speed.Gradient.time_gradient": "One gradient of 16 steps takes this much CPU time.",
    "speed.Gradient.track_over_products": "A gradient takes this many times the CPU time of its matrix products alone.",
    "speed.Length.track_us_per_step": "One LSTM step, forward and backward, takes this much CPU time.",
    "speed.Growth.track_time_exponent": "CPU time grows like the number of steps to this power; 1 is linear.",
    "verification.Verify.track_seconds": "Verifying one case of an LSTM takes this much CPU time.",
    "verification.Verify.track_passes": "Verifying one case runs the implementation this often.",
    "verification.Verify.track_reference_passes": "Verifying one case runs the reference forward this often.",
    "verification.Verify.track_bytes": "Verifying one case allocates this many bytes in total.",
    "verification.Verify.track_instructions": "Verifying one case runs this many bytecode instructions.",
    "peers.Gradient.track_us_per_step": "One LSTM step takes this much CPU time in each library.",
    "peers.Verify.track_seconds": "Verifying an LSTM takes this much CPU time: a law here, a check elsewhere.",
}
MODULES = ("work", "memory", "quality", "speed", "verification", "peers")  # in the order of the page


class Line(NamedTuple):
    label: str
    readings: Readings
    errors: Readings  # standard errors
    marks: list[Mark]


class Panel(NamedTuple):
    title: str
    lines: list[Line]


class Series(NamedTuple):
    name: str
    title: str
    unit: str
    exact: bool
    panels: list[Panel]


def all_series(oldest_first: Sequence[Cells], known: Mapping[str, About]) -> list[Series]:
    """Those that were measured, without standard errors, which are parts of their lines."""
    measured = {cell.benchmark for cells in oldest_first for cell in cells}
    names = sorted((name for name in measured if not name.endswith("_error")), key=_order)
    series = (_series(known[name], oldest_first) for name in names)
    return [one for one in series if one.panels]


def _series(about: About, oldest_first: Sequence[Cells]) -> Series:
    names, choices, limit = about["param_names"], about["params"], limit_of(Cell(about["name"], ()))
    across = names.index("strategy") if "strategy" in names else 0
    panels: dict[str, list[Line]] = {}
    for parameters in itertools.product(*choices):
        cell, texts = Cell(about["name"], parameters), [text.strip("'") for text in parameters]
        readings = _readings(oldest_first, cell)
        errors = _readings(oldest_first, cell._replace(benchmark=f"{cell.benchmark}_error"))
        others = [_worded(n, t) for k, (n, t) in enumerate(zip(names, texts, strict=True)) if k != across]
        label = _worded(names[across], texts[across])
        if any(reading is not None for reading in readings):
            panels.setdefault(", ".join(others), []).append(Line(label, readings, errors, marks(readings, limit)))
    title = TITLES.get(about["name"]) or _docstring(about)
    shown = [Panel(title, lines) for title, lines in panels.items()]
    return Series(about["name"], title, about["unit"], bool(limit and limit.exact), shown)


def _worded(name: str, text: str) -> str:
    """A value of a parameter in words: a number needs the parameter's name."""
    return f"{name} {text}" if text.isdigit() else text


def _readings(oldest_first: Sequence[Cells], cell: Cell) -> Readings:
    values = (cells.get(cell) for cells in oldest_first)
    return [None if value is None or math.isnan(value) else value for value in values]


def _order(benchmark: str) -> tuple[int, str]:
    module = benchmark.split(".")[0]
    return MODULES.index(module) if module in MODULES else len(MODULES), benchmark


def _docstring(about: About) -> str:
    """The first docstring in a benchmark's source."""
    functions = (node for node in ast.walk(ast.parse(about["code"])) if isinstance(node, ast.FunctionDef))
    return next((text for text in map(ast.get_docstring, functions) if text), "")
