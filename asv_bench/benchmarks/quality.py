"""How good is the gradient of a truncated strategy? Against the full one, by window and by memory of the task.

The task is a linear network that shall become another; its recurrent matrix is a rotation times ``exp(-1/memory)``, so
an input of ``memory`` steps ago has faded to 1/e. Bias, variance and ``1 - cosine`` are relative to the norm of the
full gradient. Random truncation is estimated from `SAMPLES` patterns with fixed seeds; each estimate's standard error
stands next to it. Its true bias is 0: expect an estimate of about one standard error.
"""

from typing import Any

import numpy as np

from bpttref import RNN, Cotangents, Full, Strategy, vjp

from .common import Benchmark, Problem, best_times, floored, gradient, truncation

WINDOWS, MEMORIES, SAMPLES = (8, 32, 128), (4, 16), 100
T, B, D, H = 256, 4, 4, 16


class Regular(Benchmark):
    """Regular truncation: no variance, all bias."""

    unit = "relative"
    params = (list(WINDOWS), list(MEMORIES))
    param_names = ("window", "memory")

    def setup(self, window: int, memory: int) -> None:
        problem = _task(memory)
        self.full, self.found = _flat(problem, Full()), _flat(problem, truncation("regular", window))

    def track_bias(self, window: int, memory: int) -> float:
        """Norm of the error of the gradient."""
        return floored(np.linalg.norm(self.found - self.full) / np.linalg.norm(self.full))

    def track_cosine_loss(self, window: int, memory: int) -> float:
        """1 - cosine of the angle to the full gradient."""
        return floored(_cosine_loss(self.found, self.full))


class Random(Benchmark):
    """Random truncation: no bias, all variance."""

    unit = "relative"
    params = Regular.params
    param_names = Regular.param_names

    def setup_cache(self) -> dict[Any, dict[str, float]]:
        return {(window, memory): _estimates(window, memory) for window in WINDOWS for memory in MEMORIES}

    def track_bias(self, estimates: Any, window: int, memory: int) -> float:
        """Norm of the error of the mean gradient: an estimate of 0."""
        return floored(estimates[window, memory]["bias"])

    def track_bias_error(self, estimates: Any, window: int, memory: int) -> float:
        """Standard error of the mean gradient."""
        return floored(estimates[window, memory]["bias error"])

    def track_variance(self, estimates: Any, window: int, memory: int) -> float:
        """Mean square of the error of one gradient."""
        return floored(estimates[window, memory]["variance"])

    def track_variance_error(self, estimates: Any, window: int, memory: int) -> float:
        """Standard error of the variance."""
        return floored(estimates[window, memory]["variance error"])

    def track_cosine_loss(self, estimates: Any, window: int, memory: int) -> float:
        """1 - cosine of the angle of one gradient to the full one, on average."""
        return floored(estimates[window, memory]["cosine loss"])

    def track_cosine_loss_error(self, estimates: Any, window: int, memory: int) -> float:
        """Standard error of the cosine loss."""
        return floored(estimates[window, memory]["cosine loss error"])

    def track_price(self, estimates: Any, window: int, memory: int) -> float:
        """Price of unbiasedness: variance times the CPU time of one gradient."""
        seconds = best_times([gradient("random", _task(memory), window)])[0]
        return floored(estimates[window, memory]["variance"] * seconds)

    track_price.unit = "seconds"


def _task(memory: int) -> Problem:
    rng, cell = np.random.default_rng(memory), RNN("identity")
    x = rng.standard_normal((T, B, D))
    student, teacher = (
        {
            "W_hx": rng.standard_normal((H, D)),
            "W_hh": np.exp(-1 / memory) * np.linalg.qr(rng.standard_normal((H, H)))[0],
        }
        for _ in range(2)
    )
    y, target = (vjp(cell, ((network,),), x)[0].y for network in (student, teacher))
    return Problem(cell, student, x, (y - target) / T)


def _flat(problem: Problem, strategy: Strategy) -> np.ndarray:
    """The gradient of all parameters by a strategy, as one vector."""
    _, pullback = vjp(problem.cell, ((problem.parameters,),), problem.x, strategy=strategy)
    gradients = pullback(Cotangents(problem.dy)).parameters[0][0]
    return np.concatenate([array.ravel() for array in gradients.values()])


def _cosine_loss(found: np.ndarray, full: np.ndarray) -> float:
    return 1 - found @ full / np.linalg.norm(found) / np.linalg.norm(full)


def _estimates(window: int, memory: int) -> dict[str, float]:
    problem = _task(memory)
    full = _flat(problem, Full())
    found = np.array([_flat(problem, truncation("random", window, seed)) for seed in range(SAMPLES)])
    errors = (found - full) / np.linalg.norm(full)
    squares = (errors**2).sum(axis=1)
    losses = np.array([_cosine_loss(one, full) for one in found])
    mean = errors.mean(axis=0)
    return {
        "bias": np.linalg.norm(mean),
        "bias error": np.sqrt(((errors - mean) ** 2).sum(axis=1).mean() / SAMPLES),
        "variance": squares.mean(),
        "variance error": squares.std(ddof=1) / np.sqrt(SAMPLES),
        "cosine loss": losses.mean(),
        "cosine loss error": losses.std(ddof=1) / np.sqrt(SAMPLES),
    }
