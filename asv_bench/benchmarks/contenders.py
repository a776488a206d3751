"""The gradient of one problem by others: its bare matrix products, and libraries that differentiate for themselves.

Each maker takes a `Problem` and returns a function that runs it and returns the gradients of the inputs and the
parameters by name. A library that is absent raises ImportError.
"""

from typing import Any

import numpy as np

from .common import Problem, Run, gradient


def reference(problem: Problem) -> Run:
    """The reference, full BPTT."""
    run = gradient("full", problem, 1)

    def named() -> dict[str, Any]:
        _, found = run()
        return {"x": found.x, **found.parameters[0][0]}

    return named


def products(problem: Problem) -> Run:
    """The matrix products of forward and backward and nothing else; tokens are looked up, so none for them."""
    W_hx, W_hh = problem.parameters["W_hx"], problem.parameters["W_hh"]
    T, B, H = problem.dy.shape
    rng, dtype = np.random.default_rng(0), problem.dy.dtype
    a, before = (rng.standard_normal((T * B, k)).astype(dtype) for k in (len(W_hh), H))
    h, da, W_hh_t = before[:B].copy(), a[:B].copy(), W_hh.T.copy()
    x = None if problem.x.ndim == 2 else problem.x.reshape(T * B, -1)

    def run() -> object:
        for _ in range(T):
            h @ W_hh_t
            da @ W_hh
        return a.T @ before if x is None else (x @ W_hx.T, a @ W_hx, a.T @ x, a.T @ before)

    return run


def pytorch(problem: Problem) -> Run:
    """``torch.nn``; tokens are one-hot vectors without a gradient."""
    import torch

    torch.set_num_threads(1)
    T, B, H = problem.dy.shape
    D, dy = problem.parameters["W_hx"].shape[-1], torch.from_numpy(problem.dy)
    module = {"rnn-tanh": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru-after": torch.nn.GRU}[problem.cell.name]
    layer = module(D, H, dtype=dy.dtype)
    wanted = dict(zip(("W_hx", "W_hh", "b_hx", "b_hh"), layer.parameters(), strict=True))
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(torch.from_numpy(problem.parameters[name]))
    x = torch.from_numpy(problem.x)
    if x.ndim == 2:
        x = torch.nn.functional.one_hot(x, D).to(dy.dtype)
    else:
        wanted = {"x": x.requires_grad_(), **wanted}
    states = tuple(torch.zeros(1, B, H, dtype=dy.dtype, requires_grad=True) for _ in problem.cell.states)

    def run() -> dict[str, Any]:
        y, _ = layer(x, states if len(states) > 1 else states[0])
        found = torch.autograd.grad(y, [*wanted.values(), *states], dy)
        return dict(zip(wanted, found, strict=False))

    return run


def jax_scan(problem: Problem) -> Run:
    """``jax.grad`` of an LSTM under ``lax.scan``, compiled."""
    import jax

    jax.config.update("jax_enable_x64", True)

    def loss(arrays: dict[str, Any]) -> Any:
        a = arrays["x"] @ arrays["W_hx"].T + arrays["b_hx"] + arrays["b_hh"]
        zeros = jax.numpy.zeros(problem.dy.shape[1:])
        _, y = jax.lax.scan(lambda s, a_t: _lstm(jax.numpy, arrays["W_hh"], s, a_t), (zeros, zeros), a)
        return (y * problem.dy).sum()

    compiled = jax.jit(jax.grad(loss))
    arrays = {"x": jax.numpy.asarray(problem.x), **{k: jax.numpy.asarray(p) for k, p in problem.parameters.items()}}
    return lambda: jax.block_until_ready(compiled(arrays))


def autograd_loop(problem: Problem) -> Run:
    """HIPS ``autograd`` of an LSTM in a loop."""
    import autograd
    import autograd.numpy as anp

    def loss(arrays: dict[str, Any]) -> Any:
        a = anp.dot(arrays["x"], arrays["W_hx"].T) + arrays["b_hx"] + arrays["b_hh"]
        state, total = (np.zeros(problem.dy.shape[1:]),) * 2, 0.0
        for a_t, dy_t in zip(a, problem.dy, strict=True):
            state, h = _lstm(anp, arrays["W_hh"], state, a_t)
            total = total + anp.sum(h * dy_t)
        return total

    slope = autograd.grad(loss)
    return lambda: slope({"x": problem.x, **problem.parameters})


def _lstm(numpy: Any, W_hh: Any, state: tuple[Any, Any], a: Any) -> tuple[tuple[Any, Any], Any]:
    """One step in the library's own ``numpy``, from the input's share ``a (B, 4*H)`` of the pre-activations."""
    h, c = state
    i, f, g, o = numpy.split(a + numpy.dot(h, W_hh.T), 4, axis=-1)
    i, f, o = ((1 + numpy.tanh(gate / 2)) / 2 for gate in (i, f, o))
    c = f * c + i * numpy.tanh(g)
    h = o * numpy.tanh(c)
    return (h, c), h
