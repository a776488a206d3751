"""An output that is not declared may hold anything; the same output is compared as soon as it is declared."""

from dataclasses import replace

import numpy as np
import pytest

from bpttref import trees

from .hand_written import HandWritten
from .judging import red, statuses

INSTEAD = {
    "nothing": lambda array: None,
    "zeros": np.zeros_like,
    "no numbers": lambda array: np.full_like(array, np.nan),
    "another shape": lambda array: array[..., None],
}


class OneOutput(HandWritten):
    """Correct, but it returns something else in place of one output."""

    def __init__(self, dtype, lost, instead, outputs):
        super().__init__(dtype)
        self.lost, self.instead, self.outputs = lost, instead, outputs

    def capabilities(self):
        return replace(super().capabilities(), outputs=self.outputs, objectives=())

    def returned(self, case, outputs):
        part = trees.each(INSTEAD[self.instead], getattr(outputs, self.lost))
        return outputs._replace(**{self.lost: None if self.instead == "nothing" else part})


@pytest.mark.parametrize("instead", INSTEAD)
@pytest.mark.parametrize(("declared", "lost"), [("y", "final"), ("final", "y")])
def test_an_output_counts_where_it_is_declared(declared, lost, instead):
    dtype = ("float32", "float64")[len(instead) % 2]
    found = statuses(OneOutput(dtype, lost, instead, (declared,)))
    assert set(found.values()) <= {"passed", "skipped", "vacuous"} and found["forward-reference"] == "passed"
    law = "outputs-complete" if instead in ("nothing", "another shape") else "forward-reference"
    assert red(OneOutput(dtype, lost, instead, ("y", "final")), law) == {law}
