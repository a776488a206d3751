"""The layout of a user's array: its axis of time, its axis of rows, and the shape of one step of one row.

Here all arrays are ``(T, B, *shape)``, or ``(B, *shape)`` where there is no time.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from bpttref.arrays import Array


@dataclass(frozen=True)
class Layout:
    """time, rows: the axes, None where there is none. shape: of one step of one row. listed: whether the axis of time
    is a list. what: the name of the array in messages."""

    what: str
    time: int | None
    rows: int | None
    shape: tuple[int, ...]
    listed: bool = False

    @classmethod
    def of(cls, what: str, example: Any, time: int | None, rows: int | None) -> "Layout":
        """The layout of an example; axes may be counted from the end. Raises ValueError where there is no such axis."""
        listed = time is not None and isinstance(example, list | tuple)
        if listed and time not in (0, None):
            raise ValueError(f"{what} is a list, which is one of steps: time must be 0; it is {time}")
        array = _stacked(what, example, time)
        for name, axis in (("time", time), ("batch", rows)):
            if axis is not None and not -array.ndim <= axis < array.ndim:
                raise ValueError(f"{what} has shape {array.shape}, in which there is no axis {name}={axis}")
        taken = [None if axis is None else axis % array.ndim for axis in (time, rows)]
        if taken[0] is not None and taken[0] == taken[1]:
            raise ValueError(f"time and batch are the same axis of {what}, which has shape {array.shape}")
        shape = tuple(size for axis, size in enumerate(array.shape) if axis not in taken)
        return cls(what, taken[0], taken[1], shape, listed)

    @property
    def _axes(self) -> list[int]:
        return [axis for axis in (self.time, self.rows) if axis is not None]

    def given(self, array: Array) -> Any:
        """An array as the user has it, a view where there can be one."""
        before_rows = int(self.time is not None)
        shaped = array.reshape(*array.shape[: before_rows + 1], *self.shape)
        if self.rows is None:
            shaped = np.squeeze(shaped, axis=before_rows)
        laid = np.moveaxis(shaped, range(len(self._axes)), self._axes)
        return list(laid) if self.listed else laid

    def steps(self, theirs: Any) -> list[Any]:
        """The steps of a sequence as the user has it."""
        return list(theirs if self.listed else np.moveaxis(theirs, self.time or 0, 0))

    def taken(self, theirs: Any, rows: int = 1) -> Array:
        """The user's results, in the layout that is used here. rows: how many there are, because a list without a step
        does not show it. Raises ValueError where it has another number of axes."""
        if self.listed and not len(theirs):
            return np.zeros((0, rows, *self.shape))
        array = _stacked(self.what, theirs, self.time)
        if array.ndim != len(self._axes) + len(self.shape):
            raise ValueError(f"{self.what} has shape {array.shape}; expected {self}")
        laid = np.moveaxis(array, self._axes, range(len(self._axes)))
        return laid if self.rows is not None else np.expand_dims(laid, len(self._axes))

    def flat(self, array: Array) -> Array:
        """The given array, the features of a step along one axis; there may be no step."""
        return array.reshape(*array.shape[:2], prod(self.shape))

    def __str__(self) -> str:
        """The axes, as in "(T, B, 3)"."""
        names: list[Any] = list(self.shape)
        for axis in sorted(self._axes):
            names.insert(axis, "T" if axis == self.time else "B")
        if self.listed:
            return f"a list of T arrays {tuple(names[1:])}".replace("'", "")
        return f"{tuple(names)}".replace("'", "")


def _stacked(what: str, theirs: Any, time: int | None) -> Array:
    """One array, of a list of steps as well."""
    if not isinstance(theirs, list | tuple):
        return np.asarray(theirs)
    try:
        return np.stack([np.asarray(step) for step in theirs], axis=time or 0)
    except ValueError as error:
        raise ValueError(f"the steps of {what} do not have the same shape: {error}") from error
