"""The counters of `asv_bench/benchmarks`: each counts as described, and the numbers are the same in another process."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

ROOT = next(folder for folder in Path(__file__).parents if (folder / "tox.ini").is_file())
sys.path.append(str(ROOT / "asv_bench"))
for library in ("OPENBLAS", "OMP"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

from benchmarks.allocations import allocations  # noqa: E402
from benchmarks.counting import counted_arrays, traced  # noqa: E402
from benchmarks.work import ALL_CELLS, ALL_STRATEGIES, SIZES, work  # noqa: E402

HERE = [__name__.partition(".")[0]]


def counted(call, *arrays):
    found = Counter()
    with counted_arrays(found, HERE) as kind:
        call(*map(kind, arrays))
    return found


@pytest.mark.parametrize(
    ("call", "calls"),
    [
        (lambda a: a + a, 1),
        (lambda a: a.__iadd__(a), 1),
        (lambda a: np.add(a, a, out=a), 1),
        (lambda a: a[:2], 1),
        (lambda a: a.__setitem__(slice(2), 0), 1),
        (lambda a: a.copy(), 1),
        (lambda a: a.sum(axis=0), 1),
        (lambda a: np.concatenate([a, a]), 1),
        (lambda a: np.moveaxis(a, 0, 1), 1),
        (lambda a: np.empty(3), 1),
        (lambda a: np.empty(3) + np.zeros(3), 3),
        (lambda a: [row for row in a], 5),  # four rows, and that there is none more
        (lambda a: a.shape, 0),
    ],
)
def test_calls(call, calls):
    assert counted(call, np.ones((4, 4)))["calls"] == calls


@pytest.mark.parametrize(
    ("product", "multiply_adds"),
    [
        (lambda a, b: a @ b, 24),
        (lambda a, b: np.matmul(a, b, out=np.empty((2, 4))), 24),
        (lambda a, b: np.dot(a, b), 24),
        (lambda a, b: a.dot(b), 24),
        (lambda a, b: np.einsum("ij,jk->ik", a, b), 24),
        (lambda a, b: np.tensordot(a, b, 1), 24),
        (lambda a, b: np.ones((5, 2, 3)) @ np.empty((3, 4)), 120),
        (lambda a, b: a * a, 0),
    ],
)
def test_products(product, multiply_adds):
    assert counted(product, np.ones((2, 3)), np.ones((3, 4)))["multiply_adds"] == multiply_adds


def test_an_einsum_whose_indices_are_not_written_out_is_refused():
    with pytest.raises(NotImplementedError, match="write out its indices"):
        counted(lambda a: np.einsum("...i->...", a), np.ones((2, 3)))


@pytest.mark.parametrize(
    ("call", "size"),
    [
        (lambda a: np.empty(100), 800),
        (lambda a: np.zeros(10**6), 8 * 10**6),
        (lambda a: a + a, 800),
        (lambda a: a.copy(), 800),
        (lambda a: a[:50], 0),
        (lambda a: np.add(a, a, out=a), 0),
    ],
)
def test_bytes(call, size):
    found, array = Counter(), np.ones(100)
    with allocations(found):
        call(array)
    call(array)  # not counted any more
    assert found["bytes"] == size


def test_a_loop_of_python_costs_instructions():
    def loop(rows):
        for _ in range(rows):
            pass

    def cost(rows):
        found = Counter()
        with traced(found, HERE, {loop.__code__: "loops"}):
            loop(rows)
        return found

    assert cost(1000)["instructions"] - cost(0)["instructions"] >= 1000
    assert cost(0)["loops"] == 1


@pytest.mark.parametrize("strategy", ["full", "regular", "random", "checkpointed"])
@pytest.mark.parametrize("cell", ALL_CELLS)
def test_the_equations_predict_the_products_of_a_step(strategy, cell):
    """Forward, backward and for the gradients, each with inputs and with states; sums over rows are some more."""
    B, D, H = SIZES["real"]
    forward = B * len(ALL_CELLS[cell].gates) * H * (D + H)
    expected = 3 * forward + (strategy == "checkpointed") * forward
    if strategy in ("regular", "random"):  # which give no gradient of the inputs
        expected -= B * len(ALL_CELLS[cell].gates) * H * D
    assert 1 <= work(strategy, ALL_CELLS[cell], "real").multiply_adds / expected < 1.01


def test_forward_steps():
    steps = {strategy: work(strategy, ALL_CELLS["lstm"], "small").forward_steps for strategy in ALL_STRATEGIES}
    assert steps == dict.fromkeys(ALL_STRATEGIES, 1) | {"checkpointed": 2}


def test_the_same_numbers_in_another_process():
    def told(seed):
        command = [sys.executable, ROOT / "asv_bench/counts.py", "--size", "small"]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout

    assert told("1") == told("2")
