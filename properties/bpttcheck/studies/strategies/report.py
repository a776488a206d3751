"""A study in the terminal and as JSON."""

import json
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from bpttcheck.studies.strategies.findings import Findings, answers
from bpttcheck.studies.strategies.quality import mean_and_error
from bpttcheck.studies.strategies.text import Text
from bpttcheck.studies.strategies.training import strategy
from bpttref import weights
from bpttref.arrays import Array

SHOWN = 32  # characters of a text in the picture of cuts
_PLAIN: dict[str, Any] = {"markup": False, "highlight": False}


def cuts(M: Array) -> list[int]:
    """The steps that `bpttref.weights` ``M (T, T+1)`` cuts off from the step before: nothing passes that link."""
    return [s for s in range(1, len(M)) if M[s, s] == 0]


def triangles(window: int, seed: int) -> dict[str, Array]:
    """The matrix M of each strategy over the first `SHOWN` steps, in the order of the book's figure (D2L 9.7.1.4)."""
    return {kind: weights(strategy(kind, window, seed), SHOWN) for kind in ("random", "regular", "full")}


def print_cuts(console: Console, text: Text, window: int, seed: int) -> None:
    """The first characters of a text, as each strategy cuts them."""
    written = text.written(SHOWN)
    for kind, M in triangles(window, seed).items():
        edges = [0, *cuts(M), SHOWN]
        pieces = "|".join(written[a:b] for a, b in zip(edges, edges[1:], strict=False))
        console.print(f"  {kind:8} |{pieces}|", **_PLAIN, soft_wrap=True)


def print_tables(console: Console, found: Findings) -> None:
    """One table of gradients, one of the trained models."""
    model, study = found.study.model, found.study
    gradients = _table(
        f"one gradient, at the parameters that full BPTT reached ({study.minibatches} minibatches)",
        ("bias^2", "variance", "excess", "1 - cosine"),
    )
    prices = _table("what it costs", ("peak KiB", "CPU us a step", "time / full"))
    for contender, measured in found.quality.items():
        relative = (_pair(measured[name]) for name in ("bias2", "variance", "excess", "cosine_loss"))
        gradients.add_row(contender.label, *relative)
        scaled = measured["bytes"] / 1024, 1e6 * measured["seconds"], measured["time"]
        prices.add_row(contender.label, *map(_pair, scaled))
    learned = _table(
        f"after {study.steps} steps, T = {model.T}, {study.seeds} seeds: loss in nats a character",
        ("held-out", f"at {found.budget:.0f} CPU s", "less training", f"on {study.little}"),
    )
    for contender, curves in found.curves.items():
        ends = [curves.end(), curves.within(found.budget), curves.overfitting()]
        ends += [found.little[contender].overfitting()] if contender in found.little else []
        learned.add_row(contender.label, *(_pair(mean_and_error(end)) for end in ends))
    for table in (gradients, prices, learned):
        console.print("", table)
    for note in (
        "± is a standard error. Bias^2 and variance are relative to the squared norm of the mean gradient. Excess: by "
        "how much their sum, the squared error of one gradient, exceeds the error of full BPTT.",
        "Losses are means over the last quarter of the steps, or of the CPU time. Less training: by how much the "
        f"held-out loss exceeds the loss on the learned text; on {study.little}: the same for so many characters.",
    ):
        console.print(f"\n{textwrap.fill(note, min(console.width, 100))}", **_PLAIN)


def print_answers(console: Console, found: Findings) -> None:
    """The chapter's question and its reasons."""
    for question, answer in answers(found).items():
        console.print(f"\n[bold]{question}[/]", highlight=False)
        console.print(textwrap.fill(answer, min(console.width, 100)), **_PLAIN)


def write_json(file: Path, found: Findings) -> None:
    """All findings, in nats, bytes and seconds."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {getattr(key, "label", key): plain(v) for key, v in value.items()}
        return value.tolist() if isinstance(value, np.ndarray) else value

    written = {
        "study": asdict(found.study),
        "curves": {contender: vars(curves) for contender, curves in found.curves.items()},
        "little": {contender: vars(curves) for contender, curves in found.little.items()},
        "quality": found.quality,
        "reach": {"lags": found.study.lags} | {contender.label: missed for contender, missed in found.reach.items()},
        "answers": answers(found),
    }
    file.write_text(json.dumps(plain(written), indent=1) + "\n")


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table("", title=title, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _pair(pair: Array) -> str:
    """A value with its standard error, in the digits that the error leaves."""
    value, error = pair.tolist()
    if max(abs(value), error) < 1e-12:
        return "0"
    if error < 1e-4 * abs(value):
        return f"{value:.4g}"
    digits = max(0, -int(np.floor(np.log10(error))))
    return f"{value:.{digits}f} ± {error:.{digits}f}" if digits < 5 else f"{value:.0e} ± {error:.0e}"
