"""The verdict of bpttcheck in one line, for the files of this folder."""

from bpttcheck import LAWS, judge


def statuses(subject, *ids, examples=24, seed=1, **options):
    """The status of each law by its id; of all laws, if none is chosen. The implementation has one cell and one
    dtype."""
    laws = [law for law in LAWS if law.id in ids] if ids else LAWS
    return {r.law: r.status for r in judge(subject, laws, examples=examples, seed=seed, shrink=False, **options)}


def alarms(subject, *ids, **options):
    """The laws that neither passed nor were skipped. A green implementation has none."""
    found = statuses(subject, *ids, **options)
    assert "passed" in found.values()
    return {law for law, status in found.items() if status not in ("passed", "skipped")}


def red(subject, *ids, **options):
    """The laws that failed."""
    return {law for law, status in statuses(subject, *ids, **options).items() if status == "failed"}
