"""Closed forms for the linear RNN ``h_t = W_hx x_t + W_hh h_{t-1}`` (D2L 9.7.2, eqs. 9.7.14-16).

dL/dh_t  = sum over i >= t of (W_hh')^(i-t) dy_i
dL/dW_hx = sum over t of dL/dh_t x_t'         dL/dW_hh = sum over t of dL/dh_t h_{t-1}'
"""

import numpy as np

from bpttref.arrays import Array


def linear_gradients(W_hx: Array, W_hh: Array, x: Array, h0: Array, dy: Array) -> dict[str, Array]:
    """For ``x (T, B, D)``, ``h0 (B, H)``, ``dy (T, B, H)``: gradients "W_hx", "W_hh", "x", "h0", by powers of W_hh."""
    T = len(x)
    powers = [np.linalg.matrix_power(W_hh, k) for k in range(T + 1)]
    h = [h0 @ powers[t].T + sum((x[s] @ W_hx.T) @ powers[t - 1 - s].T for s in range(t)) for t in range(T)]  # h_{t-1}
    dh = [sum(dy[i] @ powers[i - t] for i in range(t, T)) for t in range(T)]
    return {
        "W_hx": np.asarray(sum(dh[t].T @ x[t] for t in range(T))),
        "W_hh": np.asarray(sum(dh[t].T @ h[t] for t in range(T))),
        "x": np.stack([dh[t] @ W_hx for t in range(T)]),
        "h0": dh[0] @ W_hh,
    }
