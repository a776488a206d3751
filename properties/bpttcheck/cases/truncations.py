"""Truncations to try on a sequence of T steps: drawn ones, ones that cut nothing, ones that cut everything.

No window ends exactly at the initial state, because conventions differ in whether a window of T steps reaches it.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from bpttref import Blocks, Full, Last, Links, Random, Regular, Strategy, Window, weights

_OfLength: TypeAlias = Callable[[int], Strategy]


def _tau(rng: np.random.Generator, T: int) -> int:
    """Mostly one that does not divide T where there is one: code for segments often fails at a remainder."""
    inside = range(2, T)
    return int(rng.choice([tau for tau in inside if T % tau or rng.random() < 0.2] or [min(2, T)]))


def _steps(rng: np.random.Generator, least: int, stop: int) -> int:
    """A number of steps below ``stop``. In a long range it is small half of the time, because contributions from many
    steps away have mostly vanished."""
    few = stop - least > 16 and rng.random() < 0.5
    return int(rng.integers(least, least + 6 if few else stop))


def _blocks(rng: np.random.Generator, T: int) -> Blocks:
    """Short blocks and short ways back: the two ends of both lie inside the sequence."""
    k1 = _steps(rng, 2, max(4, T // 3))
    k2 = k1 + int(rng.integers(0, 3))
    return Blocks(k1, k2 + (k2 == T))


def _links(rng: np.random.Generator, T: int) -> Links:
    return Links((1.0, *rng.choice([0.0, 0.5, 1.0, 2.0], T - 1).tolist()) if T else ())


def _random(rng: np.random.Generator, T: int) -> Random:
    """One probability for all links, or one for each."""
    pi = rng.choice([0.25, 0.4, 0.75], T).tolist()  # not 1/2, at which pi and 1 - pi are the same
    return Random(tuple(pi) if rng.random() < 0.5 else pi[0], int(rng.integers(2**31)))


DRAWN: Mapping[type[Strategy], Callable[[np.random.Generator, int], Strategy]] = {
    Regular: lambda rng, T: Regular(_tau(rng, T)),
    Window: lambda rng, T: Window(_steps(rng, 2, T) if T > 2 else T + 1),
    Blocks: _blocks,
    Last: lambda rng, T: Last(_steps(rng, 1, max(2, T))),
    Links: _links,
    Random: _random,
}

OF_STEPS = (Regular, Window, Links, Random)  # rules that do not depend on the end of a sequence or row


def cuts(strategy: Strategy, T: int) -> bool:
    """Whether a truncation is another than full BPTT on a sequence of T steps."""
    return not np.array_equal(weights(strategy, T), weights(Full(), T))


COVERING: Mapping[type[Strategy], _OfLength] = {  # full BPTT by other names
    Regular: Regular,
    Window: lambda T: Window(T + 1),
    Blocks: lambda T: Blocks(T, T + 1),
    Last: lambda T: Last(T + 1),
    Links: lambda T: Links((1.0,) * T),
    Random: lambda T: Random(1.0, seed=T),
}

NO_TEMPORAL_TERM: Mapping[type[Strategy], _OfLength] = {  # a loss reaches only its own step
    Regular: lambda T: Regular(1),
    Window: lambda T: Window(1),
    Blocks: lambda T: Blocks(1, 1),
    Links: lambda T: Links((1.0, *(0.0,) * (T - 1))),
}
