"""The X-ray: which matrix M a subject's truncation really applies, seen from outside.

With a cotangent at one time t alone, the gradient for x_s is M[t, s] times its value in full BPTT: T calls of the
pullback show the whole matrix. The parameters' gradient from the loss at t is the sum over s of M[t, s] C[t, s], with
the contributions C of the reference: least squares show the matrix again, since some bugs truncate one and not the
other.
"""

from dataclasses import dataclass, replace

import numpy as np

from bpttcheck.cases.blocks import Named
from bpttcheck.cases.changes import only_y
from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.realising import realise
from bpttcheck.contract import Case, Cotangents, CustomCell, Implementation, require
from bpttcheck.faults.boundaries import cell_state_not_cut, hidden_state_not_cut, in_segments
from bpttcheck.measuring.calls import capabilities_of
from bpttcheck.measuring.trial import Trial
from bpttref import LSTM, Blocks, Cell, Full, Last, Links, Regular, Strategy, Window, weights, zero_states
from bpttref.arrays import Array
from bpttref.oracles import contributions
from bpttref.oracles.contributions import flatten

_CLOSE = 1e-4  # entries are ratios of gradients in float64


@dataclass(frozen=True)
class Xray:
    """inputs, parameters: ``(T, T)``, the matrix seen through dx and through the parameters' gradients, NaN where
    nothing can be seen; parameters is None for an unknown cell. declared: what was asked for. leak: the largest part
    of a dx, relative to full BPTT, that is no multiple of it. uncut: which part of the state explains it."""

    inputs: Array
    parameters: Array | None
    declared: Array
    leak: float = 0.0
    uncut: str = ""

    def in_words(self, asked: Strategy) -> str:
        """What the matrix that is seen through the inputs is."""
        if self.leak > _CLOSE:
            return f"no weighting of full BPTT: {self.uncut or 'a part of the state is cut and another is not'}"
        return in_words(self.inputs, asked)


def xray(subject: Implementation, cell: Cell | CustomCell, strategy: Strategy, length: int) -> Xray:
    """X-ray a subject in float64, on a sequence of ``length`` steps.

    Raises ValueError if the subject does not offer what that takes.
    """
    require(subject, "be X-rayed", inputs=("dense",), outputs=("y",), gradients=("x",), truncation=type(strategy))
    capabilities = capabilities_of(subject)
    draw = Draw(length, 1, 3, 4, 1, False, False, False, False, 0.5, seed=0)
    case, cotangents = realise(draw, cell, "float64", capabilities)
    trial = Trial(subject, capabilities, case, cotangents)
    _, full = trial.run(case)
    _, truncated = trial.run(replace(case, truncation=strategy))
    inputs, rows, leak = np.full((length, length), np.nan), [], 0.0
    for t in range(length):
        one = only_y(cotangents, slice(t, t + 1))
        whole, part = trial.pull(full, one), trial.pull(truncated, one)
        for s in range(t + 1):
            x, y = whole["x"][s].ravel(), part["x"][s].ravel()
            if np.linalg.norm(x) > 1e-9 * np.linalg.norm(whole["x"]):
                inputs[t, s] = x @ y / (x @ x)
                leak = max(leak, float(np.linalg.norm(y - inputs[t, s] * x) / np.linalg.norm(x)))
        rows.append(part)
    parameters = (
        None
        if isinstance(cell, CustomCell) or "parameters" not in capabilities.gradients
        else _by_parameters(case, cotangents, rows)
    )
    uncut = _uncut(replace(case, truncation=strategy), cotangents, rows) if leak > _CLOSE else ""
    return Xray(inputs, parameters, weights(strategy, length)[:, 1:], leak, uncut)


def _uncut(case: Case, cotangents: Cotangents, rows: list[Named]) -> str:
    """Which state crosses the cuts, if that alone gives the subject's numbers."""
    explanations = {
        "the cell state is not cut": cell_state_not_cut,
        "the hidden state is not cut": hidden_state_not_cut,
    }
    if case.cell != LSTM():
        return ""
    for words, boundary in explanations.items():
        _, pullback = in_segments(boundary)()(case)
        pulled = [pullback(only_y(cotangents, slice(t, t + 1))).x for t in range(len(rows))]
        if all(x is not None and np.allclose(x, row["x"], _CLOSE, 1e-12) for x, row in zip(pulled, rows, strict=True)):
            return words
    return ""


def _by_parameters(case: Case, cotangents: Cotangents, rows: list[Named]) -> Array:
    assert not isinstance(case.cell, CustomCell) and cotangents.y is not None
    p = case.parameters[0][0]
    initial = case.initial or zero_states(case.cell, case.parameters, 1)
    state = np.concatenate([initial[0][0][name][0] for name in case.cell.states])
    C, _ = contributions(case.cell, p, case.x[:, 0], state, cotangents.y[:, 0])
    M = np.full((len(rows), len(rows)), np.nan)
    for t, row in enumerate(rows):
        size = np.linalg.norm(C[t, : t + 1], axis=1)
        seen = size > 1e-9 * size.max()
        basis = (C[t, : t + 1][seen] / size[seen, None]).T
        solution, *_ = np.linalg.lstsq(basis, flatten({name: row[name] for name in p}), rcond=None)
        M[t, np.flatnonzero(seen)] = solution / size[seen]
    return M


def in_words(M: Array, asked: Strategy | None = None) -> str:
    """What a matrix is, in words; a window that is one longer than asked for is counted in transitions."""
    T = len(M)
    transitions = Window(asked.tau + 1) if isinstance(asked, Window) else None
    candidates: list[tuple[str, Array]] = [("full BPTT", weights(Full(), T))]
    candidates += [
        (f"blocks of {tau}: cut before steps {tau}, {2 * tau}, ..", weights(Regular(tau), T)) for tau in range(1, T)
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
    candidates += [(f"the last {k} steps alone", weights(Last(k), T)) for k in range(1, T)]
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
        if _same(M, candidate[:, 1:]):
            return words
    xi = np.diag(M, -1)
    if not np.isnan(xi).any() and _same(M, weights(Links((1.0, *xi.tolist())), T)[:, 1:]):
        return f"products of links with the multipliers {', '.join(f'{v:.3g}' for v in np.round(xi, 4) + 0.0)}"
    return "none of the known rules"


def _same(M: Array, candidate: Array) -> bool:
    seen = ~np.isnan(M) & np.tri(len(M), dtype=bool)
    return bool(np.all(np.abs(M - candidate)[seen] < _CLOSE))
