"""The matrix as a picture: implementations by families of laws. Broken laws catch the eye first."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bpttcheck.laws import LAWS
from bpttcheck.reporting.matrix.counts import STATUSES, version
from bpttcheck.running.results import BAD, Result, Status
from bpttcheck.running.run import Run
from bpttcheck.studies.pictures import COLOURS, new_figure

_OTHERS = "other"  # laws of another version of bpttcheck
_LOOKS: dict[Status, tuple[str, str]] = {
    "passed": ("#d9ebe4", "passed: how many laws, by cell and dtype"),
    "failed": ("black", "failed: how many"),
    "known": (COLOURS[1], "known failures: how many"),
    "vacuous": ("#f1e6c8", "vacuous: nothing was proved"),
    "skipped": ("none", "empty: not supported, so not run"),
}  # the colour of a place, and its meaning


def draw_matrix(file: Path, runs: Sequence[Run]) -> None:
    """Draw it into a file. Raises ImportError without matplotlib."""
    records = [record for run in runs for record in run.targets]
    families = {law.id: law.family for law in LAWS}
    met = {families.get(result.law, _OTHERS) for record in records for result in record.results}
    columns = [family for family in dict.fromkeys([*families.values(), _OTHERS]) if family in met]
    figure = new_figure(2.6 + 0.42 * len(columns), 1.8 + 0.3 * len(records))
    axes = figure.subplots()
    used: set[Status] = set()
    for row, record in enumerate(records):
        for column, family in enumerate(columns):
            results = [result for result in record.results if families.get(result.law, _OTHERS) == family]
            used.add(_draw_place(axes, column, row, results))
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(records) - 0.5, -0.5), xlabel="family of laws")
    axes.set_xticks(range(len(columns)), columns, rotation=90)
    axes.set_yticks(range(len(records)), [f"{record.target} {version(record)}".strip() for record in records])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    _explain(figure, used)
    figure.savefig(file)


def _draw_place(axes: Any, column: int, row: int, results: Iterable[Result]) -> Status:
    """The status that must be seen first, and how many results have it; failures of any kind count as failed."""
    from matplotlib.patches import Rectangle

    plain: list[Status] = ["failed" if r.status in BAD else r.status for r in results]
    seen: list[Status] = [status if status in _LOOKS else "vacuous" for status in plain]
    first: Status = min(seen, key=STATUSES.index) if seen else "skipped"
    colour, _ = _LOOKS[first]
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor="#bbbbbb", linewidth=0.5))
    if first in ("passed", "failed", "known"):
        broken = (
            {"color": "white", "weight": "bold"} if first != "passed" else {"color": "#555555", "fontsize": "small"}
        )
        axes.text(column, row, seen.count(first), ha="center", va="center", **broken)
    return first


def _explain(figure: Any, used: set[Status]) -> None:
    from matplotlib.patches import Patch

    shown = [look for status, look in _LOOKS.items() if status in used]
    patches = [Patch(facecolor=colour, edgecolor="#bbbbbb", label=meaning) for colour, meaning in shown]
    figure.legend(handles=patches, loc="outside upper center", ncols=2, frameon=False)
