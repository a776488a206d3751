"""Drawing cases: first sizes, scales and a seed; the arrays follow from them.

The first pass draws kinds of cases in turn, so that no law goes without its own, and no two sizes agree but where that
is intended. What fails is drawn again by Hypothesis, from what is smaller, and shrinks: to small sizes and, since
``rounded`` shrinks to True, to values that are small multiples of 1/4, which a person can work through by hand.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from bpttcheck.blocks import place
from bpttcheck.case_file import CaseFile, Held
from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, Outputs
from bpttcheck.dtypes import FORMATS, rounded
from bpttcheck.shapes import output_width, parameter_shapes, state_shapes
from bpttref import RNN, Cell, Objective, trees, vjp
from bpttref.arrays import Array
from bpttref.cells import State
from bpttref.inputs import is_tokens

WEIGHT_SCALES = (0.5, 1.0, 0.1, 2.0, 1e-3, 8.0)  # vanishing to saturated and exploding; the simplest first


@dataclass(frozen=True)
class Draw:
    """Everything that a case depends on. file: where it is the user's own; then the seed is that of the rest."""

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

    def __str__(self) -> str:
        if self.file is not None:
            return f"{self.file.path} (seed {self.seed})"
        options = {
            f"{self.layers} layers": self.layers > 1,
            "two directions": self.bidirectional,
            "rows of different lengths": self.ragged,
            "tokens": self.tokens,
            "round numbers": self.rounded,
        }
        sizes = f"T={self.T}, B={self.B}, D={self.D}, H={self.H}"
        chosen = "".join(f", {option}" for option, given in options.items() if given)
        return f"{sizes}{chosen}, weights of size {self.weight_scale:g} (seed {self.seed})"


_USUAL = {"T": 7, "B": 4, "D": 5, "H": 6}  # the largest that are drawn in the main phase
_LARGE = {"T": 70, "B": 40, "D": 40, "H": 40}  # beyond the blocks of 8 to 64 in which loops are cut and vectorised
_GROWING = "THTBTD"  # which size is the large one, in turn
KINDS = ("plain", "stack", "two directions", "ragged", "equal", "edge", "large", "anything")


