"""Any truncation of an implementation that supports only full BPTT: each step is a call of its own."""

from dataclasses import replace
from typing import Any

import numpy as np

from bpttcheck.cases.blocks import named, nested
from bpttcheck.cases.changes import handed_back, of_steps, resets_far
from bpttcheck.contract import Capabilities, Case, Cotangents, Gradients, Outputs, Pullback, TwoPhase
from bpttcheck.faults.planting import by_matrix
from bpttcheck.measuring.calls import Calls, Refused, capabilities_of
from bpttcheck.measuring.complex_numbers import case_in_pairs, returned
from bpttcheck.measuring.handing import plain
from bpttref import Blocks, Full, Last, Window, trees, weights
from bpttref.strategies import LinkStrategy


class InSteps:
    """An implementation, and truncations that it does not declare: it is called for one step after the other, and the
    cotangents of the states between them are multiplied. It must take initial states and return final ones."""

    def __init__(self, right: TwoPhase) -> None:
        self.name = right.name
        self._capabilities = capabilities_of(right)
        self._calls = Calls(right, self._capabilities)

    def capabilities(self) -> Capabilities:
        """The capabilities of the implementation, with the plain pullback."""
        return plain(self._capabilities)

    def vjp(self, case: Case) -> tuple[Outputs, Any]:
        """As the implementation's. Raises Refused where a truncation cannot be done in steps."""
        return self._run(case)

    def _run(self, case: Case) -> tuple[Outputs, Any]:
        case = case_in_pairs(case)
        if isinstance(case.truncation, (Full, *self._capabilities.truncations)):
            outputs, pulling = self._calls.run(case)
            return outputs, lambda cotangents: self._calls.pull(pulling, returned(case, cotangents))
        if isinstance(case.truncation, Window | Blocks | Last):
            return by_matrix((Window, Blocks, Last), weights, self._run)(case)
        return self._by_links(case, case.truncation)

    def _by_links(self, case: Case, strategy: LinkStrategy) -> tuple[Outputs, Pullback]:
        own, xi = self._capabilities, strategy.links(case.T)
        carried = "initial" in own.inputs and "initial" in own.gradients and "final" in own.outputs
        if not carried or case.lengths is not None or resets_far(case):
            raise Refused("truncation cannot be done in steps here")
        steps, state = list[Any](), case.initial
        for t in range(case.T):
            step = replace(of_steps(case, slice(t, t + 1)), initial=state, truncation=Full())
            outputs, pull = self._run(step)
            steps.append(pull)
            state = outputs.final

        def pullback(cotangents: Cotangents) -> Gradients:
            dy, final = returned(case, cotangents)
            total, pieces = None, list[Any]()
            for t, pull in reversed(list(enumerate(steps))):
                found = pull(Cotangents(None if dy is None else dy[t : t + 1], final))
                pieces.insert(0, named(Gradients(found.x, None, None)))
                total = trees.add(total, found.parameters)
                last = found.initial
                crossing = trees.scale(last, xi[t]) if xi[t] else trees.each(np.zeros_like, last)
                final = handed_back(case, crossing, state)
            x = {name: np.concatenate([piece[name] for piece in pieces]) for name in (pieces[0] if pieces else ())}
            return Gradients(nested(x) if x else None, total, final)

        return self._run(replace(case, truncation=Full()))[0], pullback
