"""The exact work of some packages during a call: the same numbers on every run, without a change to the code that runs.

    calls          uses of arrays by code of the packages: ufuncs and operators, array functions, methods, indexing and
                   assignment to parts, functions that make arrays. Counted by an array type.
    multiply_adds  of matrix products, from the shapes of the operands. By the same array type.
    instructions   of Python's bytecode, in frames of the packages, by `sys.settrace`: a Python loop costs these.
    entered        calls of some functions in which the caller is interested, by the same hook.

An array type does not see arrays that are none of its own, such as the result of ``np.empty``: while we count, the
`MAKERS` of NumPy give arrays of our type. Nothing here sees on how many numbers an elementwise operation works, and how
long that takes; nor attributes such as ``a.T``, except as an instruction.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any
from unittest import mock

import numpy as np

MAKERS = ("arange", "array", "asarray", "ascontiguousarray", "empty", "eye", "full", "ones", "zeros")
_METHODS = [name for name in dir(np.ndarray) if not name.startswith("_") and callable(getattr(np.ndarray, name))]
_PRODUCTS = {getattr(np, name, None) for name in ("matmul", "dot", "inner", "vecdot", "matvec", "vecmat")} - {None}


def _of(packages: Collection[str], frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").partition(".")[0] in packages


def _counted_type(found: Counter[str], packages: Collection[str]) -> type[np.ndarray]:
    """An array type that adds "calls" and "multiply_adds" to ``found``."""

    class Counted(np.ndarray):
        def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
            if out is not None:
                options["out"] = tuple(map(_plain, out))
            result = getattr(ufunc, method)(*map(_plain, inputs), **options)
            note_product(ufunc, inputs, result)
            return result if out is None else out[0] if len(out) == 1 else out

        def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
            result = super().__array_function__(function, types, arguments, options)
            note_product(function, arguments, result)
            return result

        def dot(self, *operands: Any) -> Any:
            return np.dot(self, *operands)

    def _plain(value: Any) -> Any:
        return np.ndarray.view(value, np.ndarray) if isinstance(value, Counted) else value

    def note_product(function: Any, operands: tuple[Any, ...], result: Any) -> None:
        if function in _PRODUCTS:
            found["multiply_adds"] += np.size(result) * math.prod(np.shape(operands[0])[-1:])
        elif function is np.tensordot:
            found["multiply_adds"] += math.isqrt(math.prod(map(np.size, (*operands[:2], result))))
        elif function is np.einsum:
            found["multiply_adds"] += _einsum_terms(*operands)

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            found["calls"] += _of(packages, sys._getframe(1))
            result = function(*arguments, **options)
            return result.view(Counted) if type(result) is np.ndarray else result

        return counted

    for name in (*_METHODS, "__getitem__", "__setitem__", "__array_ufunc__", "__array_function__"):
        setattr(Counted, name, counting(getattr(Counted, name)))
    Counted.makers = {name: counting(getattr(np, name)) for name in MAKERS}
    return Counted


def _einsum_terms(subscripts: Any, *operands: Any) -> int:
    """How often the innermost loop runs. Raises NotImplementedError where the indices are not written out."""
    if not isinstance(subscripts, str) or "." in subscripts:
        raise NotImplementedError("the multiply-adds of this einsum cannot be counted: write out its indices")
    terms = subscripts.partition("->")[0].replace(" ", "").split(",")
    sizes = {i: n for term, a in zip(terms, operands, strict=True) for i, n in zip(term, a.shape, strict=True)}
    return math.prod(sizes.values())


@contextmanager
def counted_arrays(found: Counter[str], packages: Collection[str]) -> Iterator[Callable[[Any], Any]]:
    """Count "calls" and "multiply_adds"; gives the function that makes an array a counted one."""
    kind = _counted_type(found, packages)
    with mock.patch.multiple(np, **kind.makers):
        yield lambda array: array.view(kind)


@contextmanager
def traced(found: Counter[str], packages: Collection[str], of_interest: dict[CodeType, str]) -> Iterator[None]:
    """Count "instructions", and how often the code ``of_interest`` is entered, under its name there."""

    def instruction(frame: FrameType, event: str, _: Any) -> Any:
        found["instructions"] += event == "opcode"
        return instruction

    def call(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code in of_interest:
            found[of_interest[frame.f_code]] += 1
        if not _of(packages, frame):
            return None
        frame.f_trace, frame.f_trace_lines = instruction, False
        frame.f_trace_opcodes = True  # after f_trace: Python 3.13 looks for it
        return instruction

    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # Python 3.12 looks whether any frame has asked
    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(before)
