"""Hypothesis as the tests use it: the same cases on every run."""

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "tests", derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """One more than there are cores: many tests wait for a process, or for the time that it may take."""
    return (os.cpu_count() or 1) + 1
