"""Floating-point formats by name.

NumPy has neither bfloat16 (8 bits of precision, the range of float32) nor float8: arrays of a case in these are float32
arrays of numbers that the format has. In float8 there are only the inputs: the results are in float32.

The operations between the inputs and the results may be more or less precise: `within` describes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from bpttref.arrays import Array


@dataclass(frozen=True)
class Format:
    """eps: from 1 to the next number. storage: the NumPy dtype of its arrays. least: the smallest normal number. lost:
    the error that an operation may have whose result is smaller than that: all of it where processors flush such
    numbers to zero for speed, but only rounding in float16, because many results are that small. bits: of precision of
    the inputs, where NumPy does not have the format. inside, operand: eps of operations, and of the operands of a
    product of matrices.
    """

    eps: float
    least: float
    most: float
    storage: np.dtype[Any]
    lost: float
    inside: float
    operand: float
    bits: int = 0


def _of_numpy(name: str) -> Format:
    info = np.finfo(name)
    least, eps = float(info.smallest_normal), float(info.eps)
    lost = float(info.smallest_subnormal) if name == "float16" else least
    return Format(eps, least, float(info.max), np.dtype(name), lost, eps, eps)


_SINGLE = _of_numpy("float32")
FORMATS = {
    "float8_e4m3": replace(_SINGLE, bits=4),
    "bfloat16": replace(_SINGLE, eps=2.0**-7, inside=2.0**-7, operand=2.0**-7, most=(2 - 2.0**-7) * 2.0**127, bits=8),
    "float16": _of_numpy("float16"),
    "float32": _SINGLE,
    "float64": _of_numpy("float64"),
}
_MOST_OF_8, _LEAST_OF_8 = 448.0, 2.0**-6  # of float8_e4m3, which has no more
WITHIN: Mapping[tuple[str, str], dict[str, Any]] = {
    ("float32", "tf32"): {"operand": 2.0**-10},
    **{(dtype, "mixed"): {"inside": _SINGLE.eps} for dtype in ("bfloat16", "float16")},
    **{(dtype, "float32"): {"inside": _SINGLE.eps, "operand": _SINGLE.eps} for dtype in ("bfloat16", "float16")},
}  # the fields that differ


@cache
def within(dtype: str, inside: str) -> Format:
    """The format of a dtype whose operations are in another one ``inside``; "" for the same.

    With "float32" inside 16 bits all is in float32 except the inputs and the results. With "mixed" the operands of a
    product of matrices are also rounded to 16 bits. With "tf32" inside float32 they are rounded to 10 bits.
    """
    return replace(FORMATS[dtype], **WITHIN.get((dtype, inside), {}))


def rounded(array: Array, dtype: str) -> Array:
    """The nearest numbers of a format, in its storage. Numbers of bfloat16 below the smallest normal number may keep
    more bits, and a number beyond the range of float8 becomes its largest number."""
    bits, near = FORMATS[dtype].bits, array
    if bits:
        fraction, exponent = np.frexp(array)
        near = np.ldexp(np.rint(fraction * 2**bits) / 2**bits, exponent)
    if dtype == "float8_e4m3":
        apart = _LEAST_OF_8 / 8  # of numbers below the smallest normal one
        near = np.where(np.abs(array) < _LEAST_OF_8, np.rint(array / apart) * apart, near)
        near = np.clip(near, -_MOST_OF_8, _MOST_OF_8)
    return np.array(near, FORMATS[dtype].storage, subok=True)
