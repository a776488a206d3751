"""Before a subject is accused the reference is tried: complex step and differences vote on its gradients."""

from typing import Any

import numpy as np

from bpttcheck.contract import Case, Cotangents, CustomCell
from bpttcheck.tolerance import FACTOR, measure
from bpttref import Full
from bpttref.inputs import is_tokens
from bpttref.oracles import Problem, complex_step, differences


def reference_is_confirmed(case: Case, cotangents: Cotangents) -> bool:
    """Whether the reference's gradients at this case stand; they fall if both oracles contradict a number.

    They run on stacks of one direction without lengths, truncation or tokens; elsewhere there is nothing to say, and
    the answer is True.
    """
    if (
        isinstance(case.cell, CustomCell)
        or any(len(directions) > 1 for directions in case.parameters)
        or case.lengths is not None
        or case.initial is None
        or case.truncation != Full()
        or is_tokens(case.x)
    ):
        return True

    def exact(tree: Any) -> Any:
        return tree and tuple(
            tuple({k: a.astype(np.float64) for k, a in leaf.items()} for leaf in layer) for layer in tree
        )

    (measured,) = measure(case, cotangents)
    dy = None if cotangents.y is None else cotangents.y.astype(np.float64)
    problem = Problem(
        case.cell,
        exact(case.parameters),
        case.x.astype(np.float64),
        exact(case.initial),
        Cotangents(dy, exact(cotangents.final)),
    )
    by_differences = differences(problem)
    for path, gradient in complex_step(problem).items():
        kind, layer, name = path if len(path) == 3 else ("", 0, "x")
        full_name = f"layer{layer}." * (layer > 0) + "initial." * (kind == "initial") + name
        value, error = by_differences[path]
        true = measured.values[full_name]
        scale = FACTOR * measured.spread[full_name] + 1e-12 * np.abs(true).max(initial=0) + 1e-300
        off = np.abs(true - gradient) > scale
        if np.any(off & (np.abs(true - value) > scale + 16 * error)):
            return False
    return True
