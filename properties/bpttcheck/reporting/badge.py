"""A run in a few words, as the JSON that shields.io draws a badge from: https://shields.io/badges/endpoint-badge."""

import json
from collections.abc import Collection

from bpttcheck.exit_status import FAILED, PASSED
from bpttcheck.running.results import BAD, Status
from bpttcheck.running.run import Run, unmet


def to_badge(run: Run) -> str:
    """Green if all laws that ran passed, yellow if some are known failures, red if one is broken, else grey."""
    broken, known, passed = (_laws(run, statuses) for statuses in (BAD, ("known",), ("passed",)))
    passed -= broken | known
    stale = unmet(run.asked, [record for record in run.targets if record.target in run.introduced])
    status = run.exit_status(failing=bool(stale))
    if run.interrupted:
        message, colour = "not finished", "lightgrey"
    elif status == FAILED:
        message, colour = f"{_many(len(broken))} broken" if broken else "known failures out of date", "red"
    elif status != PASSED or not passed | known:
        message, colour = "not tested in full" if passed else "nothing proved", "lightgrey"
    elif known:
        message, colour = f"{_many(len(passed))} passed, {len(known)} known to fail", "yellow"
    else:
        message, colour = f"{_many(len(passed))} passed", "brightgreen"
    badge = {"schemaVersion": 1, "label": "bpttcheck", "message": message, "color": colour}
    return json.dumps(badge) + "\n"


def _laws(run: Run, statuses: Collection[Status]) -> set[str]:
    return {result.law for result in run.results if result.status in statuses}


def _many(laws: int) -> str:
    return f"{laws} law{'s' * (laws != 1)}"
