"""The suite itself is tested: every planted fault is caught by its laws, every law catches one, no law cries wolf."""

import pytest

from bpttcheck import LAWS, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.faults import FAULTS, Faulty


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_fault_is_caught(fault):
    """On every cell that it is planted in, by each law that is named for it."""
    laws = [law for law in LAWS if law.id in fault.caught_by or law.decisive]
    results = list(judge(Faulty(fault), laws, examples=40, seed=1))
    for cell in fault.cells:
        failed = {r.law for r in results if r.cell == cell.name and r.status == "failed"}
        assert set(fault.caught_by) <= failed


def test_every_law_catches_a_fault():
    """A law without a fault that it catches might be a law that cannot fail."""
    caught = {law for fault in FAULTS for law in fault.caught_by}
    unproved = {"forward-mode-duality"}  # its fault needs a subject with a pushforward: tests/test_adapters.py
    assert {law.id for law in LAWS} == caught | unproved


def test_the_reference_passes_every_law():
    results = list(judge(Reference(), LAWS, examples=30, seed=1))
    assert {r.status for r in results} == {"passed", "skipped"}
    assert {r.law for r in results if r.status == "skipped"} == {"forward-mode-duality", "saturated-is-finite"}
