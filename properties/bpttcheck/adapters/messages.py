"""Messages to and from a program: one line of JSON, then the bytes of the arrays that it lists, little-endian."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpttcheck.cases.blocks import Named
from bpttref.arrays import Array

_DTYPES = ("float16", "float32", "float64", "int64")
_MOST = 2**30  # bytes of one array: a header that announces more is mistaken
_SHOWN = 60  # bytes that an error shows of a line that is not a header


class Malformed(Exception):
    """The output of a program is not a message; the sentence goes on after "the program"."""


@dataclass(frozen=True)
class Listed:
    """An array as a header lists it."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def holding(self, data: bytes) -> Array:
        """A writable array of the machine's own byte order."""
        return np.frombuffer(data, np.dtype(self.dtype).newbyteorder("<")).astype(self.dtype).reshape(self.shape)


def encoded(header: Mapping[str, object], arrays: Named) -> bytes:
    """A message; its header lists the arrays last."""
    listed = [[name, str(array.dtype), list(array.shape)] for name, array in arrays.items()]
    line = json.dumps({**header, "arrays": listed}).encode() + b"\n"
    return b"".join([line, *(a.astype(a.dtype.newbyteorder("<")).tobytes() for a in arrays.values())])


def decoded(line: bytes) -> tuple[dict[str, Any], list[Listed]]:
    """A header line: its fields, and the arrays whose bytes follow. Raises Malformed."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        said = line.rstrip()
        shown = said[:_SHOWN] + b".." * (len(said) > _SHOWN)
        raise Malformed(f"wrote {shown.decode(errors='replace')!r} where the header of an answer was expected")
    arrays = fields.pop("arrays", [])
    if not isinstance(arrays, list):
        raise Malformed(f"listed as arrays {arrays!r}; expected [[name, dtype, shape], ...]")
    return fields, [_listed(entry) for entry in arrays]


def _listed(entry: object) -> Listed:
    match entry:
        case [str(name), str(dtype), list(shape)] if all(type(n) is int and n >= 0 for n in shape):
            listed = Listed(name, dtype, tuple(shape))
        case _:
            raise Malformed(f"listed the array {entry!r}; expected [name, dtype, shape]")
    if dtype not in _DTYPES:
        raise Malformed(f"listed {name} with the dtype {dtype!r}; there are {', '.join(_DTYPES)}")
    if listed.size > _MOST:
        raise Malformed(f"listed {name} with the shape {listed.shape}, which is more than {_MOST} bytes")
    return listed
