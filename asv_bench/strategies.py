"""What do full, regular and random truncation cost, and how good are they? Three answers from the newest numbers."""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from asv_runs import Cell, Cells
from figures import STRATEGIES, Figure, Look, Points, by_size

Curves: TypeAlias = dict[str, Points]
THREE = ("full", "regular", "random")
MEAN = "random, mean of 100"
WINDOWS = {"speed": 8, "memory": 16}  # as in the benchmarks of these modules


class Number(NamedTuple):
    label: str
    look: Look
    text: str


class Answer(NamedTuple):
    question: str
    sentence: str
    numbers: list[Number]
    figure: Figure


def answers(cells: Cells) -> list[Answer]:
    """Sentences on time, memory and quality, if their series were measured."""
    found = (_time(cells), _memory(cells), _quality(cells))
    return [answer for answer in found if answer]


def _time(cells: Cells) -> Answer | None:
    curves = {name: _curve(cells, "speed.Length.track_us_per_step", 0, repr(name)) for name in THREE}
    if not all(curves.values()):
        return None
    T, number = _at(curves, -1)
    regular, random = (number[name] / number["full"] for name in ("regular", "random"))
    return Answer(
        "How long does a step take?",
        f"A step of regular truncation takes {regular:.2f} times as long as a step of full BPTT, a step of random "
        f"truncation {random:.2f} times (LSTM, T\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{T}, window {WINDOWS['speed']}).",
        _numbers(number, "{:.3g} µs".format),
        by_size(curves, "T, steps", {"ticksuffix": " µs"}),
    )


def _memory(cells: Cells) -> Answer | None:
    curves = {name: _curve(cells, "memory.Traced.track_peak_bytes", 0, repr(name)) for name in THREE}
    if not all(curves.values()):
        return None
    T, number = _at(curves, -1)
    regular, random = (number[name] / number["full"] for name in ("regular", "random"))
    return Answer(
        "How much memory does it need?",
        f"Regular truncation needs {regular:.1%} of the memory of full BPTT, random truncation {random:.1%} "
        f"(LSTM, T\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{T}, window {WINDOWS['memory']}).",
        _numbers(number, lambda size: f"{size / 1e6:.3g} MB"),
        by_size(curves, "T, steps", {"tickformat": "~s", "ticksuffix": "B"}),
    )


def _quality(cells: Cells) -> Answer | None:
    memory = str(max((int(c.parameters[1]) for c in cells if c.benchmark == "quality.Regular.track_bias"), default=0))
    regular = _curve(cells, "quality.Regular.track_bias", 1, memory)
    squares = _curve(cells, "quality.Random.track_variance", 1, memory)
    mean = _curve(cells, "quality.Random.track_bias", 1, memory)
    if not (regular and squares and mean):
        return None
    full = [(window, 0.0, None) for window, *_ in regular]
    one = [(window, math.sqrt(square), None) for window, square, _ in squares]
    curves: Curves = {"full": full, "regular": regular, "random": one, MEAN: mean}
    window, number = _at(curves, 0)
    return Answer(
        "How far off is the gradient?",
        f"With a window of {window} steps a gradient of regular truncation is off by {number['regular']:.0%}, on every "
        f"run in the same way; one of random truncation is off by {number['random']:.0%}, but the mean of 100 only by "
        f"{number[MEAN]:.0%} (a task that remembers {memory} steps).",
        _numbers(number, lambda error: f"{100 * error:.2g} %"),
        by_size(curves, "window, steps", {"tickformat": ".0%"}),
    )


def _curve(cells: Cells, benchmark: str, given: int, choice: str) -> Points:
    """The numbers of a benchmark where the parameter at ``given`` has this choice, against its other parameter."""
    points: list[tuple[int, float, float | None]] = []
    for cell, number in cells.items():
        if cell.benchmark == benchmark and cell.parameters[given] == choice and number and not math.isnan(number):
            error = cells.get(Cell(f"{benchmark}_error", cell.parameters))
            points.append((int(cell.parameters[1 - given]), number, error))
    return sorted(points)


def _at(curves: Curves, place: int) -> tuple[int, dict[str, float]]:
    """The first size, or the last, and the numbers there."""
    sizes = {points[place][0] for points in curves.values()}
    return max(sizes), {name: points[place][1] for name, points in curves.items()}


def _numbers(numbers: dict[str, float], written: Callable[[float], str]) -> list[Number]:
    return [Number(label, STRATEGIES[label], written(number)) for label, number in numbers.items()]
