"""The interface for PyTorch: ``from bpttcheck.torch import watch``."""

from bpttcheck.watching.reach import Triangle
from bpttcheck.watching.seen import Seen, assert_reach
from bpttcheck.watching.torch_reach import reach
from bpttcheck.watching.torch_watch import watch

__all__ = ["Seen", "Triangle", "assert_reach", "reach", "watch"]
