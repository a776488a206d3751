"""A mistake at one column, row or unit, or from one lag on, wherever it is, is found in a default run."""

from dataclasses import replace

import numpy as np
import pytest

from bpttcheck import LAWS, judge
from bpttcheck.adapters.reference import Reference
from bpttref import CELLS, Full, Window

RANGES = {"column": 26, "row": 26, "unit": 26, "lag": 60}  # the places that a default run reaches


class Misplaced(Reference):
    """The reference, with a gradient that has an error of a hundredth in one place, or that ends at some lag."""

    def __init__(self, kind, place):
        self.kind, self.place = kind, place

    def vjp(self, case):
        plain = case.truncation == Full() and case.lengths is None and len(case.parameters[0]) == 1
        if self.kind == "lag" and plain and len(case.x) > self.place:
            return super().vjp(replace(case, truncation=Window(self.place)))
        outputs, pullback = super().vjp(case)
        return outputs, lambda cotangents: self.spoil(pullback(cotangents))

    def spoil(self, gradients):
        layer = {name: array.copy() for name, array in gradients.parameters[0][0].items()}
        x = None if gradients.x is None else gradients.x.copy()
        spoilt = {"column": layer["W_hx"][:, self.place :], "unit": layer["W_hh"][:, self.place :]}
        if x is not None:
            spoilt["row"] = x[:, self.place :]
        if self.kind in spoilt:
            spoilt[self.kind][:, :1] *= 1.01
        first = (layer, *gradients.parameters[0][1:])
        return gradients._replace(x=x, parameters=(first, *gradients.parameters[1:]))


def found(kind, seed):
    """Whether a default run in float32 finds a mistake in a drawn place of a drawn cell."""
    rng = np.random.default_rng([seed, len(kind)])
    place = int(rng.integers(33, RANGES[kind] + 1) if kind == "lag" else rng.integers(RANGES[kind]))
    cell = CELLS[int(rng.integers(len(CELLS)))].name
    laws = [law for law in LAWS if law.id == "pullback-reference"]
    results = judge(
        Misplaced(kind, place), laws, cells=[cell], dtypes=["float32"], examples=40, seed=seed, shrink=False
    )
    return [result.status for result in results] == ["failed"]


@pytest.mark.parametrize("kind", RANGES)
@pytest.mark.parametrize("seed", range(3))
def test_a_mistake_is_found_wherever_it_is(kind, seed):
    assert found(kind, seed)
