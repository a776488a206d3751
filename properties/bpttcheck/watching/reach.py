"""The triangle of a function from inputs ``(T, ..)`` to losses or outputs ``(T, ..)``: a pullback for each row.

Row t is the norm of the gradient of each input x_s from the output at t, taken with random cotangents, because a sum of
outputs may be constant. Where T is large, some rows are sampled.
"""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike

import numpy as np

from bpttcheck.studies.pictures import new_figure, shades
from bpttref import Strategy, weights
from bpttref.arrays import Array

_ALL, _SAMPLED = 128, 32  # T up to which all rows are taken; how many are taken beyond
_BITS = 24  # of the significand of float32


@dataclass(frozen=True)
class Triangle:
    """The triangle that `reach` finds. ``print(triangle)`` describes it in words.

    Parameters
    ----------
    rows : Array
        The output steps t that were taken.
    norms : Array
        ``(rows, T)``, the norms of the gradients of the inputs; exactly zero if none arrives.

    Examples
    --------
    >>> triangle = Triangle(np.arange(4), np.tril(np.ones((4, 4))))
    >>> print(str(triangle).splitlines()[0])
    Each output reaches all inputs before it: full BPTT.
    """

    rows: Array
    norms: Array

    def __str__(self) -> str:
        return "\n".join([*self._words(), "", *self._lines()])

    def shows(self, strategy: Strategy) -> bool:
        """Whether each output reaches exactly the inputs that a truncation lets through.

        Parameters
        ----------
        strategy : Strategy
            The truncation.

        Returns
        -------
        bool
            True if all rows agree.
        """
        M = weights(strategy, self.norms.shape[1])[:, 1:]
        return bool(np.array_equal(self.norms != 0, M[self.rows] != 0))

    def is_blocks(self, tau: int) -> bool:
        """Whether each output reaches exactly the inputs of its block.

        Parameters
        ----------
        tau : int
            Steps of a block.

        Returns
        -------
        bool
            True if all rows agree.
        """
        return bool(np.array_equal(self._first(), self.rows // tau * tau)) and not self._ahead()

    def png(self, file: str | PathLike[str]) -> None:
        """Draw the triangle into a file.

        Parameters
        ----------
        file : str or PathLike
            Its ending is the format: .png, .svg, .pdf.

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        figure = new_figure(5.2, 4.2)
        axes = figure.subplots()
        shown = np.log10(np.where(self.norms > 0, self.norms, np.nan))
        image = axes.imshow(shown, aspect="auto", cmap=shades(), interpolation="nearest")
        figure.colorbar(image, ax=axes, label="norm of the gradient, log10; grey: none")
        axes.set(xlabel="input at step s", ylabel="output at step t", facecolor="#f4f4f4")
        some = np.unique(np.linspace(0, len(self.rows) - 1, min(len(self.rows), 9)).astype(int))
        axes.set_yticks(some, [str(self.rows[i]) for i in some])
        figure.savefig(file)

    def _first(self) -> Array:
        """The earliest input that each row reaches; T where it reaches none."""
        there = self.norms != 0
        first: Array = np.where(there.any(1), there.argmax(1), self.norms.shape[1])
        return first

    def _ahead(self) -> bool:
        """Whether an output depends on inputs that come after it."""
        return bool(np.any((self.norms != 0) & (np.arange(self.norms.shape[1]) > self.rows[:, None])))

    def _words(self) -> list[str]:
        T = self.norms.shape[1]
        said = [self._rule()]
        if self._ahead():
            said.append("Outputs depend on inputs that come after them.")
        if not np.isfinite(self.norms).all():
            return [*said, "Some gradients are not finite."]
        last = self.norms[-1, : self.rows[-1] + 1][::-1]  # by lag
        if last.any():
            half = int(np.searchsorted(np.cumsum(last), last.sum() / 2)) + 1
            faint = np.flatnonzero(last >= last.max() * 2.0**-_BITS)[-1] + 1
            said.append(f"Half of what reaches output {self.rows[-1]} comes from {_last(half)}.")
            if faint < len(last):
                said.append(f"Beyond {_steps(int(faint))} it is below 2^-{_BITS} of the largest, or exactly zero.")
        if len(self.rows) < T:
            said.append(f"{len(self.rows)} of {T} outputs were taken.")
        return said

    def _rule(self) -> str:
        T, first = self.norms.shape[1], self._first()
        if not self.norms.any():
            return "No output reaches any input."
        if not first.any():
            return "Each output reaches all inputs before it: full BPTT."
        for tau in range(1, T):
            if np.array_equal(first, self.rows // tau * tau):
                return f"Each output reaches its block of {_steps(tau)}: truncated to blocks of {tau}."
            if np.array_equal(first, np.maximum(self.rows - tau + 1, 0)):
                return f"Each output reaches the last {_steps(tau)}: a window of {tau}."
        lags = self.rows - first
        return f"Outputs reach back over {lags.min() + 1} to {_steps(int(lags.max() + 1))}: none of the known rules."

    def _lines(self) -> list[str]:
        width = -(-self.norms.shape[1] // 60)
        pieces = np.add.reduceat(self.norms != 0, np.arange(0, self.norms.shape[1], width), axis=1)
        some = np.unique(np.linspace(0, len(self.rows) - 1, min(len(self.rows), 12)).astype(int))
        title = f"   t  inputs 0 to {self.norms.shape[1] - 1}{f', a column for {width}' if width > 1 else ''}"
        marks = ("".join(".#"[int(bool(n))] for n in pieces[i]) for i in some)
        return [title, *(f"{self.rows[i]:>4}  {line}" for i, line in zip(some, marks, strict=True))]


def triangle_of(x: Array, outputs: Array, pull: Callable[[Array], Array], rows: int | None) -> Triangle:
    """outputs: of the function at x. pull: from cotangents of the outputs to the gradient of x. rows: how many rows to
    take; all up to T = 128, and 32 beyond, if None.

    Raises ValueError where inputs or outputs have no such triangle.
    """
    if x.ndim == 0 or outputs.ndim == 0 or len(x) != len(outputs) or not len(x):
        raise ValueError(f"reach needs as many outputs as inputs along axis 0, and got {x.shape} and {outputs.shape}")
    T = len(x)
    if rows is not None and rows < 1:
        raise ValueError(f"reach takes at least one row, and rows is {rows}")
    number = min(T, rows or (T if T <= _ALL else _SAMPLED))
    taken = np.unique(np.linspace(T - 1, 0, number).round().astype(int))
    draws = np.random.default_rng(0)
    norms = np.zeros((len(taken), T))
    for i, t in enumerate(taken):
        cotangent = np.zeros(outputs.shape, outputs.dtype)
        cotangent[t] = draws.standard_normal(outputs.shape[1:])
        gradient = np.asarray(pull(cotangent), np.float64).reshape(T, -1)
        largest = np.abs(gradient).max(1, keepdims=True)
        scale = np.where(largest > 0, largest, 1)
        norms[i] = scale[:, 0] * np.linalg.norm(gradient / scale, axis=1)
    return Triangle(taken, norms)


def _last(number: int) -> str:
    return f"the last {number} steps" if number > 1 else "its own step"


def _steps(number: int) -> str:
    return f"{number} step{'s' * (number != 1)}"
