"""Cases from which Hypothesis chooses: cases no larger than one that fails, and cases of any size.

They are a module of their own because Hypothesis takes longer to import than all else, and a verdict without failures
does not need it.
"""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from bpttcheck.cases.drawing import FARTHEST, USUAL, WEIGHT_SCALES, Draw
from bpttcheck.contract import Capabilities


def smaller_draws(draw: Draw, capabilities: Capabilities) -> st.SearchStrategy[Draw]:
    """Draws that are no larger than this one, the simplest first; each value is with probability 1/2 the one of this
    draw."""
    if draw.file is not None:
        return st.just(draw)

    def size(name: str) -> st.SearchStrategy[int]:
        most = getattr(draw, name)
        smaller = [n for n in sorted(capabilities.sizes.get(name, range(1, most + 1))) if n <= most]
        return st.sampled_from(smaller + [most] * len(smaller))

    scales = dict.fromkeys([*(s for s in WEIGHT_SCALES[:2]), draw.weight_scale])
    return st.builds(
        Draw,
        T=size("T"),
        B=size("B"),
        D=size("D"),
        H=size("H"),
        layers=st.sampled_from([*range(1, draw.layers + 1), *[draw.layers] * draw.layers]),
        bidirectional=st.sampled_from(sorted({False, draw.bidirectional})),
        ragged=st.sampled_from(sorted({False, draw.ragged})),
        tokens=st.sampled_from(sorted({draw.tokens, draw.tokens and "dense" not in capabilities.inputs})),
        rounded=st.sampled_from([True, draw.rounded]),
        weight_scale=st.sampled_from(list(scales)),
        seed=st.sampled_from([*range(16), draw.seed]),
        remembers=st.sampled_from(sorted({False, draw.remembers})),
        unbiased=st.sampled_from([False, True]) if draw.unbiased else st.just(False),
        chunk=st.just(draw.chunk),
        resets=st.sampled_from([False, True]) if draw.resets else st.just(False),
    )


def any_draws(capabilities: Capabilities) -> st.SearchStrategy[Draw]:
    """Draws of small cases of any kind for an implementation with these capabilities; the simplest first."""
    takes, chunk = capabilities.inputs, min(capabilities.chunks, default=0)
    most: dict[str, Any] = USUAL | ({"T": 2 * chunk + 1} if chunk else {})
    for name, declared in capabilities.sizes.items():
        most[name] = max((n for n in declared if n <= most[name]), default=min(declared))
    largest = Draw(
        **most,
        layers=capabilities.layers,
        bidirectional=capabilities.bidirectional,
        ragged="lengths" in takes,
        tokens="tokens" in takes,
        rounded=False,
        weight_scale=1.0,
        seed=0,
        unbiased=True,
        chunk=chunk,
        resets="resets" in takes,
    )
    seeds, scales = st.integers(0, 255), st.sampled_from(WEIGHT_SCALES[:4])
    return st.builds(replace, smaller_draws(largest, capabilities), seed=seeds, weight_scale=scales)


def far_draws(capabilities: Capabilities) -> st.SearchStrategy[Draw]:
    """Draws of any size up to `FARTHEST`, and of weights of any size, that change little by little."""
    takes, chunk = capabilities.inputs, min(capabilities.chunks, default=0)

    def size(name: str) -> st.SearchStrategy[int]:
        declared = capabilities.sizes.get(name)
        return st.integers(1, FARTHEST) if declared is None else st.sampled_from(sorted(declared))

    def perhaps(can_be: object) -> st.SearchStrategy[bool]:
        return st.booleans() if can_be else st.just(False)

    return st.builds(
        Draw,
        T=size("T"),
        B=size("B"),
        D=size("D"),
        H=size("H"),
        layers=st.integers(1, capabilities.layers),
        bidirectional=perhaps(capabilities.bidirectional),
        ragged=perhaps("lengths" in takes),
        tokens=st.just("dense" not in takes),
        rounded=st.just(False),
        weight_scale=st.floats(-10, 8).map(lambda power: 2.0**power),
        seed=st.integers(0, 255),
        remembers=st.booleans(),
        unbiased=st.booleans(),
        chunk=st.just(chunk),
        resets=perhaps("resets" in takes),
    )
