"""How much does it cost to verify one case? By bpttcheck, of the reference and of PyTorch; and by gradcheck.

A pass is one call of the implementation, forward or backward. bpttcheck runs all its laws on an LSTM in float64 with a
fixed seed, so the counts are the same on every run. gradcheck checks the reference on one case; in full it needs two
forward passes for each number that goes in, and is left out at real sizes. A library that is not installed is skipped.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

from bpttref import Cotangents, vjp

from . import allocations, counting
from .common import CELLS, Benchmark, best_times, drawn

SIZES = {"small": {"T": 5, "B": 2, "D": 3, "H": 4}, "real": {"T": 4, "B": 8, "D": 64, "H": 256}}
CASES = {"small": 4, "real": 1}
CHECKERS = ("bpttcheck of bpttref", "bpttcheck of torch", "gradcheck", "gradcheck, fast")


class Cost(NamedTuple):
    """The cost of one case; NaN where it is not measured."""

    seconds: float = math.nan
    passes: float = math.nan  # of the implementation
    reference: float = math.nan  # passes of the reference, those that measure tolerances included
    bytes: float = math.nan
    instructions: float = math.nan


class Counted:
    """An implementation that counts its passes. With the size "real" it takes only these sizes."""

    def __init__(self, subject: Any, size: str, found: Counter[str]) -> None:
        self._subject, self._found, self.name = subject, found, subject.name
        self._declared = subject.capabilities()
        if size == "real":
            self._declared = replace(self._declared, sizes={name: (n,) for name, n in SIZES[size].items()})
        for name in ("jvp", "loss_and_gradients"):
            if hasattr(subject, name):
                setattr(self, name, self._counting(getattr(subject, name)))

    def capabilities(self) -> Any:
        return self._declared

    def vjp(self, case: Any) -> tuple[Any, Any]:
        outputs, pullback = self._counting(self._subject.vjp)(case)
        return outputs, self._counting(pullback)

    def _counting(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            self._found["passes"] += 1
            return call(*arguments)

        return counted


def of_bpttcheck(subject: Any, size: str) -> Cost:
    """All laws on an implementation."""
    from bpttcheck import LAWS, judge

    found: Counter[str] = Counter()
    chosen = {"cells": ["lstm"], "dtypes": ["float64"], "examples": CASES[size], "seed": 1}

    def run() -> None:
        results = list(judge(Counted(subject, size, found), LAWS, **chosen))
        if bad := [result.law for result in results if result.status in ("failed", "error", "unsure")]:
            raise AssertionError(f"{subject.name} does not pass {bad}")

    [seconds] = best_times([run], 0)
    found.clear()
    of_interest = {vjp.__code__: "reference"}
    with allocations.allocations(found), counting.traced(found, ["bpttcheck", "bpttref"], of_interest):
        run()
    names = ("passes", "reference", "bytes", "instructions")
    return Cost(*(number / CASES[size] for number in (seconds, *(found[name] for name in names))))


def of_gradcheck(size: str, fast: bool) -> Cost:
    """``torch.autograd.gradcheck`` on the reference, for inputs and parameters."""
    import torch

    problem, found = drawn(CELLS["lstm"], **SIZES[size]), Counter[str]()

    class Reference(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: Any, *parameters: Any) -> Any:
            found["passes"] += 1
            arrays = {name: array.detach().numpy() for name, array in zip(problem.parameters, parameters, strict=True)}
            outputs, context.pullback = vjp(problem.cell, ((arrays,),), x.detach().numpy())
            return torch.tensor(outputs.y)

        @staticmethod
        def backward(context: Any, dy: Any) -> Any:
            found["passes"] += 1
            gradients = context.pullback(Cotangents(dy.numpy()))
            return torch.tensor(gradients.x), *map(torch.tensor, gradients.parameters[0][0].values())

    arguments = [torch.tensor(a, requires_grad=True) for a in (problem.x, *problem.parameters.values())]
    [seconds] = best_times([lambda: torch.autograd.gradcheck(Reference.apply, arguments, fast_mode=fast)], 0)
    return Cost(seconds, found["passes"])


def cost(checker: str, size: str) -> Cost:
    """The cost of one case by a checker of `CHECKERS`. Raises ImportError where a library is absent."""
    if checker == "bpttcheck of bpttref":
        from bpttcheck.adapters.reference import Reference

        return of_bpttcheck(Reference(), size)
    if checker == "bpttcheck of torch":
        from bpttcheck.adapters.torch import TorchLayers

        return of_bpttcheck(TorchLayers(), size)
    return Cost() if (checker, size) == ("gradcheck", "real") else of_gradcheck(size, checker == "gradcheck, fast")


def cost_if_installed(checker: str, size: str) -> Cost:
    """The same; only NaN where a library is absent."""
    try:
        return cost(checker, size)
    except ImportError:
        return Cost()


Where: TypeAlias = tuple[str, str]  # checker, size


class Verify(Benchmark):
    """The cost of one case of an LSTM."""

    helpers = (allocations, counting)
    params = (list(CHECKERS), list(SIZES))
    param_names = ("checker", "size")

    def setup_cache(self) -> dict[Where, Cost]:
        checkers, sizes = self.params
        return {(checker, size): cost_if_installed(checker, size) for checker in checkers for size in sizes}

    setup_cache.timeout = 900  # seconds on a busy machine; a minute at most on an idle one

    def track_seconds(self, costs: dict[Where, Cost], *where: str) -> float:
        """CPU time of one case: its inverse is cases a second."""
        return costs[where].seconds

    track_seconds.unit = "seconds a case"

    def track_passes(self, costs: dict[Where, Cost], *where: str) -> float:
        """Passes of the implementation, counted by one that wraps it."""
        return costs[where].passes

    track_passes.unit = "a case"

    def track_reference_passes(self, costs: dict[Where, Cost], *where: str) -> float:
        """Forward passes of the reference, also those that measure tolerances, counted by a trace hook."""
        return costs[where].reference

    track_reference_passes.unit = "a case"

    def track_bytes(self, costs: dict[Where, Cost], *where: str) -> float:
        """Bytes of the arrays allocated, in total and not at the peak, counted by NumPy's allocator."""
        return costs[where].bytes

    track_bytes.unit = "bytes a case"

    def track_instructions(self, costs: dict[Where, Cost], *where: str) -> float:
        """Instructions of Python's bytecode in the code of bpttcheck and bpttref, counted by a trace hook."""
        return costs[where].instructions

    track_instructions.unit = "a case"
