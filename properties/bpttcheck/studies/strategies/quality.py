"""How good is one gradient of a strategy, at given parameters, and how much does it cost?

With ``g`` the full gradient of a random minibatch and ``s`` the strategy's gradient of the same one,

    E |s - E g|^2  =  |E (s - g)|^2  +  E |s - E s|^2            squared error = bias^2 + variance

all over ``|E g|^2``. Full BPTT has no bias, but the variance of its minibatches; the further squared error of a
strategy is its excess. Squared norms of means are estimated without bias, from pairs of different minibatches, so they
may come out below zero; standard errors are the jackknife's.
"""

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bpttcheck.studies.strategies.text import Text
from bpttcheck.studies.strategies.training import Model, Parameters, strategy
from bpttref import Full
from bpttref.arrays import Array

_PEAKS = 8  # gradients whose memory is measured


@dataclass(frozen=True, eq=False)
class Quality:
    """A job: measure one strategy at ``parameters``, by gradients of ``minibatches`` that all strategies see."""

    name: str
    model: Model
    text: Text
    parameters: Parameters
    strategy: str
    window: int
    seed: int
    minibatches: int

    def run(self) -> dict[str, Array]:
        """Pairs (value, standard error).

        ``bias2``, ``variance`` and ``excess`` of the squared error, relative to the squared norm of the mean gradient;
        ``cosine_loss``, 1 - cosine of the angle to the full gradient of the same minibatch; ``bytes`` at the peak of a
        call, above its start; ``seconds``, the CPU time of a call for each of its T steps; ``time``, the ratio of that
        time to the time of full BPTT immediately before, which depends less on other work of the machine.
        """
        rng, peaks, seconds, ratios = np.random.default_rng([self.seed, 2]), [], [], []
        full: list[Array] = []
        found: list[Array] = []
        for k in range(self.minibatches):
            x, targets = self.text.sequences(rng, self.model.T, self.model.B)
            by = strategy(self.strategy, self.window, int(rng.integers(2**32)))
            times = [time.thread_time()]
            for gradients, each in ((full, Full()), (found, by)):
                gradients.append(_flat(self.model.gradient(self.parameters, x, targets, each)))
                times.append(time.thread_time())
            of_full, own = np.diff(times)
            seconds.append(own / self.model.T)
            ratios.append(own / of_full)
            if k < _PEAKS:
                tracemalloc.start()
                self.model.gradient(self.parameters, x, targets, by)
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
        statistics = compared(np.array(full), np.array(found))
        prices = {"bytes": peaks, "seconds": seconds, "time": ratios}
        return statistics | {name: mean_and_error(np.array(samples)) for name, samples in prices.items()}


def compared(full: Array, found: Array) -> dict[str, Array]:
    """The first four pairs of a `Quality`: gradients ``found (K, P)`` next to ``full (K, P)`` of K > 2 minibatches."""
    norm, bias, own = (a @ a.T for a in (full, found - full, found))

    def bias2(kept: Array) -> float:
        return _between(bias[kept][:, kept]) / _between(norm[kept][:, kept])

    def variance(kept: Array, products: Array = own) -> float:
        pairs = products[kept][:, kept]
        return float(np.diag(pairs).mean() - _between(pairs)) / _between(norm[kept][:, kept])

    cosines = np.einsum("kp,kp->k", full, found) / np.sqrt(np.diag(norm) * np.diag(own))
    K = len(full)
    return {
        "bias2": jackknife(bias2, K),
        "variance": jackknife(variance, K),
        "excess": jackknife(lambda kept: bias2(kept) + variance(kept) - variance(kept, norm), K),
        "cosine_loss": mean_and_error(1 - cosines),
    }


def jackknife(statistic: Callable[[Array], float], K: int) -> Array:
    """A statistic of the samples ``0 .. K-1`` with its standard error (Quenouille, 1956; Tukey, 1958)."""
    everything = np.arange(K)
    without_one = np.array([statistic(np.delete(everything, k)) for k in range(K)])
    return np.array([statistic(everything), np.sqrt((K - 1) * without_one.var())])


def mean_and_error(samples: Array) -> Array:
    """The mean with its standard error, over the first axis: ``(2, ...)``; the error of a single sample is NaN."""
    K = len(samples)
    spread = samples.std(axis=0, ddof=1) / np.sqrt(K) if K > 1 else np.full(samples.shape[1:], np.nan)
    return np.array([samples.mean(axis=0), spread])


def _between(products: Array) -> float:
    """The mean product of different samples, an unbiased estimate of the squared norm of their expectation."""
    K = len(products)
    return float((products.sum() - np.trace(products)) / (K * (K - 1)))


def _flat(gradient: Parameters) -> Array:
    return np.concatenate([array.ravel() for array in gradient.values()])
