"""How often is the timed part of the gate mistaken? Pairs of measurements without a change, recorded and resampled.

    python asv_bench/noise.py                       # the rates at the limit of the gate, and at others
    python asv_bench/noise.py --record 20           # measure 20 pairs of the reference with itself; 90 s each

A cell is named if its ratio is above the limit at the first look and, in a new process, at the second. Each recorded
pair could have been either look, so all gates are run that two of them make.
"""

import itertools
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import click

HERE = Path(__file__).resolve().parent
RECORDED = HERE / "noise.json"
Times: TypeAlias = Mapping[str, Sequence[Sequence[float]]]  # by problem: seconds of base, head and products
Ratios: TypeAlias = dict[str, float]  # by problem: how many times as long the head took


class Rate(NamedTuple):
    """A share in percent, and the bounds of its 95 % interval."""

    share: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.share:.4f} (95 % interval {self.low:.4f} to {self.high:.4f})"


def fastest(seconds: Sequence[float]) -> float:
    """The mean of the fastest third of some runs: steadier than the fastest, and unaffected by disturbances of the
    others."""
    third = sorted(seconds)[: math.ceil(len(seconds) / 3)]
    return sum(third) / len(third)


def ratios(times: Times) -> Ratios:
    """How many times as long the head took, by problem."""
    return {name: fastest(head) / fastest(base) for name, (base, head, _) in times.items()}


def recorded() -> list[Ratios]:
    """The pairs without a change that come with the repository; none where nothing is recorded."""
    found = json.loads(RECORDED.read_text()) if RECORDED.exists() else {"cells": [], "pairs": []}
    return [dict(zip(found["cells"], pair, strict=True)) for pair in found["pairs"]]


def write(pairs: Sequence[Ratios]) -> None:
    """Keep the ratios of these pairs, in place of the recorded ones."""
    rows = ",\n".join(json.dumps([round(ratio, 4) for ratio in pair.values()]) for pair in pairs)
    RECORDED.write_text(f'{{"cells": {json.dumps(list(pairs[0]))},\n"pairs": [\n{rows}\n]}}\n')


def gates(pairs: Sequence[Ratios]) -> Iterator[tuple[Ratios, Ratios]]:
    """The first and the second look of each gate that could have been run. Either version could have been the head."""
    either = [(pair, {cell: 1 / ratio for cell, ratio in pair.items()}) for pair in pairs]
    for first, second in itertools.permutations(either, 2):
        yield from itertools.product(first, second)


def false_alarms(pairs: Sequence[Ratios], limit: float) -> Rate:
    """The share of gates that name a cell though nothing changed.

    The bounds are the bounds for the first look (the share of pairs with a ratio beyond the limit) times the bounds for
    the second (the share of ratios beyond the limit) for each cell that is measured again.
    """
    named = [any(min(first[c], second[c]) > limit for c in first) for first, second in gates(pairs)]
    beyond = [sum(max(ratio, 1 / ratio) > limit for ratio in pair.values()) for pair in pairs]
    doubtful = sum(map(bool, beyond))
    first, second = bounds(doubtful, len(pairs)), bounds(sum(beyond), sum(map(len, pairs)))
    share, again = sum(named) / len(named), sum(beyond) / max(1, doubtful)
    return Rate(share, min(share, first[0] * second[0]), max(share, first[1] * second[1] * max(1, again)))


def named(pairs: Sequence[Ratios], limit: float, change: float) -> float:
    """The share of gates that name a cell which takes ``change`` times as long, over all cells."""
    seen = [min(first[c], second[c]) * change > limit for first, second in gates(pairs) for c in first]
    return sum(seen) / len(seen)


def bounds(count: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a probability (Clopper and Pearson, 1934) from ``count`` events in ``of`` tries."""

    def tail(p: float, counts: range) -> float:
        return sum(math.comb(of, k) * p**k * (1 - p) ** (of - k) for k in counts)

    def solved(counts: range, rising: bool) -> float:
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if (tail(middle, counts) < 0.025) == rising else (low, middle)
        return low

    lower = solved(range(count, of + 1), rising=True) if count else 0.0
    return lower, solved(range(count + 1), rising=False) if count < of else 1.0


def record(number: int) -> None:
    """Measure the reference of this checkout against itself, each time in a new process; add the ratios to the file."""
    reference = str(HERE.parent / "reference")
    for _ in range(number):
        command = [sys.executable, HERE / "paired.py", reference, reference]
        told = subprocess.run(command, check=True, capture_output=True)
        write([*recorded(), ratios(json.loads(told.stdout))])


@click.command()
@click.option("--record", "number", type=click.IntRange(0), default=0, help="Measure so many pairs more.")
def main(number: int) -> None:
    """Say how noisy the timed part of the gate is, and what follows."""
    record(number)
    pairs = recorded()
    spread = sorted(abs(math.log(ratio)) for pair in pairs for ratio in pair.values())
    deviation = math.sqrt(sum(x * x for x in spread) / len(spread))
    click.echo(
        f"{len(pairs)} pairs, {len(spread)} ratios: standard deviation {deviation:.3f}, largest {spread[-1]:.3f}"
    )
    for limit in (1.04, 1.06, 1.08, 1.10, 1.12):
        alarms, seen = false_alarms(pairs, limit), named(pairs, limit, 1.15)
        click.echo(f"limit {limit:.2f}: false alarms {alarms}; 1.15 is named in {seen:.3f}")


if __name__ == "__main__":
    main()
