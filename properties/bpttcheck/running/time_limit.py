"""A time to stop at, for work that may be left half done."""

import math
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")

OF_A_CALL = 300  # seconds, for a call of a target in a process of its own
USUAL = 60.0  # seconds, for making a failure small, and again for the diagnosis of a cell


class TimeIsUp(BaseException):
    """It is no Exception, so that code which catches errors lets it through."""


class TimeLimit:
    """A number of seconds from now. cut: whether something was left out because the time was up."""

    def __init__(self, seconds: float = math.inf) -> None:
        self._end = time.monotonic() + seconds
        self.cut = False

    @property
    def left(self) -> float:
        """Seconds, 0 if the time is up."""
        return max(0.0, self._end - time.monotonic())

    def check(self) -> None:
        """Raises TimeIsUp if the time is up."""
        if not self.left:
            self.cut = True
            raise TimeIsUp

    def within(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """The items until the time is up."""
        for item in items:
            if not self.left:
                self.cut = True
                return
            yield item
