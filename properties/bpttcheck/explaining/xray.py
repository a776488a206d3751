"""The X-ray: which matrix M an implementation's truncation really applies, seen from outside.

With a cotangent at only one time t, the gradient for x_s is M[t, s] times its value in full BPTT: T calls of the
pullback show the whole matrix. The parameters' gradient from the loss at t is the sum over s of M[t, s] C[t, s]: least
squares show the matrix again, because some bugs truncate one and not the other.

Full BPTT is the contributions C of the reference's oracle, in which no pullback takes part. For an unknown cell it is
the implementation's own; an error that this has, too, cannot be seen.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from bpttcheck.cases.blocks import Named, together
from bpttcheck.cases.changes import all_states, only_y
from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.realising import realise
from bpttcheck.contract import Case, Cotangents, CustomCell, Implementation
from bpttcheck.explaining.matrix_in_words import CLOSE, grid, in_words, said_of, same
from bpttcheck.faults.boundaries import cell_state_not_cut, hidden_state_not_cut, in_segments
from bpttcheck.faults.planting import RIGHT
from bpttcheck.laws import LAWS
from bpttcheck.measuring.calls import capabilities_of
from bpttcheck.measuring.requiring import require
from bpttcheck.measuring.trial import Trial
from bpttref import LSTM, Blocks, Cell, Full, Last, Links, Random, Regular, Strategy, Window, weights, zero_states
from bpttref.arrays import Array
from bpttref.oracles import contributions
from bpttref.oracles.contributions import flatten

RULES: tuple[Strategy, ...] = (Regular(3), Window(3), Blocks(2, 3), Last(3))  # that are tried after a failure
_STEPS = 6
_COLUMNS = 70  # of triangles side by side
_VANISHED = 1e-9  # of the largest contribution: there rounding is as large


@dataclass(frozen=True)
class Seen:
    """The matrices that gradients show.

    inputs, parameters: ``(T, T)``, the matrix seen through dx and through the parameters' gradients, NaN where no entry
    can be seen; parameters is None for an unknown cell. leak, parameters_leak: the largest part of a gradient, relative
    to full BPTT, that is no weighting of its contributions.
    """

    inputs: Array
    parameters: Array | None
    leak: float = 0.0
    parameters_leak: float = 0.0

    def shows(self, M: Array) -> bool:
        """Whether both matrices equal M."""
        seen = [self.inputs] if self.parameters is None else [self.inputs, self.parameters]
        return max(self.leak, self.parameters_leak) <= CLOSE and all(same(matrix, M) for matrix in seen)


@dataclass(frozen=True)
class Xray(Seen):
    """The matrices, and the requested truncation. declared: its matrix; for `Random`, of the drawn pattern. uncut:
    which part of the state explains the leak. full: the X-ray of the implementation's full BPTT, if it is incorrect
    already. states: how many the cell has."""

    declared: Array = field(default_factory=lambda: np.zeros((0, 0)))
    uncut: str = ""
    full: Seen | None = None
    states: int = 1

    @property
    def as_declared(self) -> bool:
        """Whether the truncation is the requested one, and full BPTT correct."""
        return self.full is None and self.shows(self.declared)

    def in_words(self, asked: Strategy) -> str:
        """The matrix that the inputs show, in words."""
        partly = "a part of the state is cut and another is not" if self.states > 1 and not self.full else ""
        return said_of(self.inputs, self.leak, asked, self.uncut or partly)

    def parameters_in_words(self, asked: Strategy) -> str:
        """The matrix that the parameters show, in words; nothing if they show none."""
        return "" if self.parameters is None else said_of(self.parameters, self.parameters_leak, asked, "")

    def triangles(self, asked: Strategy, columns: int = _COLUMNS) -> str:
        """The declared matrix next to the seen ones, as numbers and in words; below it, if that is too wide."""
        seen = {"declared": (self.declared, in_words(self.declared)),
                "seen through x": (self.inputs, self.in_words(asked))}  # fmt: skip
        if self.parameters is not None:
            seen["seen through parameters"] = (self.parameters, self.parameters_in_words(asked))
        words = [f"{title}: {said}" for title, (_, said) in seen.items()]
        grids = [[title, *grid(M)] for title, (M, _) in seen.items()]
        wide = [max(map(len, lines)) for lines in grids]
        beside = sum(wide) + 3 * (len(wide) - 1) <= columns
        rows = zip(*([line.ljust(w) for line in lines] for lines, w in zip(grids, wide, strict=True)), strict=True)
        return "\n".join([*words, *(["   ".join(row).rstrip() for row in rows] if beside else sum(grids, []))])

    def full_in_words(self) -> str:
        """A sentence about the implementation's full BPTT if it is incorrect; else empty."""
        if self.full is None:
            return ""
        seen = {"inputs": said_of(self.full.inputs, self.full.leak, None, "")}
        if self.full.parameters is not None:
            seen["parameters"] = said_of(self.full.parameters, self.full.parameters_leak, None, "")
        return "full BPTT, with no truncation, is incorrect already: " + ", ".join(
            f"through {what} {words}" for what, words in seen.items()
        )


