"""The triangle of contributions C[t, s], and forward mode over all parameters, from the Jacobians of single steps.

    s_t = f(x_t, s_{t-1}; w)        F_t = d s_t / d s_{t-1},   U_t = d s_t / d w (its direct use at step t)

    C[t, s] = <dy_t, F_t F_{t-1} ... F_{s+1} U_s>               C[t, -1] = <dy_t, F_t ... F_0> for the initial state
    RTRL:     S_t = F_t S_{t-1} + U_t                          gradient = sum over t of <dy_t, S_t>

(D2L 9.7.4 and 9.7.7; Williams and Zipser, 1989.) The Jacobians are complex steps of one step's forward pass, so
nothing here shares a derivative with the backward pass. One layer, one row of the batch at a time.
"""

import numpy as np

from bpttref.arrays import Array
from bpttref.cells import Cell
from bpttref.network import vjp
from bpttref.unrolling import Parameters

_STEP = 2.0**-100


def flatten(parameters: Parameters) -> Array:
    """All parameters as one vector ``(P,)``, in the mapping's order."""
    return np.concatenate([parameters[name].ravel() for name in parameters])


def step_jacobians(cell: Cell, parameters: Parameters, x: Array, state: Array) -> tuple[Array, Array, Array]:
    """One step from ``x (D,)`` and ``state (S*H,)``: the next state, ``F (S*H, S*H)`` and ``U (S*H, P)``."""
    w, n = flatten(parameters), len(state)
    moved = np.concatenate([state, w]) + 1j * _STEP * np.eye(n + len(w))
    replicated, used = {}, n
    for name, array in parameters.items():
        replicated[name] = moved[:, used : used + array.size].reshape(-1, *array.shape)
        used += array.size
    states = np.split(moved[:, :n], len(cell.states), axis=1)
    initial = {name: s[:, None, :] for name, s in zip(cell.states, states, strict=True)}
    inputs = np.broadcast_to(x.astype(complex), (1, len(moved), 1, len(x)))
    outputs, _ = vjp(cell, ((replicated,),), inputs, ((initial,),))
    assert outputs.final is not None
    after = np.concatenate([outputs.final[0][0][name][:, 0] for name in cell.states], axis=-1)
    jacobian = after.imag.T / _STEP
    return after[0].real, jacobian[:, :n], jacobian[:, n:]


def contributions(cell: Cell, parameters: Parameters, x: Array, initial: Array, dy: Array) -> tuple[Array, Array]:
    """The triangle for ``x (T, D)``, ``initial (S*H,)`` and ``dy (T, H)``.

    Returns ``C (T, T, P)``, zero above the diagonal, and ``C0 (T, S*H)``, the contributions to the initial state.
    """
    T, n, H = len(x), len(initial), dy.shape[1]
    C, C0 = np.zeros((T, T, flatten(parameters).size)), np.zeros((T, n))
    steps, state = [], initial
    for x_t in x:
        state, F, U = step_jacobians(cell, parameters, x_t, state)
        steps.append((F, U))
    for t in range(T):
        cotangent = np.concatenate([dy[t], np.zeros(n - H)])
        for s in range(t, -1, -1):
            F, U = steps[s]
            C[t, s] = cotangent @ U
            cotangent = cotangent @ F
        C0[t] = cotangent
    return C, C0


def forward_mode(
    cell: Cell, parameters: Parameters, x: Array, initial: Array, dy: Array, dfinal: Array | None = None
) -> Array:
    """Real-time recurrent learning: the full gradient for the parameters ``(P,)``, without going back in time.

    dfinal: ``(S*H,)``, the cotangent of the state after the last step; zero if None.
    """
    H = dy.shape[1]
    state, sensitivity = initial, np.zeros((len(initial), flatten(parameters).size))
    gradient = np.zeros(sensitivity.shape[1])
    for x_t, dy_t in zip(x, dy, strict=True):
        state, F, U = step_jacobians(cell, parameters, x_t, state)
        sensitivity = F @ sensitivity + U
        gradient += dy_t @ sensitivity[:H]
    return gradient if dfinal is None else gradient + dfinal @ sensitivity
