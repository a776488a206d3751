"""The same pullback from O(sqrt T) states: keep the states between pieces, run each piece again when it is needed.

With pieces of about sqrt(T) steps the memory is sqrt(T) states and one piece's tape, for one more forward
pass (Chen et al., 2016, "Training deep nets with sublinear memory cost", with one level of checkpoints).
"""

import math

import numpy as np

from bpttref import trees
from bpttref.arrays import Array
from bpttref.cells import Cell
from bpttref.checking import check_links, check_resets
from bpttref.network import (
    AllParameters,
    Cotangents,
    Gradients,
    Outputs,
    Pullback,
    ResetTo,
    States,
    StrategyPullback,
    carried,
    unroll,
)
from bpttref.strategies import Full, Links, LinkStrategy


def checkpointed_vjp(
    cell: Cell,
    parameters: AllParameters,
    x: Array,
    initial: States,
    *,
    lengths: Array | None = None,
    strategy: LinkStrategy = Full(),
    piece: int | None = None,
    resets: Array | None = None,
    reset_to: ResetTo = "zeros",
) -> tuple[Outputs, Pullback]:
    """As `vjp`, with the memory of O(sqrt T) states: the pullback runs each piece again (Chen et al., 2016).

    Parameters
    ----------
    cell, parameters, x, initial, lengths, resets, reset_to
        As `vjp` takes them, for a stack of one direction.
    strategy : Strategy
        One that cuts links: `Full`, `Regular`, `Random` or `Links`.
    piece : int, optional
        Steps between checkpoints; about sqrt(T) if left out.

    Returns
    -------
    outputs : Outputs
        y and the final states.
    pullback : callable
        From `Cotangents` to `Gradients`.

    Raises
    ------
    ValueError
        For two directions, for a strategy that does not cut links, and where `vjp` raises it.

    Examples
    --------
    >>> import numpy as np
    >>> from bpttref import RNN, zero_states
    >>> cell, layer = RNN("identity"), {"W_hx": np.ones((1, 1)), "W_hh": np.full((1, 1), 0.5)}
    >>> start = zero_states(cell, ((layer,),), batch=1)
    >>> _, pullback = checkpointed_vjp(cell, ((layer,),), np.ones((4, 1, 1)), start, piece=2)
    >>> pullback(Cotangents(np.ones((4, 1, 1)))).parameters[0][0]["W_hx"]
    array([[6.125]])
    """
    check_links(strategy)
    check_resets(parameters, x, resets, reset_to)
    if any(len(directions) > 1 for directions in parameters):
        raise ValueError("checkpoints follow time forwards: a network with a reverse direction cannot be checkpointed")
    T = len(x)
    size = piece or max(1, math.isqrt(T))
    starts = range(0, max(1, T), size)  # without steps one piece, of none
    xi, to = strategy.links(T), initial if reset_to == "initial" else None

    def run(start: int, state: States) -> tuple[Outputs, StrategyPullback]:
        steps = slice(start, start + size)
        inside = None if lengths is None else np.clip(lengths - start, 0, len(x[steps]))
        flags = None if resets is None else resets[steps]
        return unroll(cell, parameters, x[steps], state, inside, True, flags, to)

    y = np.empty((T, x.shape[1], parameters[-1][0]["W_hh"].shape[-1]), parameters[0][0]["W_hh"].dtype)
    checkpoints: list[States] = []
    state = initial
    for start in starts:
        checkpoints.append(state)
        outputs = run(start, state)[0]
        y[start : start + size] = outputs.y
        assert outputs.final is not None
        state = outputs.final
        del outputs  # it is a view of the tape

    def pullback(cotangents: Cotangents) -> Gradients:
        dx = None if x.ndim == 2 else np.empty_like(x)
        dparameters: AllParameters | None = None
        final, again = cotangents.final, None
        for start, checkpoint in zip(reversed(starts), reversed(checkpoints), strict=True):
            steps = slice(start, start + size)
            pull = run(start, checkpoint)[1]
            links = Links((1.0, *xi[steps][1:].tolist()))
            gradients, anew = pull(Cotangents(None if cotangents.y is None else cotangents.y[steps], final), links)
            again = trees.add(again, anew)
            del pull  # free this piece's tape before the next one is made
            if dx is not None:
                dx[steps] = gradients.x
            dparameters = trees.add(dparameters, gradients.parameters)
            final = gradients.initial
            if start > 0:
                final = carried(final, float(xi[start]), None if lengths is None else lengths <= start)
        return Gradients(dx, dparameters, final if to is None else trees.add(final, again))

    return Outputs(y, state), pullback