def xray(subject: Implementation, cell: Cell | CustomCell, strategy: Strategy, length: int) -> Xray:
    """X-ray an implementation in float64, on a sequence of ``length`` steps.

    Raises ValueError if the implementation does not support it.
    """
    require(subject, "be X-rayed", inputs=("dense",), outputs=("y",), gradients=("x",), truncation=type(strategy))
    capabilities = capabilities_of(subject)
    draw = Draw(length, 1, 3, 4, 1, False, False, False, False, 0.5, seed=0)
    case, cotangents = realise(draw, cell, "float64", capabilities)
    trial = Trial(subject, capabilities, case, cotangents)
    ones = [only_y(cotangents, slice(t, t + 1)) for t in range(length)]
    pullbacks = [trial.run(put)[1] for put in (case, replace(case, truncation=strategy))]
    whole, rows = ([trial.pull(pullback, one) for one in ones] for pullback in pullbacks)
    known = None if isinstance(cell, CustomCell) else _contributions(case, cotangents)
    right = [together(row) for row in whole] if known is None else _contributions_to_inputs(case, known)
    if "parameters" not in capabilities.gradients:
        known = None
    least = _least(whole, right)
    seen = _seen(case, rows, right, known, least)
    full = None if isinstance(cell, CustomCell) else _seen(case, whole, right, known, least)
    if full is not None and full.shows(weights(Full(), length)[:, 1:]):
        full = None
    uncut = _uncut(replace(case, truncation=strategy), cotangents, rows) if seen.leak > CLOSE else ""
    states = len(case.initial[0][0]) if case.initial else 1
    declared = _own_pattern(strategy, seen.inputs) if isinstance(strategy, Random) else weights(strategy, length)
    return Xray(**vars(seen), declared=declared[:, 1:], uncut=uncut, full=full, states=states)


def _own_pattern(strategy: Random, M: Array) -> Array:
    """The triangle of the pattern that an implementation drew, if each of its links was cut or multiplied by 1/pi;
    else the triangle of the reference's own pattern."""
    T = len(M)
    pi = np.broadcast_to(strategy.pi, T)[1:]
    kept = 1 / pi if strategy.reweighted else np.ones(T - 1)
    xi = np.where(np.abs(np.diag(M, -1) - kept) < CLOSE, kept, 0.0)
    drawn = np.all(np.abs(np.diag(M, -1) - xi) < CLOSE)
    return weights(Links((1.0, *xi.tolist())) if drawn else strategy, T)


def _least(whole: list[Named], right: list[Array]) -> float:
    """The part of the largest contribution below which rounding may be as large as a contribution.

    Some float64 is computed partly in single precision. That shows at lag 0, too, where no truncation ever cuts.
    """
    pairs = enumerate(zip(map(together, whole), right, strict=True))
    rows = [(own[t], x[t], float(np.abs(x).max())) for t, (own, x) in pairs]
    coarse = max(float(np.abs(own - x).max()) / largest for own, x, largest in rows if largest)
    return max(_VANISHED, 16 * coarse / CLOSE) if coarse < 1e-6 else _VANISHED


def _seen(case: Case, rows: list[Named], right: list[Array], known: Array | None, least: float) -> Seen:
    """The matrices that gradients show, a row for each loss. right: for each loss the dx ``(T, 1, D)`` of full BPTT.
    known: the contributions C to the parameters; None to leave these out. least: the part of the largest that can be
    seen."""
    inputs, leak = _by_inputs(rows, right, least)
    if known is None:
        return Seen(inputs, None, leak)
    parameters, parameters_leak = _by_parameters(case, rows, known, least)
    return Seen(inputs, parameters, leak, parameters_leak)


