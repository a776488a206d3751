"""A study: the models that are trained, and the gradients that are measured.

Three sets of jobs, all by name in one folder:

    all-*      each strategy on the whole text, several seeds: learning curves
    little-*   full and regular on only the beginning of the text, until they know it by heart: who overfits?
    quality-*  bias, variance and price of each strategy's gradient, at the parameters that full BPTT reached
    reach-*    the part that a window of k cells misses, at parameters reached by full BPTT and by the shortest segments
"""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from bpttcheck.studies.jobs import Result, run
from bpttcheck.studies.strategies.quality import Quality
from bpttcheck.studies.strategies.text import Text
from bpttcheck.studies.strategies.training import Model, Training
from bpttcheck.versions import own_version

Progress: TypeAlias = Callable[[int, int, str], None]  # how many jobs are done, of how many, and the last one


class Contender(NamedTuple):
    """A strategy with its length of segments, exact or mean; of full BPTT that is T."""

    strategy: str
    window: int

    @property
    def label(self) -> str:
        return self.strategy if self.strategy == "full" else f"{self.strategy}-{self.window}"


@dataclass(frozen=True)
class Study:
    """Settings. little: characters of the short text. minibatches: gradients per quality. seed: the first of all."""

    model: Model
    windows: tuple[int, ...]
    steps: int
    rate: float
    seeds: int
    little: int
    minibatches: int
    seed: int

    @property
    def contenders(self) -> list[Contender]:
        truncated = [Contender(strategy, w) for strategy in ("regular", "random") for w in self.windows]
        return [Contender("full", self.model.T), *truncated]

    @property
    def observed(self) -> list[Contender]:
        """The contenders whose trained models are measured: how far back do they look?"""
        return [self.contenders[0], self.contenders[1]]

    @property
    def lags(self) -> list[int]:
        """Windows with which the reach of a model is measured: powers of two below T."""
        return [2**k for k in range(self.model.T.bit_length()) if 2**k < self.model.T]

    def trainings(self, text: Text) -> list[Training]:
        """The jobs of learning."""
        few = text.beginning(self.little)
        sets = {"all": (text, self.contenders), "little": (few, [c for c in self.contenders if c.strategy != "random"])}
        return [
            Training(f"{name}-{c.label}-seed-{seed}", self.model, of, *c, seed, self.steps, self.rate)
            for seed in range(self.seed, self.seed + self.seeds)  # seed by seed: an interruption leaves whole sets
            for name, (of, contenders) in sets.items()
            for c in contenders
        ]

    def qualities(self, text: Text, trained: Mapping[str, Result]) -> list[Quality]:
        """The jobs of measuring, at parameters that training reached."""

        def job(name: str, of: Contender, strategy: str, window: int) -> Quality:
            at = trained[f"all-{of.label}-seed-{self.seed}"]
            parameters = {key: array for key, array in at.items() if key.startswith(("W_", "b_"))}
            return Quality(name, self.model, text, parameters, strategy, window, self.seed, self.minibatches)

        by_full = [job(f"quality-{c.label}", self.contenders[0], *c) for c in self.contenders]
        reaches = [job(f"reach-{k}-of-{c.label}", c, "window", k) for c in self.observed for k in self.lags]
        return by_full + reaches

    def results(self, text: Text, folder: Path, pool: Executor, progress: Progress) -> dict[str, Result]:
        """Run the jobs that are not on file yet. Raises as `bpttcheck.studies.jobs.run` does."""
        trainings = self.trainings(text)
        total = len(trainings) + len(self.contenders) + len(self.observed) * len(self.lags)
        names: list[str] = []

        def finished(name: str) -> None:
            names.append(name)
            progress(len(names), total, name)

        trained = run(trainings, folder, pool, finished)
        return trained | run(self.qualities(text, trained), folder, pool, finished)

    def claim(self, folder: Path, text: Text) -> None:
        """Make the folder this study's, or go on with it; it may have more seeds and windows than before.

        Raises ValueError if it holds another study, OSError if it cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "study.json"
        made_by = {"text": text.name, "digest": text.digest, "bpttcheck": own_version()}
        settings = {**asdict(self), **made_by}
        for grows in ("seeds", "windows"):
            del settings[grows]
        if not file.exists():
            file.write_text(json.dumps(settings, indent=1) + "\n")
            return
        try:
            found = json.loads(file.read_text())
        except json.JSONDecodeError:
            found = None
        if found != settings:
            raise ValueError(f"{folder} holds a study with other settings, text or version; choose another --output")
