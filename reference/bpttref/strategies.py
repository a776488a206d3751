"""The strategies of backpropagation through time, each a weighting of the triangle of contributions.

Let ``C[t, s]`` be the part of the gradient that flows from the loss at step t to the use of the parameters at step
s <= t. Every strategy computes ``sum over t >= s of M[t, s] C[t, s]`` and is defined by its ``M``:

    Full                 1
    Regular(tau)         1 where t and s lie in the same segment [0, tau), [tau, 2 tau), ...
    Random(pi)           product of xi over the links (s, t], xi = 1/pi with probability pi, else 0 (D2L 9.7.1.3;
                         Tallec and Ollivier, 2017); unbiased, because E[xi] = 1. Plain (not reweighted): xi = 0 or 1
    Links(xi)            product of the given xi over (s, t]
    Blocks(k1, k2)       losses in blocks of k1 steps, e the block's last step: 1 where e - s < k2 (Williams and
                         Peng, 1990; Sutskever, 2013)
    Window(tau)          Blocks(1, tau): 1 where t - s < tau (D2L 9.7.1.2, "truncating time steps")
    Last(k)              1 where s >= T - k: only the last k steps are differentiated

Steps count from 0. The initial state counts as a use at s = -1. No strategy of links cuts the link from it into
step 0, and a window reaches it from t when ``t + 1 < tau``.
"""

import math
from dataclasses import dataclass
from numbers import Integral
from typing import TypeAlias

import numpy as np

from bpttref.arrays import Array


@dataclass(frozen=True)
class Full:
    """Full backpropagation through time: every loss reaches every earlier step.

    Examples
    --------
    >>> weights(Full(), 2)
    array([[1., 1., 0.],
           [1., 1., 1.]])
    """

    def links(self, stop: int, start: int = 0) -> Array:
        """The multipliers ``xi_t`` of the links into the steps ``start <= t < stop``."""
        return np.ones(stop - start)


@dataclass(frozen=True)
class Regular:
    """Regular truncation: cut before steps tau, 2 tau, 3 tau, ...

    Parameters
    ----------
    tau : int
        Steps of a segment.

    Raises
    ------
    ValueError
        Unless ``tau >= 1``.

    Examples
    --------
    >>> weights(Regular(2), 3)
    array([[1., 1., 0., 0.],
           [1., 1., 1., 0.],
           [0., 0., 0., 1.]])
    """

    tau: int

    def __post_init__(self) -> None:
        _check_steps("tau", self.tau)

    def links(self, stop: int, start: int = 0) -> Array:
        """The multipliers ``xi_t`` of the links into the steps ``start <= t < stop``."""
        t = np.arange(start, stop)
        return np.where((t > 0) & (t % self.tau == 0), 0.0, 1.0)


@dataclass(frozen=True)
class Random:
    """Random truncation: keep each link with probability pi (Tallec and Ollivier, 2017).

    Parameters
    ----------
    pi : float or tuple of float
        The probability: a number, or one per step. The first belongs to the link from the initial state.
    seed : int
        The pattern is a function of the seed. The pattern for T steps is the beginning of the pattern for more.
    reweighted : bool
        Whether kept links are multiplied by ``1/pi``, which makes the gradient an unbiased estimate of the full one.

    Raises
    ------
    ValueError
        Unless ``0 < pi <= 1``.

    Examples
    --------
    >>> Random(0.5, seed=0).links(6)
    array([1., 2., 2., 2., 0., 0.])
    """

    pi: float | tuple[float, ...]
    seed: int
    reweighted: bool = True

    def __post_init__(self) -> None:
        pi = np.asarray(self.pi)
        if not (np.all(pi > 0) and np.all(pi <= 1)):
            raise ValueError(f"pi must lie in (0, 1], not {self.pi!r}")

    def links(self, stop: int, start: int = 0) -> Array:
        """The multipliers ``xi_t`` of the links into the steps ``start <= t < stop``.

        Raises ValueError if pi has fewer than ``stop`` entries.
        """
        pi = np.asarray(self.pi, dtype=float)
        if pi.ndim:
            pi = _entries("pi", pi, start, stop)
        source = np.random.PCG64(self.seed)
        source.advance(start)  # one draw per step: any stretch of the pattern can be made on its own
        kept = np.random.Generator(source).random(stop - start) < pi
        xi = kept / pi if self.reweighted else kept.astype(float)
        if start == 0:
            xi[:1] = 1
        return xi


@dataclass(frozen=True)
class Links:
    """Truncation by the multipliers of the links, one per step.

    Parameters
    ----------
    xi : tuple of float
        The multipliers. The first, of the link from the initial state, is 1.

    Raises
    ------
    ValueError
        If the first is not 1, or a multiplier is not finite.

    Examples
    --------
    >>> weights(Links((1, 0.5, 0)), 3)
    array([[1. , 1. , 0. , 0. ],
           [0.5, 0.5, 1. , 0. ],
           [0. , 0. , 0. , 1. ]])
    """

    xi: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.xi and self.xi[0] != 1:
            raise ValueError(f"xi[0] belongs to the link from the initial state and must be 1, not {self.xi[0]!r}")
        if not all(map(math.isfinite, self.xi)):
            raise ValueError(f"xi must be finite numbers, not {self.xi}")

    def links(self, stop: int, start: int = 0) -> Array:
        """The multipliers of the steps ``start <= t < stop``. Raises ValueError if there are fewer than ``stop``."""
        return _entries("xi", np.array(self.xi, dtype=float), start, stop)