def draw_case(rng: np.random.Generator, capabilities: Capabilities, k: int) -> Draw:
    """The k-th draw for a subject with these capabilities, of the kind `KINDS[k % 8]` as far as they allow it.

    Sizes are distinct and above 1, but in some kinds: "equal" has equal ones, since a wrong shape may fit by chance;
    "edge" has sizes of 1; "large" has one size that is several times the others, and weights with which a long sequence
    neither explodes nor becomes chaotic. "ragged", "equal", "edge" and "anything" mix depth, directions and lengths.
    """
    kind = KINDS[k % len(KINDS)]
    sizes: dict[str, Any] = _sizes(rng, capabilities, kind, _GROWING[k // len(KINDS) % len(_GROWING)])
    mixed = kind in ("ragged", "equal", "edge", "anything")
    dense, tokens = "dense" in capabilities.inputs, "tokens" in capabilities.inputs
    deep = kind == "stack" or (mixed and rng.random() < 0.5)
    return Draw(
        **sizes,
        layers=int(rng.integers(min(2, capabilities.layers), capabilities.layers + 1)) if deep else 1,
        bidirectional=capabilities.bidirectional and (kind == "two directions" or (mixed and rng.random() < 0.4)),
        ragged="lengths" in capabilities.inputs and (kind == "ragged" or (mixed and rng.random() < 0.4)),
        tokens=tokens and (not dense or rng.random() < 0.3),
        rounded=rng.random() < 0.3,
        weight_scale=float(rng.choice(WEIGHT_SCALES[:3] if kind == "large" else WEIGHT_SCALES)),
        seed=int(rng.integers(2**32)),
    )


def _sizes(rng: np.random.Generator, capabilities: Capabilities, kind: str, growing: str) -> dict[str, int]:
    """Sizes from the subject's own, where it declares them, else from small ranges, but for the ``growing`` one."""

    def pool(name: str, least: int, most: int) -> list[int]:
        return sorted(capabilities.sizes.get(name, range(least, most + 1)))

    if kind == "equal":
        equal = int(rng.integers(2, 5))
        choices = {n: pool(n, 2, most) for n, most in _USUAL.items()}
        return {n: equal if equal in choice else int(rng.choice(choice)) for n, choice in choices.items()}
    if kind == "edge":
        choices = {n: pool(n, 1, most) for n, most in _USUAL.items()}
        return {n: int(rng.choice([choice[0], rng.choice(choice)])) for n, choice in choices.items()}
    choices = {n: pool(n, 2, most) for n, most in _USUAL.items()}
    if kind == "large":
        large = pool(growing, 2 * _LARGE[growing] // 3, _LARGE[growing])
        choices = {n: c[:3] for n, c in choices.items()} | {growing: large}
    for _ in range(20):
        sizes = {name: int(rng.choice(choice)) for name, choice in choices.items()}
        if len(set(sizes.values())) == len(sizes):
            break
    return sizes


def draw_around(rng: np.random.Generator, file: CaseFile, held: Held) -> Draw:
    """A draw of what a user's own case leaves open: cotangents, an objective, what the laws draw."""
    case = held.case
    T, B = case.x.shape[:2]
    return Draw(
        T=T,
        B=B,
        D=case.sizes.get("D", 1),
        H=held.H,
        layers=len(case.parameters),
        bidirectional=len(case.parameters[0]) == 2,
        ragged=case.lengths is not None,
        tokens=is_tokens(case.x),
        rounded=False,
        weight_scale=1.0,
        seed=int(rng.integers(2**32)),
        file=file,
    )


def smaller_draws(draw: Draw, capabilities: Capabilities) -> st.SearchStrategy[Draw]:
    """Draws that are no larger than this one, the simplest first; half of what is drawn is as in this one."""
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
    )


def realise(draw: Draw, cell: Cell | CustomCell, dtype: str, capabilities: Capabilities) -> tuple[Case, Cotangents]:
    """The case and the cotangents of a draw: the same for the same draw. A user's own case starts from zeros unless it
    has initial states."""
    rng = np.random.default_rng(draw.seed)

    def values(*shape: int, scale: float = 1.0) -> Array:
        drawn = rng.standard_normal(shape)
        if draw.rounded:
            drawn = np.where(drawn < 0, -1, 1) * np.ceil(4 * np.abs(drawn)) / 4
        return rounded(scale * drawn, dtype)

    directions = 2 if draw.bidirectional else 1
    x, width = _tokens(draw, rng, capabilities) if draw.tokens else (values(draw.T, draw.B, draw.D), draw.D)
    parameters, initial, final = [], [], []
    for _ in range(draw.layers):
        shapes = parameter_shapes(cell, width, draw.H, capabilities.biases)
        parameters.append(
            tuple(
                {name: values(*s, scale=draw.weight_scale if len(s) > 1 else 0.5) for name, s in shapes.items()}
                for _ in range(directions)
            )
        )
        rows = {name: (draw.B, *shape) for name, shape in state_shapes(cell, draw.H).items()}
        initial.append(tuple({name: values(*s, scale=0.5) for name, s in rows.items()} for _ in range(directions)))
        final.append(tuple({name: values(*s) for name, s in rows.items()} for _ in range(directions)))
        width = directions * output_width(cell, draw.H)
    lengths = None
    if draw.ragged:
        shortest = 0 if capabilities.empty and rng.random() < 0.3 else 1
        lengths = rng.integers(shortest, draw.T + 1, draw.B)
        lengths[rng.integers(draw.B)] = draw.T
    case = Case(
        cell,
        dtype,
        tuple(parameters),
        x,
        tuple(initial) if "initial" in capabilities.inputs else None,
        lengths,
        objective=_objective(rng, values, (draw.T, draw.B, width), capabilities, draw.seed % 4 == 3),
    )
    dy = values(draw.T, draw.B, width) if "y" in capabilities.outputs else None
    cotangents = Cotangents(dy, tuple(final) if "final" in capabilities.outputs else None)
    if draw.file is None:
        return case, cotangents
    own, given, _ = draw.file.holds(cell, dtype, capabilities)
    own = replace(own, initial=own.initial or trees.scale(case.initial, 0), objective=case.objective)
    return own, given if any(part is not None for part in given) else cotangents


def _tokens(draw: Draw, rng: np.random.Generator, capabilities: Capabilities) -> tuple[Array, int]:
    """Tokens ``(T, B)`` and how many there may be. Half the time no two are the same: the columns of dW_hx are then
    the gradients of single steps."""
    size = draw.T * draw.B
    distinct = "D" not in capabilities.sizes and bool(rng.integers(2))
    tokens = rng.permutation(size) if distinct else rng.integers(0, draw.D, size)
    return tokens.reshape(draw.T, draw.B), size if distinct else draw.D


def _objective(
    rng: np.random.Generator,
    values: Callable[..., Array],
    shape: tuple[int, int, int],
    capabilities: Capabilities,
    large: bool,
) -> Objective | None:
    """An objective of one of the declared kinds for outputs of this ``shape``. In each fourth case the readout is
    large, so that gradients pass the bounds at which training loops clip them, but not so large that the logarithm of a
    softmax in float32 overflows."""
    if not capabilities.objectives:
        return None
    T, B, width = shape
    kind: Any = str(rng.choice(sorted(capabilities.objectives)))
    scales = {"given": 2.0 ** rng.integers(-2, 3), "sum": 1, "mean-of-steps": 1 / T, "mean": 1 / (T * B)}
    weights = rng.integers(1, 9, T) / 4 if capabilities.loss_weights else None
    readouts, size = int(rng.integers(2, 5)), 8 / width**0.5 if large else 1.0
    W_qh, b_q = (None, None) if kind == "linear" else (values(readouts, width, scale=size), values(readouts))
    if kind == "cross-entropy":
        targets = rng.integers(0, readouts, (T, B))
    else:
        targets = values(T, B, width if kind == "linear" else readouts)
    return Objective(kind, targets, W_qh, b_q, weights, float(scales[capabilities.reduction]))


def with_arrays(case: Case, change: Callable[[str, Array], Array]) -> Case:
    """The case with each floating array replaced by ``change(name, array)``, names as in `bpttcheck.blocks.named`.

    Tokens are copied.
    """

    def tree(layers: Any, prefix: str) -> Any:
        return layers and tuple(
            tuple(
                {name: change(place(k, d) + prefix + name, array) for name, array in leaf.items()}
                for d, leaf in enumerate(directions)
            )
            for k, directions in enumerate(layers)
        )

    objective = case.objective
    if objective is not None:
        objective = objective.with_readout({name: change(name, a) for name, a in objective.readout.items()})
    return replace(
        case,
        objective=objective,
        x=case.x.copy() if is_tokens(case.x) else change("x", case.x),
        parameters=tree(case.parameters, ""),
        initial=tree(case.initial, "initial."),
    )


def behind(case: Case) -> Array:
    """Which steps ``(T, B)`` lie behind the end of their row."""
    steps, rows = case.x.shape[:2]
    return np.arange(steps)[:, None] >= (np.full(rows, steps) if case.lengths is None else case.lengths)


def saturated(case: Case) -> Case:
    """The case with input weights and biases of 1e4, so that every pre-activation is of that order."""

    def large(name: str, array: Array) -> Array:
        return (1e4 * np.sign(array)).astype(array.dtype) if name.rsplit(".", 1)[-1] in ("W_hx", "b_hx") else array

    return with_arrays(case, large)


def near_kink(case: Case) -> bool:
    """Whether a ReLU's pre-activation is so near to 0, beside its terms, that rounding may flip it."""
    margin = max(1e-3, 4 * FORMATS[case.dtype].eps)
    return any(np.any(np.abs(total) < margin * terms) for total, terms in _preactivations(case))


def sides_of_kinks(case: Case) -> Array:
    """For each pre-activation of a ReLU, whether it is positive; empty for other cells."""
    return np.concatenate([np.zeros(0, bool), *(total.ravel() > 0 for total, _ in _preactivations(case))])


def _preactivations(case: Case) -> list[tuple[Array, Array]]:
    """For each step of each layer of a ReLU network, the pre-activations and the sum of their terms' magnitudes."""
    found: list[tuple[Array, Array]] = []
    if case.cell != RNN("relu"):
        return found
    case = with_arrays(case, lambda _, array: array.astype(np.float64))

    class _Watched(RNN):
        def step(self, a: Array, gates: State, before: State, after: State, *rest: Any) -> None:
            W = rest[1]
            found.append((before[0] @ W + a, np.abs(before[0]) @ np.abs(W) + np.abs(a)))
            super().step(a, gates, before, after, *rest)

    vjp(_Watched("relu"), case.parameters, case.x, case.initial, lengths=case.lengths)
    return found


def only_y(outputs: Outputs | Cotangents, steps: slice) -> Cotangents:
    """Cotangents of y at some steps alone, zero at the others."""
    assert outputs.y is not None
    dy = np.zeros_like(outputs.y)
    dy[steps] = outputs.y[steps]
    return Cotangents(dy)
