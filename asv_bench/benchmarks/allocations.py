"""Bytes of NumPy's array buffers: all that are allocated, not those at the peak.

NumPy lets a program replace its allocator of array buffers (NEP 49). The one here adds up the sizes and requests
the memory from NumPy's own. It sees each buffer, whichever code makes it: ``np.empty``, the result of an operator, a
copy. It does not see casting buffers inside a ufunc, the workspace of BLAS, and memory that is not an array's.
"""

import ctypes
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy._core._multiarray_umath import _ARRAY_API

_SET_HANDLER, _DEFAULT_HANDLER = 304, 306  # places in NumPy's table of C functions, which are part of its stable ABI
_NAME = b"mem_handler"  # a capsule keeps the address of its name
_pointer, _size = ctypes.c_void_p, ctypes.c_size_t
# PYFUNCTYPE: the code that calls them holds the GIL, which NumPy's own allocator releases for large arrays of zeros.
_MALLOC = ctypes.PYFUNCTYPE(_pointer, _pointer, _size)
_CALLOC = ctypes.PYFUNCTYPE(_pointer, _pointer, _size, _size)
_REALLOC = ctypes.PYFUNCTYPE(_pointer, _pointer, _pointer, _size)
_to_pointer = ctypes.PYFUNCTYPE(_pointer, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))
_to_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, _pointer, ctypes.c_char_p, _pointer)(
    ("PyCapsule_New", ctypes.pythonapi)
)


class _Allocator(ctypes.Structure):
    """NumPy's ``PyDataMem_Handler``, version 1. Each function takes the context first."""

    _fields_ = [
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("context", _pointer),
        ("malloc", _MALLOC),
        ("calloc", _CALLOC),
        ("realloc", _REALLOC),
        ("free", _pointer),
    ]


def _adding(original: _Allocator, found: Counter[str]) -> _Allocator:
    """The original allocator, which also adds to ``found``. It frees as the original does, without any Python."""

    def note(size: int) -> None:
        found["bytes"] += size
        found["buffers"] += 1

    @_MALLOC
    def malloc(context: int | None, size: int) -> int | None:
        note(size)
        return original.malloc(context, size)

    @_CALLOC
    def calloc(context: int | None, number: int, size: int) -> int | None:
        note(number * size)
        return original.calloc(context, number, size)

    @_REALLOC
    def realloc(context: int | None, pointer: int | None, size: int) -> int | None:
        note(size)
        return original.realloc(context, pointer, size)

    return _Allocator(b"adding", 1, original.context, malloc, calloc, realloc, original.free)


_table = ctypes.cast(_to_pointer(_ARRAY_API, None), ctypes.POINTER(_pointer))
_set_handler = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(_table[_SET_HANDLER])
_default = ctypes.cast(_table[_DEFAULT_HANDLER], ctypes.POINTER(ctypes.py_object))[0]
_original = _Allocator.from_address(_to_pointer(_default, _NAME))
if _original.version != 1:
    raise ImportError(f"NumPy {np.__version__} has another interface for allocators")

_found: Counter[str] = Counter()
_allocator = _adding(_original, _found)  # it stays: arrays may outlive the count, and know who frees them
_counting: Any = _to_capsule(ctypes.addressof(_allocator), _NAME, None)


@contextmanager
def allocations(found: Counter[str]) -> Iterator[None]:
    """Add the "bytes" of all array buffers to ``found``, and how many "buffers" there were."""
    start = _found.copy()
    before = _set_handler(_counting)
    try:
        yield
    finally:
        _set_handler(before)
        found.update(_found - start)
