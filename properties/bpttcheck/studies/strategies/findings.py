"""The findings of a study: each contender's numbers over the seeds, and answers in words.

The end of a training is the mean over its last quarter, because single points of plain gradient descent jump.
Differences are paired: both sides of a seed start from the same parameters and see the same sequences. "Better" and
"worse" mean by more than three standard errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bpttcheck.studies.jobs import Result
from bpttcheck.studies.strategies.quality import mean_and_error
from bpttcheck.studies.strategies.study import Contender, Study
from bpttref.arrays import Array

_SURE = 3


@dataclass(frozen=True, eq=False)
class Curves:
    """Learning curves of one contender over seeds: step ``(R,)``, the others ``(seeds, R)``, losses in nats."""

    step: Array
    seconds: Array
    training: Array
    held_out: Array

    def end(self) -> Array:
        """The held-out loss of each seed over the last quarter of the steps: ``(seeds,)``."""
        return _last_quarter(self.held_out)

    def overfitting(self) -> Array:
        """Held-out minus training loss over the last quarter: ``(seeds,)``."""
        return _last_quarter(self.held_out - self.training)

    def within(self, budget: float) -> Array:
        """The held-out loss of each seed over the last quarter of ``budget`` seconds of CPU time: ``(seeds,)``."""
        return _last_quarter(self.at(np.linspace(0, budget, self.step.size)))

    def at(self, seconds: Array) -> Array:
        """The held-out loss of each seed after so much CPU time: ``(seeds, R)``."""
        pairs = zip(self.seconds, self.held_out, strict=True)
        return np.array([np.interp(seconds, own, held_out) for own, held_out in pairs])


@dataclass(frozen=True, eq=False)
class Findings:
    """curves: on the whole text. little: on its beginning. quality: see `Quality.run`. reach: by trained contender."""

    study: Study
    curves: Mapping[Contender, Curves]
    little: Mapping[Contender, Curves]
    quality: Mapping[Contender, Result]
    reach: Mapping[Contender, Array]

    @property
    def budget(self) -> float:
        """Seconds of CPU time that every training took at least."""
        return min(float(curves.seconds[:, -1].min()) for curves in self.curves.values())


def findings(study: Study, results: Mapping[str, Result]) -> Findings:
    """Sort the results of a whole study."""

    def curves(group: str, contender: Contender) -> Curves:
        seeds = range(study.seed, study.seed + study.seeds)
        each = [results[f"{group}-{contender.label}-seed-{seed}"] for seed in seeds]
        stacked = (np.stack([one[name] for one in each]) for name in ("seconds", "training", "held_out"))
        return Curves(each[0]["step"], *stacked)

    return Findings(
        study,
        {c: curves("all", c) for c in study.contenders},
        {c: curves("little", c) for c in study.contenders if c.strategy != "random"},
        {c: results[f"quality-{c.label}"] for c in study.contenders},
        {
            c: np.stack([results[f"reach-{lag}-of-{c.label}"]["bias2"] for lag in study.lags], axis=1)
            for c in study.observed
        },
    )


def answers(found: Findings) -> dict[str, str]:
    """The chapter's question and its three reasons, each with the measurements."""
    return {
        "Does random truncation beat regular?": _random_beside_regular(found),
        "Do a few steps back suffice?": _few_steps(found),
        "Does the variance outweigh the accuracy?": _variance(found),
        "Do short segments regularise?": _regularised(found),
    }


def _random_beside_regular(found: Findings) -> str:
    steps, seconds = [], []
    for window in found.study.windows:
        random, regular = (found.curves[Contender(strategy, window)] for strategy in ("random", "regular"))
        steps.append(f"{_compared(random.end() - regular.end())} at {window}")
        seconds.append(f"{_compared(random.within(found.budget) - regular.within(found.budget))} at {window}")
    return (
        f"Random less regular, held-out loss in nats at equal steps: {', '.join(steps)}; "
        f"at equal CPU time: {', '.join(seconds)}."
    )


def _few_steps(found: Findings) -> str:
    full, *truncated = [c for c in found.study.contenders if c.strategy != "random"]
    reached = {lag: root(pair)[0] for lag, pair in zip(found.study.lags, found.reach[full].T, strict=True)}
    missed = [f"{share:.1%} beyond {lag}" for lag, share in reached.items() if share >= 0.001]
    said = [f"{_compared(found.curves[c].end() - found.curves[full].end())} at {c.window}" for c in truncated]
    return (
        f"Of the gradient's norm a window misses {', '.join(missed)} cells. "
        f"Regular less full, held-out loss at equal steps: {', '.join(said)}."
    )


def _variance(found: Findings) -> str:
    said = []
    for window in found.study.windows:
        random, regular = (found.quality[Contender(strategy, window)]["excess"] for strategy in ("random", "regular"))
        error = float(np.hypot(random[1], regular[1]))
        said.append(f"{_judged(float(random[0] - regular[0]), error, 'smaller', 'larger')} at {window}")
    own = found.quality[found.study.contenders[0]]["variance"][0]
    return (
        f"Squared error of one gradient over the squared norm, random less regular: {', '.join(said)}. "
        f"The minibatches of full BPTT have a variance of {own:.3f}."
    )


def _regularised(found: Findings) -> str:
    full, *truncated = found.little.values()
    windows, gap = found.study.windows, full.overfitting()
    smaller = [_compared(curves.overfitting() - gap, "smaller", "larger") for curves in truncated]
    better = [_compared(curves.end() - full.end()) for curves in truncated]
    said, held_out = ([f"{a} at {w}" for a, w in zip(of, windows, strict=True)] for of in (smaller, better))
    return (
        f"On {found.study.little} characters full BPTT ends {gap.mean():.2f} nats worse on the held-out text than on "
        f"what it learned. Regular less full, this gap: {', '.join(said)}; held-out loss: {', '.join(held_out)}."
    )


def _last_quarter(records: Array) -> Array:
    return np.asarray(records[:, -(-3 * records.shape[1] // 4) :].mean(axis=1))


def root(square: Array) -> tuple[float, float]:
    """From the estimate of a square and its standard error to the estimate of the root; an estimate below zero
    counts as 0."""
    value = float(np.sqrt(max(square[0], 0.0)))
    return value, float(square[1] / (2 * value)) if value else float(np.sqrt(square[1]))


def _compared(differences: Array, less: str = "better", more: str = "worse") -> str:
    """A mean difference over seeds, and its meaning in words."""
    mean, error = mean_and_error(differences).tolist()
    return _judged(mean, error, less, more)


def _judged(difference: float, error: float, less: str, more: str) -> str:
    verdict = "no different" if not abs(difference) > _SURE * error else less if difference < 0 else more
    return f"{difference:+.3f} ± {error:.3f} ({verdict})"
