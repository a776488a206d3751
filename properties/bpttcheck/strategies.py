"""Hypothesis strategies for your own tests: `cases` draws problems for an implementation, `margin` compares."""

from bpttcheck.running.own_tests import cases, margin

__all__ = ["cases", "margin"]
