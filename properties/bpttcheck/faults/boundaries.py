"""Truncation by the correct rule, with a boundary between segments that is crossed or cut wrongly."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from bpttcheck.cases.changes import of_steps
from bpttcheck.contract import Case, Cotangents, CustomCell, Gradients, Outputs, Pullback
from bpttcheck.faults.planting import Fault, Pulled, Vjp, with_case
from bpttref import GRU, LSTM, RNN, Blocks, Full, Last, Links, Random, Regular, Window, trees
from bpttref.arrays import Array


def in_segments(boundary: Callable[[str, int, Array], Array], of: str, correct: Vjp) -> Vjp:
    """Regular truncation as a loop over segments, in which ``boundary(name, layer, cotangent)`` crosses each cut.

    of: the state that a cell must have for the fault to change anything.
    """

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        there = not isinstance(case.cell, CustomCell) and of in case.cell.states
        if not there or not isinstance(case.truncation, Regular) or case.lengths is not None or case.T == 0:
            return correct(case)
        tau = case.truncation.tau
        starts = range(0, case.T, tau)
        runs, state = [], case.initial
        for start in starts:
            outputs, pull = correct(
                replace(of_steps(case, slice(start, start + tau)), initial=state, truncation=Full())
            )
            runs.append((outputs, pull))
            state = outputs.final

        def pullback(cotangents: Cotangents) -> Gradients:
            final, total, pieces = cotangents.final, None, []
            for start, (_, pull) in zip(reversed(starts), reversed(runs), strict=True):
                dy = None if cotangents.y is None else cotangents.y[start : start + tau]
                found = pull(Cotangents(dy, final))
                pieces.append(found.x)
                total = trees.add(total, found.parameters)
                final = tuple(
                    tuple({k: boundary(k, layer, a) for k, a in leaf.items()} for leaf in directions)
                    for layer, directions in enumerate(found.initial or ())
                )
            dx = None if pieces[0] is None else np.concatenate([p for p in pieces[::-1] if p is not None])
            return Gradients(dx, total, found.initial)

        y = np.concatenate([outputs.y for outputs, _ in runs if outputs.y is not None])
        return Outputs(y, state), pullback

    return faulty


def cell_state_not_cut(name: str, layer: int, cotangent: Array) -> Array:
    return cotangent if name == "c" else 0 * cotangent


def upper_layer_not_cut(name: str, layer: int, cotangent: Array) -> Array:
    return cotangent if layer > 0 else 0 * cotangent


def tail_dropped(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    if isinstance(case.truncation, Regular) and cotangents.y is not None:
        whole = case.T // case.truncation.tau * case.truncation.tau
        dy = cotangents.y.copy()
        dy[whole:] = 0
        cotangents = cotangents._replace(y=dy)
    return pullback(cotangents)


def state_not_carried(correct: Vjp) -> Vjp:
    """Every segment of a truncated run starts from the initial state."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        if not isinstance(case.truncation, Regular) or case.T == 0:
            return correct(case)
        tau = case.truncation.tau
        starts = range(0, case.T, tau)
        runs = [correct(replace(of_steps(case, slice(s, s + tau)), truncation=Full())) for s in starts]
        y = np.concatenate([outputs.y for outputs, _ in runs if outputs.y is not None])

        def pullback(cotangents: Cotangents) -> Gradients:
            total: Gradients | None = None
            pieces = []
            for s, (_, pull) in zip(starts, runs, strict=True):
                dy = None if cotangents.y is None else cotangents.y[s : s + tau]
                gradients = pull(Cotangents(dy))
                pieces.append(gradients.x)
                total = (
                    gradients
                    if total is None
                    else total._replace(
                        parameters=trees.add(total.parameters, gradients.parameters),
                        initial=trees.add(total.initial, gradients.initial),
                    )
                )
            assert total is not None
            return total._replace(x=np.concatenate([p for p in pieces if p is not None]))

        return Outputs(y, runs[-1][0].final), pullback

    return faulty


def parameters_not_truncated(kind: type, correct: Vjp) -> Vjp:
    """dx is truncated; the gradients of the parameters belong to full BPTT."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        if not isinstance(case.truncation, kind):
            return outputs, pullback
        _, full = correct(replace(case, truncation=Full()))
        return outputs, lambda c: pullback(c)._replace(parameters=full(c).parameters)

    return faulty


def gradient_of_detached_state(correct: Vjp) -> Vjp:
    """The last k steps start from a detached state, and its gradient is returned as the gradient of the initial
    state."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        start = case.T - case.truncation.k if isinstance(case.truncation, Last) else 0
        if start <= 0 or case.lengths is not None:
            return outputs, pullback
        state = correct(replace(of_steps(case, slice(start)), truncation=Full()))[0].final
        _, tail = correct(replace(of_steps(case, slice(start, None)), initial=state, truncation=Full()))

        def pulled(cotangents: Cotangents) -> Gradients:
            dy = None if cotangents.y is None else cotangents.y[start:]
            return pullback(cotangents)._replace(initial=tail(Cotangents(dy, cotangents.final)).initial)

        return outputs, pulled

    return faulty


