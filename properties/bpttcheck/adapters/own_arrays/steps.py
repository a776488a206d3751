"""A user's single step, and its way back, as a run over a sequence: the loops over time that hand-written code has."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bpttcheck.adapters.own_arrays.arguments import Arguments
from bpttcheck.adapters.own_arrays.names import Sorted, gradients, rebuilt
from bpttref.trees import add


def unrolled(step: Callable[..., Any], step_back: Callable[..., Any], arguments: Arguments) -> Callable[..., Any]:
    """``step(p, x_t, states) -> (y_t, states, cache)``, and ``step_back(dy_t, dstates, cache)``, which returns
    gradients, as ``run(p, x, states) -> (ys, states, pullback)``."""

    def run(*given: Any) -> Any:
        *before, x, states = given
        ys, caches = [], []
        for x_t in arguments.steps(x):
            y, states, cache = step(*before, x_t, states)
            ys.append(y)
            caches.append(cache)

        def pullback(dys: Any, dstates: Any) -> Any:
            total, dx = None, []
            for dy, cache in zip(reversed(dys), reversed(caches), strict=True):
                of_step = gradients(step_back(dy, dstates, cache), arguments.trees)
                of_states, names = of_step.get("state", {}), arguments.names("state")
                if absent := [name for name in names if name not in of_states]:
                    raise ValueError(f"step_back returned no gradient of the state {', '.join(absent)}")
                dstates = rebuilt(dstates, iter(of_states[name] for name in names))
                total = add(total, {name: np.array(array) for name, array in of_step.get("p", {}).items()})
                dx.append(of_step.get("x", {}))
            by_time = {name: [of_step[name] for of_step in reversed(dx)] for name in dx[0]}
            return Sorted(p=total or {}, x=by_time, state=of_states)

        return ys, states, pullback

    return run
