"""A matrix M in words and as numbers: which rule of truncation it is."""

import numpy as np

from bpttref import Blocks, Full, Last, Links, Regular, Strategy, Window, weights
from bpttref.arrays import Array

CLOSE = 1e-4  # entries are ratios of gradients in float64


def said_of(M: Array, leak: float, asked: Strategy | None, cut: str) -> str:
    """A matrix in words, or a sentence that the gradients are no weighting. cut: the explanation of that."""
    if leak > CLOSE:
        return f"no weighting of full BPTT{f': {cut}' if cut else ''}"
    return in_words(M, asked)


def in_words(M: Array, asked: Strategy | None = None) -> str:
    """A matrix in words; a window that is one longer than requested is counted in transitions."""
    T = len(M)
    transitions = Window(asked.tau + 1) if isinstance(asked, Window) else None
    candidates: list[tuple[str, Array]] = [("full BPTT", weights(Full(), T))]
    candidates += [
        (f"blocks of {tau}: cut before steps {tau}, {2 * tau}, ...", weights(Regular(tau), T)) for tau in range(1, T)
    ]
    candidates += [
        (
            f"a band of {tau}: "
            + (
                "the window is counted in transitions"
                if Window(tau) == transitions
                else f"each loss reaches {tau} cells"
            ),
            weights(Window(tau), T),
        )
        for tau in range(2, T)
    ]
    candidates += [(f"only the last {k} steps", weights(Last(k), T)) for k in range(1, T)]
    candidates += [
        (f"losses in blocks of {k1}, going back over {k2} steps", weights(Blocks(k1, k2), T))
        for k1 in range(2, T)
        for k2 in range(k1, T)
    ]
    candidates += [
        (
            f"only the last loss travels, over {tau} cells",
            np.where(np.arange(T)[:, None] == T - 1, weights(Window(tau), T), weights(Window(1), T)),
        )
        for tau in range(2, T + 1)
    ]
    for words, candidate in candidates:
        if same(M, candidate[:, 1:]):
            return words
    for words, candidate in candidates:
        if (scaled := _scaled(M, candidate[:, 1:])) is not None:
            return f"{words}; {scaled}"
    xi = np.diag(M, -1)
    if not np.isnan(xi).any() and same(M, weights(Links((1.0, *xi.tolist())), T)[:, 1:]):
        return f"products of links with the multipliers {', '.join(f'{v:.3g}' for v in np.round(xi, 4) + 0.0)}"
    return "none of the known rules"


def _scaled(M: Array, candidate: Array) -> str | None:
    """The factor of the losses, in words, if the candidate times this factor is the observed matrix."""
    by = np.diag(M)
    if np.isnan(by).any() or not np.all(np.diag(candidate)) or not same(M, by[:, None] * candidate):
        return None
    factors: dict[str, list[int]] = {}
    for t, factor in enumerate(by):
        factors.setdefault(f"{round(float(factor), 4) + 0.0:.3g}", []).append(t)
    if len(factors) == 1:
        return f"all losses times {next(iter(factors))}"
    if len(factors) > 3:
        return None
    return "losses of " + ", ".join(
        f"step{'s' * (len(steps) > 1)} {', '.join(map(str, steps))} times {factor}"
        for factor, steps in factors.items()
        if factor != "1"
    )


def same(M: Array, candidate: Array) -> bool:
    seen = ~np.isnan(M) & np.tri(len(M), dtype=bool)
    return bool(np.all(np.abs(M - candidate)[seen] < CLOSE))


def grid(M: Array) -> list[str]:
    """The rows of a matrix, up to the diagonal; an entry that cannot be seen is a question mark."""
    digits = np.isnan(M) | (np.abs(M - np.round(M)) < CLOSE)
    seen = np.tri(len(M), dtype=bool)
    few = bool(np.all(digits[seen])) and bool(np.all(np.abs(np.nan_to_num(M[seen])) < 9.5))

    def entry(value: float) -> str:
        if np.isnan(value):
            return "?" if few else "    ?"
        return f"{round(value) + 0:d}" if few else f"{value + 0.0:5.2f}"

    return [" ".join(entry(float(v)) for v in row[: t + 1]) for t, row in enumerate(M)]
