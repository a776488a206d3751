"""How much work is a gradient? Exact counts, over the number of steps: the same numbers on every run.

`counting` and `allocations` say how each number is counted, and which work no counter sees.
"""

from collections import Counter
from typing import NamedTuple, TypeAlias

from bpttref import CELLS, Cell, Cotangents, Window, vjp

from . import allocations, counting
from .common import STRATEGIES, Benchmark, Problem, Run, drawn, gradient

ALL_CELLS = {cell.name: cell for cell in CELLS}
ALL_STRATEGIES = (*STRATEGIES, "window")
SIZES = {"small": (2, 3, 4), "real": (32, 64, 256)}  # B, D, H
T, WINDOW, REACH = 32, 8, 2


class Work(NamedTuple):
    """The work of the code of `bpttref` for one gradient, over the number of steps."""

    calls: float
    bytes: float
    multiply_adds: float
    instructions: float
    forward_steps: float


def _gradient(strategy: str, problem: Problem) -> Run:
    """One gradient by a strategy of `ALL_STRATEGIES`; by "window" each loss reaches back over `REACH` steps."""
    if strategy != "window":
        return gradient(strategy, problem, WINDOW)

    def run() -> object:
        _, pullback = vjp(problem.cell, ((problem.parameters,),), problem.x, strategy=Window(REACH))
        return pullback(Cotangents(problem.dy))

    return run


def work(strategy: str, cell: Cell, size: str, dtype: str = "float64") -> Work:
    """The work of one gradient after a first one, which makes the objects that are made once."""
    problem = drawn(cell, T, *SIZES[size], dtype)
    run = _gradient(strategy, problem)
    found: Counter[str] = Counter()
    run()
    with allocations.allocations(found):
        run()
    with counting.traced(found, ["bpttref"], {type(cell).step.__code__: "steps"}):
        run()
    with counting.counted_arrays(found, ["bpttref"]) as counted:
        parameters = {name: counted(array) for name, array in problem.parameters.items()}
        arrays = problem._replace(parameters=parameters, x=counted(problem.x), dy=counted(problem.dy))
        _gradient(strategy, arrays)()
    return Work(*(found[name] / T for name in ("calls", "bytes", "multiply_adds", "instructions", "steps")))


Where: TypeAlias = tuple[str, str, str]  # strategy, cell, size


class Step(Benchmark):
    """The work of a step, forward and backward; T = 32."""

    helpers = (allocations, counting)
    params = (list(ALL_STRATEGIES), list(ALL_CELLS), list(SIZES))
    param_names = ("strategy", "cell", "size")

    def setup_cache(self) -> dict[Where, Work]:
        strategies, cells, sizes = self.params
        return {(s, c, z): work(s, ALL_CELLS[c], z) for s in strategies for c in cells for z in sizes}

    setup_cache.timeout = 900  # seconds on a busy machine; a minute at most on an idle one

    def track_calls(self, counted: dict[Where, Work], *where: str) -> float:
        """Calls into NumPy by the code of bpttref, counted by an array type."""
        return counted[where].calls

    track_calls.unit = "a step"

    def track_bytes(self, counted: dict[Where, Work], *where: str) -> float:
        """Bytes of the arrays allocated, in total and not at the peak, counted by NumPy's allocator."""
        return counted[where].bytes

    track_bytes.unit = "bytes a step"

    def track_multiply_adds(self, counted: dict[Where, Work], *where: str) -> float:
        """Multiply-adds of the matrix products, from the shapes that the array type sees."""
        return counted[where].multiply_adds

    track_multiply_adds.unit = "a step"

    def track_instructions(self, counted: dict[Where, Work], *where: str) -> float:
        """Instructions of Python's bytecode in the code of bpttref, counted by a trace hook."""
        return counted[where].instructions

    track_instructions.unit = "a step"

    def track_forward_steps(self, counted: dict[Where, Work], *where: str) -> float:
        """How often each step runs forward, counted by the trace hook: 1, and 1 more where checkpoints run it again."""
        return counted[where].forward_steps

    track_forward_steps.unit = "a step"
