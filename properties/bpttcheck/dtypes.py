"""Floating-point formats by name.

NumPy has no bfloat16 (8 bits of precision, the range of float32): arrays of a case in bfloat16 are float32 arrays whose
numbers are those of bfloat16.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bpttref.arrays import Array


@dataclass(frozen=True)
class Format:
    """eps: from 1 to the next number. storage: the NumPy dtype of its arrays. least: the smallest normal number. lost:
    what an operation may lose whose result is smaller than that: all of it, where processors flush such numbers to zero
    for speed, but in float16 no more than rounding, because too much lies there."""

    eps: float
    least: float
    most: float
    storage: np.dtype[Any]
    lost: float


def _of_numpy(name: str) -> Format:
    info = np.finfo(name)
    least = float(info.smallest_normal)
    lost = float(info.smallest_subnormal) if name == "float16" else least
    return Format(float(info.eps), least, float(info.max), np.dtype(name), lost)


FORMATS = {
    "bfloat16": Format(2.0**-7, 2.0**-126, (2 - 2.0**-7) * 2.0**127, np.dtype("float32"), 2.0**-126),
    "float16": _of_numpy("float16"),
    "float32": _of_numpy("float32"),
    "float64": _of_numpy("float64"),
}


def rounded(array: Array, dtype: str) -> Array:
    """The nearest numbers of a format, in its storage; those below the smallest normal number may keep more bits."""
    if dtype == "bfloat16":
        fraction, exponent = np.frexp(array)
        array = np.ldexp(np.rint(fraction * 2**8) / 2**8, exponent)
    return np.array(array, FORMATS[dtype].storage, subok=True)
