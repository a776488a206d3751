"""Cases with larger and larger errors over the tolerance, which Hypothesis looks for."""

import math
from collections.abc import Callable
from contextlib import suppress

import hypothesis
from hypothesis import HealthCheck, Phase, assume, given, settings, target
from hypothesis.errors import HypothesisException

from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.smaller import far_draws
from bpttcheck.contract import Capabilities
from bpttcheck.running.time_limit import TimeIsUp, TimeLimit

_SETTINGS = settings(
    max_examples=128,
    phases=(Phase.generate, Phase.target),
    database=None,
    deadline=None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)
_MOST = 2**22  # steps times rows times weights


def search(run: Callable[[Draw], float], capabilities: Capabilities, seed: int, limit: TimeLimit) -> None:
    """Call ``run``, which gives the largest error over the tolerance, on cases, and go on where it grows, until the
    time is up or a case fails."""

    def on_one(draw: Draw) -> None:
        limit.check()
        assume(draw.T * draw.B * draw.H * (draw.D + draw.H) < _MOST)
        margin = run(draw)
        if margin > 1:
            raise TimeIsUp  # there is no need to go on
        target(math.log10(max(margin, 1e-9)))

    with suppress(HypothesisException, TimeIsUp):
        hypothesis.seed(seed)(_SETTINGS(given(far_draws(capabilities))(on_one)))()
