"""A time and no number of cases: larger and larger ones, guided by the margin, and the output lists the cases."""

import math
import time

import numpy as np
import pytest

from bpttcheck import LAWS, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.drawing import FARTHEST, USUALLY, draw_case
from bpttcheck.running import searching
from bpttcheck.running.results import Tried
from bpttcheck.running.time_limit import TimeLimit

from ..programs import command
from ..thorough import some

LAW = [law for law in LAWS if law.id == "pullback-reference"]
ALL = Reference().capabilities()


class Beyond(Reference):
    """A gradient of x that is lost behind a number of steps, rows, features or units."""

    def __init__(self, size, edge):
        self._size, self._edge = size, edge

    def vjp(self, case):
        outputs, pullback = super().vjp(case)

        def wrong(cotangents):
            found = pullback(cotangents)
            if case.sizes.get(self._size, 0) > self._edge and found.x is not None:
                found.x[0] = 0
            return found

        return outputs, wrong


EDGES = (("T", 203), ("B", 190), ("D", 171), ("H", 211))


@pytest.mark.parametrize(("size", "edge"), some(EDGES, *EDGES[:2]))
def test_a_mistake_beyond_a_size_is_found(size, edge):
    (result,) = judge(
        Beyond(size, edge), LAW, cells=["rnn-tanh"], dtypes=["float64"], examples=None, seconds=60, seed=1
    )
    assert result.status == "failed" and getattr(result.case, size) > edge
    assert result.tried.cases > USUALLY


def test_sizes_escalate():
    def largest(k):
        draws = [draw_case(np.random.default_rng([k, n]), ALL, k, escalating=True) for n in range(200)]
        return max(max(d.T, d.B, d.D, d.H) for d in draws)

    assert largest(USUALLY + 1) <= 70 < largest(USUALLY + 21) < 200 < largest(USUALLY + 51) <= FARTHEST


def test_the_time_is_kept():
    started = time.monotonic()
    (result,) = judge(Reference(), LAW, cells=["lstm"], dtypes=["float64"], examples=None, seconds=2, seed=1)
    assert 2 <= time.monotonic() - started < 10
    assert result.status == "passed" and result.tried.cases == result.drawn > USUALLY


def largest_found(seed):
    """Of a number that grows with steps, units and weights."""
    found = [0.0]

    def margin(draw):
        found.append(draw.T / FARTHEST * draw.H / FARTHEST * (math.log2(draw.weight_scale) + 10) / 18)
        return found[-1]

    searching.search(margin, ALL, seed, TimeLimit(60))
    return max(found)


def test_the_margin_guides(monkeypatch):
    """In the same number of cases, errors that grow little by little are found at larger sizes."""
    guided = [largest_found(seed) for seed in range(5)]
    monkeypatch.setattr(searching, "target", lambda margin: None)
    assert sum(far > largest_found(seed) for seed, far in enumerate(guided)) >= 4


def test_the_output_lists_the_cases(tmp_path):
    done = command("verify", "reference", "--cell", "rnn-identity", "--dtype", "float64", "--law", LAW[0].id,
                   "--budget", "2s", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "as many examples per cell and dtype as 2 seconds allow" in said
    assert "tried on rnn-identity float64: " in said and " large, T=" in said


def test_kinds_are_counted():
    tried = Tried()
    for k in range(USUALLY):
        tried.add(draw_case(np.random.default_rng(k), ALL, k))
    assert tried.cases == sum(tried.kinds.values()) == USUALLY
    assert {"large", "small", "in two directions"} <= tried.kinds.keys()
    assert tried.sizes["large"]["T"][1] > 61
