"""A failure before it is reported: made small by Hypothesis."""

from collections.abc import Collection
from contextlib import suppress

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import HypothesisException

from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.smaller import smaller_draws
from bpttcheck.laws import Law
from bpttcheck.laws.law import Asked
from bpttcheck.measuring.calls import AdapterError
from bpttcheck.measuring.doing import judging
from bpttcheck.running.evaluating import Finding, evaluate, trial_of
from bpttcheck.running.results import Result
from bpttcheck.running.time_limit import TimeIsUp, TimeLimit

_SETTINGS = settings(
    max_examples=100,  # smaller cases that are tried before the one that failed is shown as it is
    phases=(Phase.generate, Phase.shrink),
    database=None,
    deadline=None,
    print_blob=False,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


class _Broken(Exception):
    """Tells Hypothesis that a law failed."""


def shrink(
    result: Result, law: Law, asked: Asked, smallest: list[Draw], limit: TimeLimit, fatal: Collection[Draw] = ()
) -> None:
    """Make the failing case of a result small: one of ``smallest``, from other failures, or one that Hypothesis finds.

    A case on which the implementation raised is made small in the same way, as long as the same call raises the same
    exception. The found case is added to ``smallest``. When the time is up the result has the smallest case so far, and
    says so. fatal: draws of which the process of the implementation dies.
    """
    assert result.case is not None
    raised = result.reason.split(":")[0] if result.status == "error" else None

    def put_one(draw: Draw) -> None:
        limit.check()
        if draw in fatal:
            return
        judging(law.id, draw)
        trial = trial_of(asked, draw)
        try:
            finding = evaluate(law, trial) if trial else Finding()
        except AdapterError as error:
            if str(error).split(":")[0] != raised:
                return
            result.reason, result.case = str(error), draw
            raise _Broken from error
        if finding.failed and raised is None:
            result.reason, result.case, result.worst = finding.sentence(), draw, finding.worst
            result.margin = finding.worst.margin if finding.worst else result.margin
            raise _Broken

    with suppress(HypothesisException, TimeIsUp):
        try:
            for draw in smallest:
                put_one(draw)
            test = _SETTINGS(given(smaller_draws(result.case, asked.drawing))(put_one))
            hypothesis.seed(result.seed)(test)()
        except _Broken:  # the smallest case is in the result, even if a rerun passes
            if result.case not in smallest:
                smallest.append(result.case)
    result.cut_short = limit.cut
