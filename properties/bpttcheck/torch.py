"""The door for PyTorch: ``from bpttcheck.torch import watch``."""

from bpttcheck.watching.seen import Seen, assert_reach
from bpttcheck.watching.torch_watch import watch

__all__ = ["Seen", "assert_reach", "watch"]