@dataclass(frozen=True)
class Blocks:
    """k1/k2 truncation: after every k1 steps, go back over k2 steps (Williams and Peng, 1990).

    Parameters
    ----------
    k1 : int
        Steps of a block, whose losses go back together.
    k2 : int
        Steps to go back over from the end of a block, the block included.

    Raises
    ------
    ValueError
        Unless ``1 <= k1 <= k2``.

    Examples
    --------
    >>> weights(Blocks(2, 3), 4)[:, 1:]
    array([[1., 0., 0., 0.],
           [1., 1., 0., 0.],
           [0., 1., 1., 0.],
           [0., 1., 1., 1.]])
    """

    k1: int
    k2: int

    def __post_init__(self) -> None:
        _check_steps("k1", self.k1)
        _check_steps("k2", self.k2)
        if self.k2 < self.k1:
            raise ValueError(f"k2 must be at least k1, but k1 = {self.k1} and k2 = {self.k2}")


@dataclass(frozen=True)
class Window:
    """Windows: every loss reaches back over tau cells, t, t-1, ..., t-tau+1.

    Parameters
    ----------
    tau : int
        Steps of a window, its own step included.

    Raises
    ------
    ValueError
        Unless ``tau >= 1``.

    Examples
    --------
    >>> weights(Window(2), 3)[:, 1:]
    array([[1., 0., 0.],
           [1., 1., 0.],
           [0., 1., 1.]])
    """

    tau: int

    def __post_init__(self) -> None:
        _check_steps("tau", self.tau)


@dataclass(frozen=True)
class Last:
    """Only the last k steps are differentiated; losses before them contribute nothing.

    Parameters
    ----------
    k : int
        How many steps.

    Raises
    ------
    ValueError
        Unless ``k >= 1``.

    Examples
    --------
    >>> weights(Last(2), 3)[:, 1:]
    array([[0., 0., 0.],
           [0., 1., 0.],
           [0., 1., 1.]])
    """

    k: int

    def __post_init__(self) -> None:
        _check_steps("k", self.k)

    def links(self, T: int) -> Array:
        """The multipliers ``xi (T,)`` of the links into each step; a cut before step T - k."""
        xi = np.ones(T)
        if self.k <= T:
            xi[T - self.k] = 0
        return xi


LinkStrategy: TypeAlias = Full | Regular | Random | Links
Strategy: TypeAlias = LinkStrategy | Blocks | Window | Last
"""Any of these records; `weights` says which contributions it keeps."""


def weights(strategy: Strategy, T: int) -> Array:
    """The triangle of weights that defines a strategy.

    Parameters
    ----------
    strategy : Strategy
        Any of the records of this module.
    T : int
        Steps of the sequence.

    Returns
    -------
    Array
        ``M (T, T+1)``: row t for the loss at t, column s + 1 for the use at step s; column 0 for the initial state.

    Raises
    ------
    ValueError
        If the strategy names the links of fewer than T steps.

    Examples
    --------
    >>> weights(Regular(2), 4)
    array([[1., 1., 0., 0., 0.],
           [1., 1., 1., 0., 0.],
           [0., 0., 0., 1., 0.],
           [0., 0., 0., 1., 1.]])
    >>> weights(Window(2), 4)
    array([[1., 1., 0., 0., 0.],
           [0., 1., 1., 0., 0.],
           [0., 0., 1., 1., 0.],
           [0., 0., 0., 1., 1.]])
    """
    t, s = np.arange(T)[:, None], np.arange(-1, T)[None, :]
    causal = s <= t
    if isinstance(strategy, Last):
        return np.where(causal & (s >= T - strategy.k), 1.0, 0.0)
    if isinstance(strategy, Window):
        strategy = Blocks(1, strategy.tau)
    if isinstance(strategy, Blocks):
        end = np.minimum((t // strategy.k1 + 1) * strategy.k1, T) - 1
        return np.where(causal & (end - s < strategy.k2), 1.0, 0.0)
    xi = strategy.links(T)
    M = np.zeros((T, T + 1))
    for row in range(T):
        M[row, row + 1] = 1
        M[row, row::-1] = np.cumprod(xi[row::-1])
    return M


def _entries(name: str, per_step: Array, start: int, stop: int) -> Array:
    if len(per_step) < stop:
        raise ValueError(f"{name} has {len(per_step)} entries, but the sequence has {stop} steps")
    return per_step[start:stop]


def _check_steps(name: str, steps: int) -> None:
    if not isinstance(steps, Integral) or steps < 1:
        raise ValueError(f"{name} must be a whole number of steps, at least 1, not {steps!r}")
