"""One-shot gradients of an objective over a stream of chunks, in the memory of the longest segment.

The stream is cut into pieces, at the ends of chunks and at the cuts of the strategy. Each piece is run forward, its
outputs go to the objective, and its pullback is kept until the next cut. Behind a cut no earlier step can receive a
gradient any more: the pieces up to it are pulled back, last first, and freed. So a truncated run over 10^6 steps needs
the memory of one segment, and the chunks may come from a generator or a memory-mapped file. Segments of a few rows
share a piece, because small products are slow: the recursion cuts within a piece, too.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np

from bpttref import trees
from bpttref.arrays import Array
from bpttref.cells import Cell
from bpttref.checking import check_links, check_resets
from bpttref.losses import Evaluated
from bpttref.network import (
    AllParameters,
    Cotangents,
    Gradients,
    ResetTo,
    States,
    StrategyPullback,
    carried,
    unroll,
)
from bpttref.strategies import Full, Links, LinkStrategy

_ROWS = 128  # the least that a piece should have, so that its products are not too small
ChunkObjective: TypeAlias = Callable[[Array, int], Evaluated]  # (outputs (L, B, H), their first step)


class _Piece(NamedTuple):
    start: int
    link: float  # the multiplier of the link into its first step
    links: Links  # the multipliers of the steps after it
    pullback: StrategyPullback
    dy: Array


def streamed_gradients(
    cell: Cell,
    parameters: AllParameters,
    chunks: Iterable[Array],
    objective: ChunkObjective,
    initial: States,
    strategy: LinkStrategy = Full(),
    receive_dx: Callable[[int, Array], None] | None = None,
    *,
    resets: Array | None = None,
    reset_to: ResetTo = "zeros",
) -> tuple[float, Gradients, States]:
    """The gradients of an objective over a stream of chunks, in the memory of the longest segment.

    Parameters
    ----------
    cell, parameters
        As `vjp` takes them, for a stack of one direction.
    chunks : iterable of Array
        Inputs ``(L, B, D)`` or tokens ``(L, B)``, of any lengths L, in order of time.
    objective : callable
        Called once per piece, in order, with outputs and their first step; an `Objective`, or a function like it.
    initial : tuple
        Initial states, such as `zero_states` makes.
    strategy : Strategy
        One that cuts links: `Full`, `Regular`, `Random` or `Links`.
    receive_dx : callable, optional
        Called with the first step and the gradient of the inputs of each piece.
    resets, reset_to
        As `vjp` takes them; the flags ``(T, B)`` are of all steps.

    Returns
    -------
    loss : float
        The value of the objective.
    gradients : Gradients
        ``Gradients.x`` is None.
    final : tuple
        The final states.

    Raises
    ------
    ValueError
        For a strategy that does not cut links, and where `vjp` raises it.

    Examples
    --------
    >>> import numpy as np
    >>> from bpttref import RNN, Objective, Regular, zero_states
    >>> cell, layer = RNN("identity"), {"W_hx": np.ones((1, 1)), "W_hh": np.full((1, 1), 0.5)}
    >>> start = zero_states(cell, ((layer,),), batch=1)
    >>> chunks = (np.ones((2, 1, 1)) for _ in range(3))
    >>> total = Objective("linear", np.ones((6, 1, 1)))
    >>> loss, gradients, _ = streamed_gradients(cell, ((layer,),), chunks, total, start, Regular(2))
    >>> round(loss, 3), gradients.parameters[0][0]["W_hx"]
    (np.float64(10.031), array([[7.5]]))
    """
    check_links(strategy)
    loss, readout, state, to = 0.0, None, initial, initial if reset_to == "initial" else None
    total, again = Gradients(None, None, None), None
    segment: list[_Piece] = []
    for start, x, xi in _pieces(chunks, strategy):
        if xi[0] == 0:
            total, again = _pull_segment(segment, total, again, receive_dx)
        links = Links((1.0, *xi[1:].tolist()))
        flags = None if resets is None else resets[start : start + len(x)]
        check_resets(parameters, x, flags, reset_to)
        wanted = receive_dx is not None
        outputs, pullback = unroll(cell, parameters, x, state, None, wanted, flags, to)
        assert outputs.y is not None and outputs.final is not None
        state = outputs.final
        evaluated = objective(outputs.y, start)
        loss, readout = loss + evaluated.loss, trees.add(readout, evaluated.readout)
        segment.append(_Piece(start, float(xi[0]), links, pullback, evaluated.dy))
        del outputs, pullback, evaluated  # they would keep this piece's tape until the next one is there
    total, again = _pull_segment(segment, total, again, receive_dx)
    if to is not None:
        total = total._replace(initial=trees.add(total.initial, again))
    return loss, total._replace(readout=readout), state


def _pieces(chunks: Iterable[Array], strategy: LinkStrategy) -> Iterator[tuple[int, Array, Array]]:
    """The first step, the inputs and the links of each piece, which ends at a cut or with its chunk."""
    start = 0
    for chunk in chunks:
        xi = strategy.links(start + len(chunk), start)
        left, least = 0, -(-_ROWS // max(1, chunk.shape[1]))
        for right in [*np.flatnonzero(xi == 0).tolist(), len(chunk)]:
            if right - left >= (least if right < len(chunk) else 1):
                x = chunk[left:right].copy()  # the tape keeps it: chunks may be refilled
                yield start + left, x, xi[left:right]
                left = right
        start += len(chunk)


def _pull_segment(
    segment: list[_Piece],
    total: Gradients,
    again: States | None,
    receive_dx: Callable[[int, Array], None] | None,
) -> tuple[Gradients, States | None]:
    """Pull back the pieces after the last cut, last first, and free each; add their gradients to ``total``, and the
    gradients of the states that rows are reset to, to ``again``."""
    final: States | None = None
    while segment:
        piece = segment.pop()
        gradients, anew = piece.pullback(Cotangents(piece.dy, final), piece.links)
        again = trees.add(again, anew)
        final = carried(gradients.initial, piece.link)
        if receive_dx is not None and gradients.x is not None:
            receive_dx(piece.start, gradients.x)
        initial = gradients.initial if piece.start == 0 else total.initial
        total = Gradients(None, trees.add(total.parameters, gradients.parameters), initial)
    return total, again
