"""Drawing a case: sizes, scales and a seed, from which the arrays follow (`bpttcheck.cases.realising`).

The first pass draws kinds of cases in turn, so that every law meets the kind it needs, and no two sizes are equal
except where that is intended. Hypothesis draws a failing case again, from smaller ones, so that it shrinks: to small
sizes and, because ``rounded`` shrinks to True, to small multiples of 1/4, which a person can work through by hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bpttcheck.cases.case_file import CaseFile, Held
from bpttcheck.contract import Capabilities

WEIGHT_SCALES = (0.5, 1.0, 0.1, 2.0, 1e-3, 8.0)  # vanishing to saturated and exploding; the simplest first


@dataclass(frozen=True)
class Draw:
    """Everything that a case depends on. file: of the user's own case; the seed is then for the rest.

    remembers: whether the weights of a known cell are such that states neither vanish nor explode over many steps.
    unbiased: whether biases are zero, as in most networks before training.
    resets: whether rows start anew inside the sequence.
    chunk: the steps that are computed at once, 0 without a declaration of chunks.
    """

    T: int
    B: int
    D: int
    H: int
    layers: int
    bidirectional: bool
    ragged: bool
    tokens: bool
    rounded: bool
    weight_scale: float
    seed: int
    file: CaseFile | None = None
    remembers: bool = False
    unbiased: bool = False
    chunk: int = 0
    resets: bool = False

    @property
    def kind(self) -> str:
        """The special feature of the case, in a word or two."""
        kinds = {
            "of the user's own": self.file is not None,
            "large": any(getattr(self, name) > most for name, most in USUAL.items()),
            "in two directions": self.bidirectional,
            "with rows of different lengths": self.ragged,
            "of several layers": self.layers > 1,
        }
        return next((kind for kind, holds in kinds.items() if holds), "small")

    def __str__(self) -> str:
        if self.file is not None:
            return f"{self.file.path} (seed {self.seed})"
        options = {
            f"{self.layers} layers": self.layers > 1,
            "two directions": self.bidirectional,
            "rows of different lengths": self.ragged,
            "tokens": self.tokens,
            "round numbers": self.rounded,
            "long memory": self.remembers,
            "biases of zero": self.unbiased,
            f"chunks of {self.chunk}": self.chunk > 0,
            "resets": self.resets,
        }
        sizes = f"T={self.T}, B={self.B}, D={self.D}, H={self.H}"
        chosen = "".join(f", {option}" for option, given in options.items() if given)
        return f"{sizes}{chosen}, weights of size {self.weight_scale:g} (seed {self.seed})"


USUAL = {"T": 7, "B": 4, "D": 5, "H": 6}  # the largest that are drawn in the main phase
_LARGE = {"T": 70, "B": 40, "D": 40, "H": 40}
_LONG = 61  # the least of T where it is large: memory of more than 60 steps
FARTHEST = 320
USUALLY = 40  # cases, unless another number is given
_NARROW = 8  # the largest D and H at which weights of any size are drawn
# Sizes at which loops are cut and vectorised. The seed decides whether the two large ones of a case lie a little below,
# at or above one of these.
_EDGES = {"T": (64, 128, 32, 16), "B": (32, 16, 128, 64), "H": (64, 128, 32, 16), "D": (32, 16, 128, 64)}
KINDS = ("plain", "stack", "large", "two directions", "ragged", "equal", "large", "edge")


def draw_case(
    rng: np.random.Generator, capabilities: Capabilities, k: int, seed: int = 0, *, escalating: bool = False
) -> Draw:
    """The k-th draw for an implementation with these capabilities, of the kind `KINDS[k % 8]` as far as they allow it.

    Sizes are distinct and above 1, except in some kinds: "equal" has equal ones, because a wrong shape may fit by
    chance; "edge" has sizes of 1; "large" has some that are several times the others, and a long memory where T is
    large. "ragged", "equal" and "edge" mix depth, directions and lengths. Some of each kind except "large" have biases
    of zero.

    The first 40 cases of three consecutive seeds meet all of `_EDGES`. escalating: whether from then on every other
    case is large, up to `FARTHEST` in any of its sizes.

    Weights of a wide network, or over many steps, shrink with the root of the number of terms in their sums: else
    states explode or saturate, and rounding decides all that follows. One in 16 of these has weights of any size
    nevertheless.
    """
    turn, place = divmod(k, len(KINDS))
    escalates = escalating and k >= USUALLY
    kind = "large" if escalates and k % 2 else KINDS[place]
    growing: dict[str, int] = {}
    if kind == "large":
        before = turn * KINDS.count("large") + KINDS[:place].count("large")
        growing = _far(rng, k) if escalates else _growing(rng, before, seed)
    chunk = int(rng.choice(sorted(capabilities.chunks))) if capabilities.chunks else 0
    sizes: dict[str, Any] = _sizes(rng, capabilities, kind, growing, chunk)
    long, width = sizes["T"] >= _LONG, max(sizes["D"], sizes["H"])
    shrinking = growing or ((long or width > _NARROW) and rng.random() < 15 / 16)
    scales = [s / width**0.5 for s in WEIGHT_SCALES[:3]] if shrinking else WEIGHT_SCALES
    mixed = kind in ("ragged", "equal", "edge")
    dense, tokens = "dense" in capabilities.inputs, "tokens" in capabilities.inputs
    deep = kind == "stack" or (mixed and rng.random() < 0.5)
    drawn = Draw(
        **sizes,
        layers=int(rng.integers(min(2, capabilities.layers), capabilities.layers + 1)) if deep else 1,
        bidirectional=capabilities.bidirectional and (kind == "two directions" or (mixed and rng.random() < 0.4)),
        ragged="lengths" in capabilities.inputs and (kind == "ragged" or (mixed and rng.random() < 0.4)),
        tokens=tokens and (not dense or (rng.random() < 0.3 and not growing)),
        rounded=rng.random() < 0.3 and not growing,
        weight_scale=float(rng.choice(scales)),
        seed=int(rng.integers(2**32)),
        remembers=kind == "large" and long,
        unbiased=rng.random() < 0.2 and not growing,
        chunk=chunk,
    )
    may_reset = "resets" in capabilities.inputs and not drawn.bidirectional and kind not in ("plain", "large")
    return replace(drawn, resets=may_reset and drawn.seed % 2 == 0)


def _growing(rng: np.random.Generator, before: int, seed: int) -> dict[str, int]:
    """The large sizes of a large case: steps and rows, or features and units, in turn; in each fifth case only one of
    them.

    before: large cases that came before.
    """
    names, place = ("TB", "DH")[before % 2], before // 2 % 5
    if place < 4:
        return {name: _EDGES[name][place] + seed % 3 - 1 for name in names}
    name = str(rng.choice([*names]))
    least = _LONG if name == "T" else 2 * _LARGE[name] // 3
    return {name: int(rng.integers(least, _LARGE[name] + 1))}


def _far(rng: np.random.Generator, k: int) -> dict[str, int]:
    """One or two sizes; the later the case, the larger they may be."""
    most = int(min(FARTHEST, 64 * 2 ** ((k - USUALLY) / 16)))
    names = rng.permutation([*USUAL])[: 1 + (rng.random() < 1 / 4)]
    return {str(name): int(rng.integers(8, most + 1)) for name in names}


def _sizes(
    rng: np.random.Generator, capabilities: Capabilities, kind: str, growing: Mapping[str, int], chunk: int
) -> dict[str, int]:
    """Sizes from the implementation's own, where it declares them, else from small ranges, except those that are
    ``growing``.

    A sequence that is computed in chunks ends inside a chunk, at its end, or one step behind it.
    """

    def pool(name: str, least: int, most: int) -> list[int]:
        declared = capabilities.sizes.get(name)
        if name == "T" and chunk and kind != "equal":
            around = {1, chunk - 1, chunk, chunk + 1, 2 * chunk + 1} if least == 1 else {chunk - 1, chunk, chunk + 1}
            around = {2 * chunk, 2 * chunk + 1} if "T" in growing else around | {2 * chunk + 1}
            found = sorted(n for n in around if n >= min(least, 2) and (declared is None or n in declared))
            if found:
                return found
        return sorted(range(least, most + 1) if declared is None else declared)

    if kind == "equal":
        equal = int(rng.integers(2, 5))
        choices = {n: pool(n, 2, most) for n, most in USUAL.items()}
        return {n: equal if equal in choice else int(rng.choice(choice)) for n, choice in choices.items()}
    if kind == "edge":
        choices = {n: pool(n, 1, most) for n, most in USUAL.items()}
        return {n: int(rng.choice([choice[0], rng.choice(choice)])) for n, choice in choices.items()}
    choices = {n: pool(n, 2, most) for n, most in USUAL.items()}
    if growing:
        small = {n: c if n == "T" and chunk else c[:3] for n, c in choices.items()}
        choices = small | {n: _nearest(capabilities, n, size) for n, size in growing.items() if n != "T" or not chunk}
    for _ in range(20):
        sizes = {name: int(rng.choice(choice)) for name, choice in choices.items()}
        if len(set(sizes.values())) == len(sizes):
            break
    return sizes


def _nearest(capabilities: Capabilities, name: str, size: int) -> list[int]:
    """The size, or the declared one that is nearest to it."""
    return [min(capabilities.sizes.get(name, (size,)), key=lambda declared: abs(declared - size))]


def draw_around(rng: np.random.Generator, file: CaseFile, held: Held) -> Draw:
    """A draw for the parts that a user's own case leaves open: cotangents, an objective, the choices of the laws."""
    case = held.case
    return Draw(
        T=case.T,
        B=case.B,
        D=held.D,
        H=held.H,
        layers=len(case.parameters),
        bidirectional=len(case.parameters[0]) == 2,
        ragged=case.lengths is not None,
        tokens="D" not in case.sizes,
        rounded=False,
        weight_scale=1.0,
        seed=int(rng.integers(2**32)),
        file=file,
    )