def _by_inputs(rows: list[Named], right: list[Array], least: float) -> tuple[Array, float]:
    """The matrix and the leak."""
    M, leak = np.full((len(rows), len(rows)), np.nan), 0.0
    for t, row in enumerate(rows):
        largest, got = max(np.linalg.norm(x) for x in right[t]), together(row)
        for s in range(t + 1):
            x, y = right[t][s].ravel(), got[s].ravel()
            if np.linalg.norm(x) > least * largest:
                M[t, s] = x @ y / (x @ x)
                leak = max(leak, float(np.linalg.norm(y - M[t, s] * x) / np.linalg.norm(x)))
    return M, leak


def _contributions(case: Case, cotangents: Cotangents) -> Array:
    """The contributions ``C (T, T, P)`` to the parameters."""
    assert not isinstance(case.cell, CustomCell) and cotangents.y is not None
    initial = all_states(case, case.initial) or zero_states(case.cell, case.parameters, 1)
    state = np.concatenate([initial[0][0][name][0] for name in case.cell.states])
    C, _ = contributions(case.cell, case.parameters[0][0], case.x[:, 0], state, cotangents.y[:, 0])
    return C


def _contributions_to_inputs(case: Case, C: Array) -> list[Array]:
    """For each loss the contributions ``(T, 1, D)`` to x. It enters as a = W_hx x, so that those to W_hx at step s are
    da x', from which da and W_hx' da follow."""
    p, used = case.parameters[0][0], 0
    for name, array in p.items():
        if name == "W_hx":
            break
        used += array.size
    W = p["W_hx"]
    to_W = C[:, :, used : used + W.size].reshape(*C.shape[:2], *W.shape)
    x = case.x[:, 0]
    da = np.einsum("tsgd,sd->tsg", to_W, x / np.sum(x * x, axis=1, keepdims=True))
    return list((da @ W)[:, :, None])


def _uncut(case: Case, cotangents: Cotangents, rows: list[Named]) -> str:
    """The state that crosses the cuts, if this on its own explains the implementation's numbers."""
    explanations = {
        "the cell state is not cut": cell_state_not_cut,
        "the hidden state is not cut": hidden_state_not_cut,
    }
    if case.cell != LSTM():
        return ""
    for words, boundary in explanations.items():
        _, pullback = in_segments(boundary, "c", RIGHT)(case)
        pulled = [pullback(only_y(cotangents, slice(t, t + 1))).x for t in range(len(rows))]
        if all(x is not None and np.allclose(x, row["x"], CLOSE, 1e-12) for x, row in zip(pulled, rows, strict=True)):
            return words
    return ""


def _by_parameters(case: Case, rows: list[Named], C: Array, least: float) -> tuple[Array, float]:
    """The matrix by least squares, except where they would amplify rounding too much, and the largest part of a
    gradient that they leave."""
    M, leak = np.full((len(rows), len(rows)), np.nan), 0.0
    for t, row in enumerate(rows):
        size = np.linalg.norm(C[t, : t + 1], axis=1)
        there = np.flatnonzero(size > _VANISHED * size.max())
        basis = (C[t, there] / size[there, None]).T
        gradient = flatten({name: row[name] for name in case.parameters[0][0]})
        inverse = np.linalg.pinv(basis)
        solution = inverse @ gradient
        seen = size[there] > least * size.max() * np.linalg.norm(inverse, axis=1)
        M[t, there[seen]] = (solution / size[there])[seen]
        leak = max(leak, float(np.linalg.norm(gradient - basis @ solution) / size.max()))
    return M, leak


def xray_of_a_rule(
    subject: Implementation, cell: Cell | CustomCell, laws: Sequence[str]
) -> tuple[Xray | None, Strategy]:
    """An X-ray of an incorrect truncation where full BPTT is correct, and that truncation; None if there is none.

    laws: the broken ones. If they name kinds of truncation only these kinds are tried, else all.
    """
    words = {word for law in laws if _is_of_truncation(law) for word in law.split("-")}
    named = [rule for rule in RULES if type(rule).__name__.lower() in words]
    for rule in named or RULES if words else ():
        with suppress(Exception):  # results may be anything
            seen = xray(subject, cell, rule, _STEPS)
            if seen.full is None and not seen.as_declared:
                return seen, rule
    return None, RULES[0]


def _is_of_truncation(law_id: str) -> bool:
    return any(law.id == law_id and law.family in ("truncation", "xray") for law in LAWS)
