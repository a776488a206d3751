"""An array type whose every operation errs at random by the unit roundoff of a dtype (Monte-Carlo arithmetic; Parker,
1997). The reference computes in ufuncs, so it runs on such arrays unchanged.

Sums, products and inputs err in proportion to their size, tanh and sigmoid in proportion to 1: 2 / (1 + e^-2a) - 1, the
difference of two sigmoids or a quotient of exponentials are as accurate as a library's tanh, and the 1 in them rounds,
however small a is. That error travels on through the reference to where it matters; nothing is added to the results.

In a product of matrices one operand errs, by the root of 2: each term errs by as much as if both did, and the operand
is never a matrix of weights, because all replicates share the weights. In a sum of n terms, one after the other, the
share of a term errs by the root of n/2 roundoffs. The factor of the tolerance covers hundreds of terms; an operand errs
by more the more there are, which keeps such a sum at a third of the tolerance, however long it is.
"""

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np

from bpttcheck.cases.blocks import digest
from bpttcheck.contract import Case
from bpttcheck.dtypes import Format
from bpttref.arrays import Array

_EXACT = {np.negative, np.maximum, np.greater, np.greater_equal, np.less, np.equal, np.absolute}
_SUMS = {np.add, np.subtract}
_FROM_ONE = {np.tanh, np.reciprocal}  # the last is the sigmoid's last operation


@cache
def _noise(roundoff: float) -> Array:
    """Numbers between minus and plus the unit roundoff: drawn once, handed out in turn."""
    return roundoff * (2 * np.random.default_rng(1).random(2**17) - 1)


@lru_cache(16)
def _factors(format: Format, terms: int) -> Array:
    """Factors with which a number errs on its own, or as an operand in a sum of this number of ``terms``."""
    of_operand = math.sqrt(2 * format.operand**2 + terms / 32 * format.inside**2)
    return 1 + (of_operand if terms else format.inside) * _noise(1.0)


class Noise:
    """The noise of one case, the same on every run. array: the type of arrays whose operations err by the unit roundoff
    of the case's dtype."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._pool, self._own = _noise(case.format.inside), _factors(case.format, 0)
        self._first = digest(case.x) % len(self._pool)
        self.array = self._type()
        self.begin()

    def begin(self) -> None:
        """Let the same noise come again: results do not depend on earlier computations."""
        self._used = self._first

    def _taken(self, source: Array, shape: tuple[int, ...]) -> Array:
        size = math.prod(shape)
        if self._used + size > len(source):
            self._used = 0
        part = source[self._used : self._used + size] if size <= len(source) else np.resize(source, size)
        self._used += size
        return part.reshape(shape)

    def _erring(self, operand: Any) -> Any:
        rounded = isinstance(operand, np.ndarray) and operand.dtype.kind == "f"
        return operand * self._taken(self._own, operand.shape) if rounded else operand

    def _terms_erring(self, left: Array, right: Array) -> tuple[Array, Array]:
        """The operands of a product, of which one errs. Weights stand on the right, as they are.

        An operand with time and batch as columns is summed over a stretch of all steps and rows.
        """
        over_rows = left.ndim < right.ndim or left.strides[-1] > left.strides[-2]
        factors = _factors(self._case.format, self._case.T * self._case.B if over_rows else left.shape[-1])
        if over_rows and (left.ndim < right.ndim or right.size < left.size):
            return left, right * self._taken(factors, right.shape)
        return left * self._taken(factors, left.shape), right

    def _type(self) -> type[Array]:
        noise = self

        class _Noisy(np.ndarray):
            def __array_ufunc__(
                self, ufunc: np.ufunc, method: str, *inputs: Any, out: tuple[Any, ...] | None = None, **options: Any
            ) -> Any:
                plain: Sequence[Any] = [i.view(np.ndarray) if isinstance(i, _Noisy) else i for i in inputs]
                sums = ufunc in _SUMS or method != "__call__"
                if ufunc is np.matmul:
                    plain = noise._terms_erring(*plain)
                elif sums:  # the error of a sum is relative to its terms, not to the sum
                    plain = [noise._erring(operand) for operand in plain]
                if out is not None:
                    options["out"] = tuple(o.view(np.ndarray) for o in out)
                result = np.asarray(getattr(ufunc, method)(*plain, **options))
                if ufunc in _FROM_ONE:
                    result += noise._taken(noise._pool, result.shape)
                elif not (sums or ufunc in _EXACT or ufunc is np.matmul) and result.dtype.kind == "f":
                    result *= noise._taken(noise._own, result.shape)
                return result.view(_Noisy)

        return _Noisy
