"""An unknown cell is compared with its own float64, where it has one and takes the case."""

from dataclasses import replace

import numpy as np
import pytest

from bpttcheck import LAWS, Capabilities, CustomCell, judge
from bpttcheck.adapters.reference import Reference
from bpttref import RNN


class Own:
    """A plain RNN as an unknown cell. by: the factor of its gradient of W_hh in float32."""

    name = "own"

    def __init__(self, by=1.0, refuses=None):
        self.by, self.refuses = by, refuses

    def capabilities(self):
        shapes = {"W_hx": "HD", "W_hh": "HH", "b_hx": "H", "b_hh": "H"}
        cell = CustomCell(
            "own",
            lambda D, H: {name: tuple({"D": D, "H": H}[size] for size in shape) for name, shape in shapes.items()},
            lambda H: {"h": (H,)},
        )
        return Capabilities(cells=(cell,), refuses=self.refuses)

    def vjp(self, case):
        outputs, pullback = Reference().vjp(replace(case, cell=RNN("tanh")))

        def pull(cotangents):
            gradients = pullback(cotangents)
            found = dict(gradients.parameters[0][0])
            if case.dtype == "float32":
                found["W_hh"] = found["W_hh"] * np.float32(self.by)
            return gradients._replace(parameters=((found,),))

        return outputs, pull


def in_float32(subject, **options):
    return {r.law: r for r in judge(subject, LAWS, dtypes=["float32"], examples=24, seed=1, shrink=False, **options)}


def test_a_ten_thousandth_is_seen_and_nothing_else():
    right, wrong = in_float32(Own()), in_float32(Own(by=1 + 1e-4))
    assert {r.status for r in right.values()} <= {"passed", "skipped", "vacuous"}
    assert right["pullback-reference"].status == "passed" and wrong["pullback-reference"].status == "failed"


@pytest.mark.parametrize(("refuses", "status"), [
    (lambda case: "one row is too few" if case.sizes["B"] == 1 else None, "passed"),
    (lambda case: "no float64 of three rows" if case.dtype == "float64" else None, "vacuous"),
])  # fmt: skip
def test_a_case_that_is_refused_is_no_error(refuses, status):
    """And a case that is refused only in float64 is measured by itself."""
    results = in_float32(Own(refuses=refuses))
    assert {r.status for r in results.values()} <= {"passed", "skipped", "vacuous"}
    assert results["pullback-reference"].status == status and results["own-forward-derivative"].status == "passed"
