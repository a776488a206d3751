"""Hypothesis as the tests use it: the same cases on every run."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "tests", derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")