def hidden_state_not_cut(name: str, layer: int, cotangent: Array) -> Array:
    return cotangent if name == "h" else 0 * cotangent


def cut_behind_the_end(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """A cut in a row's padding cuts the cotangent of its final state off, too."""
    if case.lengths is None or cotangents.final is None or not isinstance(case.truncation, Regular | Links):
        return pullback(cotangents)
    cuts = np.flatnonzero(case.truncation.links(case.T) == 0)
    lost = (case.lengths <= cuts.max(initial=-1))[:, None]
    final = tuple(tuple({k: np.where(lost, 0, a) for k, a in leaf.items()} for leaf in la) for la in cotangents.final)
    return pullback(Cotangents(cotangents.y, trees.each(lambda a: a.astype(case.dtype), final)))


def cut_at_chunks(case: Case) -> Case:
    plain = case.truncation == Full() and len(case.parameters[0]) == 1
    return replace(case, truncation=Regular(case.chunk)) if plain and case.chunk else case


_ROWS: tuple[tuple[Any, ...], ...] = (
    (
        "tail-chunk-dropped",
        "The last T mod tau steps get no gradient.",
        "",
        ("regular-reference", "xray-regular"),
        (RNN("tanh"), LSTM()),
        Pulled(tail_dropped),
    ),
    (
        "state-not-carried",
        "Every segment of a truncated run starts from the initial state.",
        "https://github.com/OpenNMT/OpenNMT-py/pull/1171",
        ("truncation-leaves-states",),
        (RNN("tanh"),),
        state_not_carried,
    ),
    (
        "not-detached",
        "The cell state crosses the cut with its gradient; only h is detached.",
        "https://github.com/Lightning-AI/pytorch-lightning/pull/8145",
        ("tau-one-has-no-temporal-term", "xray-regular", "regular-reference"),
        (LSTM(),),
        partial(in_segments, cell_state_not_cut, "c"),
    ),
    (
        "layer-not-detached",
        "In a stack, only the states of the first layer are cut.",
        "https://github.com/NeuroTorch/NeuroTorch/pull/137",
        ("xray-regular", "regular-reference"),
        (RNN("tanh"), GRU("after")),
        partial(in_segments, upper_layer_not_cut, "h"),
    ),
    (
        "hidden-state-not-detached",
        "The hidden state crosses the cut with its gradient; only the cell state is detached.",
        "https://github.com/pytorch/pytorch/issues/2198",
        ("xray-regular", "regular-reference"),
        (LSTM(),),
        partial(in_segments, hidden_state_not_cut, "c"),
    ),
    *(
        (
            f"parameters-not-truncated-{kind.__name__.lower()}",
            f"Under {kind.__name__.lower()} truncation dx is truncated and the parameters' gradients are not.",
            "https://github.com/Theano/Theano/issues/4652",
            (f"{kind.__name__.lower()}-reference", "pieces-alone"),
            (RNN("tanh"),),
            partial(parameters_not_truncated, kind),
        )
        for kind in (Regular, Window, Blocks, Last, Links)
    ),
    (
        "parameters-not-truncated-random",
        "Under random truncation dx is truncated and the parameters' gradients are not.",
        "https://github.com/Theano/Theano/issues/4652",
        ("random-pattern",),
        (RNN("tanh"), LSTM()),
        partial(parameters_not_truncated, Random),
    ),
    (
        "gradient-of-detached-state",
        "The gradient of the state from which the last k steps start is returned as the gradient of the initial state.",
        "",
        ("last-reference", "pieces-alone"),
        (RNN("tanh"), LSTM()),
        gradient_of_detached_state,
    ),
    (
        "cut-behind-the-end",
        "A cut in a row's padding cuts off the cotangent of its final state.",
        "",
        ("regular-reference",),
        (RNN("tanh"),),
        Pulled(cut_behind_the_end),
    ),
    (
        "gradient-cut-at-chunks",
        "A sequence is computed chunk by chunk, and no gradient crosses from one to the one before.",
        "",
        ("pullback-reference", "own-forward-derivative", "chunk-size-does-not-matter"),
        (RNN("tanh"),),
        partial(with_case, cut_at_chunks),
        "vjp",
        {"chunks": (2, 3)},
    ),
)

FAULTS = tuple(Fault(*row) for row in _ROWS)
