"""The results of one implementation on a case, complete or a violation; each call is made at most once."""

from dataclasses import replace
from functools import cached_property

import numpy as np

from bpttcheck.cases.blocks import Named, case_arrays, named
from bpttcheck.contract import (
    Capabilities,
    Case,
    Cotangents,
    Gradients,
    Implementation,
    OneShot,
    Outputs,
    TwoPhase,
)
from bpttcheck.measuring.calls import Calls, Pulling
from bpttcheck.measuring.completeness import check_complete, declared, gradient_shapes, output_shapes, wanted
from bpttcheck.measuring.handing import Handed


class Answers:
    """An implementation, a case and cotangents, and the results for these and similar problems."""

    def __init__(self, subject: Implementation, capabilities: Capabilities, case: Case, cotangents: Cotangents) -> None:
        self.subject = subject
        self.capabilities = capabilities
        self.calls = Calls(subject, capabilities)
        self.case = case
        self.cotangents = cotangents

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}={size}" for name, size in self.case.sizes.items())
        return f"<{self.subject.name} on {self.case.cell.name} {self.case.dtype}: {sizes}>"

    def run(self, case: Case, *, copy: bool = True) -> tuple[Outputs, Pulling | None]:
        """The outputs for a case, and the pullback for `pull`. Raises Violation unless they are complete."""
        outputs, pullback = self.calls.run(case, copy=copy)
        shapes = output_shapes(case, self.case, self.cotangents)
        check_complete("output", self._declared(outputs), shapes, case, self.case)
        return outputs, pullback

    def pull(self, pulling: Pulling | None, cotangents: Cotangents | Handed) -> Named:
        """The gradients of a pullback by name; undeclared and unwanted ones are left out.

        Raises Violation unless they are complete.
        """
        returned = self._declared(self.calls.pull(pulling, cotangents))
        assert pulling is not None
        gradients = wanted(returned, pulling.case)
        shapes = gradient_shapes(replace(pulling.case, objective=None), self.capabilities)
        check_complete("gradient of", gradients, shapes, pulling.case, self.case)
        return gradients

    def score(self, case: Case, *, copy: bool = True) -> Named:
        """The implementation's gradients for the case's objective by name, and its value as "loss".

        Raises Violation unless they are complete.
        """
        outputs, gradients = self.calls.score(case, copy=copy)
        found = wanted(self._declared(gradients), case)
        check_complete("gradient of", found, gradient_shapes(case, self.capabilities), case, self.case)
        return found | {"loss": np.asarray(outputs.loss)}

    def _declared(self, result: Outputs | Gradients) -> Named:
        """The declared arrays of a result by name."""
        return declared(named(result), self.capabilities)

    @cached_property
    def forward(self) -> tuple[Outputs, Pulling | None]:
        return self.run(self.case)

    @cached_property
    def outputs(self) -> Named:
        return {name: np.array(array) for name, array in self._declared(self.forward[0]).items()}

    @cached_property
    def gradients(self) -> Named:
        return {name: np.array(a) for name, a in self.pull(self.forward[1], self.cotangents).items()}

    @property
    def handed(self) -> Handed:
        """The cotangents as the implementation gets them, for laws that look at the arrays themselves."""
        return self.calls.handed(self.case, self.cotangents)

    @property
    def returned(self) -> Named:
        """All that the implementation returned: outputs and, unless it is forward-only, gradients."""
        return self.outputs | self.gradients if self.capabilities.gradients else self.outputs

    @cached_property
    def scored(self) -> Named:
        """The implementation's loss and gradients for the case's objective."""
        return self.score(self.case)

    def expect(self) -> None:
        """Make the calls with which others are compared, through each interface of the implementation."""
        if isinstance(self.subject, TwoPhase):
            _ = self.returned
        if isinstance(self.subject, OneShot) and self.case.objective is not None:
            _ = self.scored

    def results(self, case: Case, cotangents: Cotangents) -> Named:
        """The implementation's outputs and gradients for another case."""
        outputs, pullback = self.run(case)
        results = self._declared(outputs)
        return results | self.pull(pullback, cotangents) if self.capabilities.gradients else results

    def gradients_of(self, case: Case, cotangents: Cotangents) -> Named:
        """The implementation's gradients for another case."""
        return self.pull(self.run(case)[1], cotangents)

    def expected(self) -> Named:
        """The arrays that the implementation must return gradients for, except for the readout."""
        return declared(case_arrays(replace(self.case, objective=None)), self.capabilities)
