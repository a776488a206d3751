"""The reference's time as a ratio: to its bare matrix products (1 is the limit), and to torch.nn where it is installed.

    python -m pip install ".[torch]" && python asv_bench/ratios.py

Forward and backward with gradients for inputs, initial states and all parameters; one thread, CPU time, the best of
many runs, all contenders by turns in one process. ``--dtype float32`` measures that.
"""

import os

for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"  # before NumPy loads its BLAS

import time
from collections.abc import Callable
from typing import TypeAlias

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from bpttref import GRU, LSTM, RNN, Cell, Cotangents, vjp

Sizes: TypeAlias = tuple[int, int, int, int]  # T, B, D, H
SIZES: tuple[Sizes, ...] = ((16, 2, 3, 4), (64, 1, 32, 32), (128, 8, 32, 64), (128, 32, 64, 256), (64, 32, 128, 512))
TOKENS: Sizes = (1024, 16, 64, 256)  # D is the size of the vocabulary


def reference(cell: Cell, sizes: Sizes, dtype: str) -> Callable[[], object]:
    """One forward and backward pass of the reference."""
    T, B, D, H = sizes
    rng, rows = np.random.default_rng(0), len(cell.gates) * H
    shapes = {"W_hx": (rows, D), "W_hh": (rows, H), "b_hx": (rows,), "b_hh": (rows,)}
    parameters = {k: (rng.standard_normal(s) / np.sqrt(H)).astype(dtype) for k, s in shapes.items()}
    x, dy = (rng.standard_normal((T, B, k)).astype(dtype) for k in (D, H))
    if sizes == TOKENS:
        x = rng.integers(0, D, (T, B))
    return lambda: vjp(cell, ((parameters,),), x)[1](Cotangents(dy))


def products(cell: Cell, sizes: Sizes, dtype: str) -> Callable[[], object]:
    """The matrix products of that pass and nothing else; none with tokens, which are looked up."""
    T, B, D, H = sizes
    rng, rows = np.random.default_rng(0), len(cell.gates) * H
    x, W_hx, a, W_hh, h = (
        rng.standard_normal(s).astype(dtype) for s in ((T * B, D), (rows, D), (T * B, rows), (rows, H), (B, H))
    )
    before, step, W_hh_t = np.tile(h, (T, 1)), np.ascontiguousarray(a[:B]), W_hh.T.copy()

    def run() -> object:
        for _ in range(T):
            h @ W_hh_t
            step @ W_hh
        return a.T @ before if sizes == TOKENS else (x @ W_hx.T, a @ W_hx, a.T @ x, a.T @ before)

    return run


def pytorch(cell: Cell, sizes: Sizes, dtype: str) -> Callable[[], object] | None:
    """The same pass by torch.nn, None without torch; tokens are one-hot vectors without a gradient."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    T, B, D, H = sizes
    layer = {"rnn": torch.nn.RNN, "lst": torch.nn.LSTM, "gru": torch.nn.GRU}[cell.name[:3]](D, H)
    layer = layer.to(getattr(torch, dtype))
    x = torch.randn(T, B, D, dtype=getattr(torch, dtype), requires_grad=True)
    h0 = [torch.zeros(1, B, H, dtype=x.dtype, requires_grad=True) for _ in cell.states]
    dy = torch.randn(T, B, H, dtype=x.dtype)
    wanted = [x, *h0, *layer.parameters()]
    if sizes == TOKENS:
        x = torch.nn.functional.one_hot(torch.randint(D, (T, B)), D).to(x.dtype)
        wanted = wanted[1:]
    return lambda: torch.autograd.grad(layer(x, tuple(h0) if len(h0) > 1 else h0[0])[0], wanted, dy)


def best_times(contenders: list[Callable[[], object] | None], seconds: float) -> list[float]:
    """The smallest CPU time of each contender, taken by turns for about ``seconds`` of wall time."""
    best = [float("inf")] * len(contenders)
    end = time.monotonic() + seconds
    while time.monotonic() < end or float("inf") in (b for b, c in zip(best, contenders, strict=True) if c):
        for k, run in enumerate(contenders):
            if run is not None:
                start = time.process_time()
                run()
                best[k] = min(best[k], time.process_time() - start)
    return best


@click.command()
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float64", show_default=True)
@click.option("--seconds", type=float, default=3.0, show_default=True, help="Time spent on each row.")
def main(dtype: str, seconds: float) -> None:
    """Print the table of ratios."""
    table = Table("cell", "T, B, D, H", "ms", "/ products", "/ torch", title=f"{dtype}, one thread")
    for cell in (RNN("tanh"), LSTM(), GRU("after")):
        for sizes in (*SIZES, TOKENS):
            runs = [make(cell, sizes, dtype) for make in (reference, products, pytorch)]
            ours, bare, torchs = best_times(runs, seconds)
            row = f"{1e3 * ours:.2f}", f"{ours / bare:.2f}", f"{ours / torchs:.2f}" if runs[2] else "not installed"
            table.add_row(cell.name, ", ".join(map(str, sizes)), *row)
    Console().print(table)


if __name__ == "__main__":
    main()
