"""Values on their way from one process to another, in which the implementation is not loaded."""

import io
import pickle
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from bpttcheck.contract import CustomCell


class _Pickler(pickle.Pickler):
    """A cell of the target's own holds functions, which cannot travel: it is sent by its name."""

    def persistent_id(self, value: Any) -> str | None:
        return value.name if isinstance(value, CustomCell) else None

    def reducer_override(self, value: Any) -> Any:
        """Arrays and texts of classes that the parent does not know travel as plain arrays and texts."""
        if isinstance(value, np.ndarray) and type(value) is not np.ndarray:
            return np.array, (np.array(value, subok=False),)
        return (str, (str(value),)) if isinstance(value, str) else NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, cell: Callable[[str], CustomCell]) -> None:
        super().__init__(io.BytesIO(data))
        self._cell = cell

    def persistent_load(self, name: str) -> CustomCell:
        return self._cell(name)


def pickled(value: object) -> bytes:
    data = io.BytesIO()
    _Pickler(data).dump(value)
    return data.getvalue()


def unpickled(data: bytes, cell: Callable[[str], Any]) -> Any:
    return _Unpickler(data, cell).load()


def elsewhere(name: str) -> CustomCell:
    """A cell whose functions are in another process."""

    def unknown(*sizes: int) -> NoReturn:
        raise TypeError(f"the shapes of {name} are known only in the process of its target")

    return CustomCell(name, unknown, unknown, unknown)
