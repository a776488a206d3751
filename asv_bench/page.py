"""One page, in one file that needs no network: the strategies, the commits, and each series along the commits."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from asv_runs import HERE, Cells
from figures import Figure, Look, by_commit, looks
from jinja2 import Environment, FileSystemLoader
from limits import LIMITS
from marks import NOISE, Mark
from plotly.offline import get_plotlyjs
from series import About, Line, Panel, Series, all_series
from strategies import answers

LOW, HIGH = 17, 50  # pixels of a commit's row: one line of text, and three where a number changed
IN_A_ROW = 4


class Commit(NamedTuple):
    number: int
    name: str  # the short hash
    date: str
    subject: str  # the first line of its message


class Change(NamedTuple):
    """The sum of the marks of one commit."""

    text: str
    better: bool | None  # None: better here and worse there


class Row(NamedTuple):
    commit: Commit
    change: Change | None
    height: int


class Drawn(NamedTuple):
    title: str
    rows: list[Row]  # newest first
    figure: Figure


class Group(NamedTuple):
    """Panels side by side, whose rows have the same heights."""

    rows: list[Row]  # the findings of all panels together
    panels: list[Drawn]
    height: int


class Table(NamedTuple):
    columns: list[str]
    rows: dict[str, list[str]]


class Shown(NamedTuple):
    series: Series
    looks: Mapping[str, Look]
    groups: list[Group]
    still: Table | None  # the numbers of the panels in which nothing changed


def write_page(path: Path, history: Mapping[Commit, Cells], known: Mapping[str, About]) -> None:
    """Draw all series that were measured at commits, oldest first; ``known`` is asv's table of benchmarks."""
    log, oldest_first = list(history), list(history.values())
    found = all_series(oldest_first, known)
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    path.write_text(
        environment.get_template("history.html.jinja").render(
            plotly=get_plotlyjs(),
            newest=log[-1],
            answers=answers(oldest_first[-1]),
            log=[(commit, _changed(found, at)) for at, commit in reversed(list(enumerate(log)))],
            exact=[_shown(one, log) for one in found if one.exact],
            timed=[_shown(one, log) for one in found if not one.exact],
            limit=max(limit.ratio for limit in LIMITS if limit.exact) - 1,
            noise=NOISE,
        ),
        encoding="utf-8",
    )


def _shown(series: Series, commits: Sequence[Commit]) -> Shown:
    """Curves of the panels in which something may have changed, and numbers of the panels in which nothing did."""
    labels = {line.label: None for panel in series.panels for line in panel.lines}
    look = looks(list(labels))
    still = [panel for panel in series.panels if series.exact and not any(line.marks for line in panel.lines)]
    moving = [panel for panel in series.panels if panel not in still]
    together = (moving[k : k + IN_A_ROW] for k in range(0, len(moving), IN_A_ROW))
    return Shown(series, look, [_group(panels, series.unit, commits, look) for panels in together], table(still))


def _group(panels: Sequence[Panel], unit: str, commits: Sequence[Commit], look: Mapping[str, Look]) -> Group:
    heights = [HIGH if marks_at(panels, at) else LOW for at in range(len(commits))]
    names = [f"{commit.number} {commit.subject}" for commit in commits]

    def rows(shown: Sequence[Panel]) -> list[Row]:
        places = reversed(list(enumerate(zip(commits, heights, strict=True))))
        return [Row(commit, change(marks_at(shown, at)), height) for at, (commit, height) in places]

    drawn = [Drawn(panel.title, rows([panel]), by_commit(panel, unit, heights, names, look)) for panel in panels]
    return Group(rows(panels), drawn, sum(heights))


def _changed(found: Iterable[Series], at: int) -> list[tuple[Series, Change]]:
    """The changes of a commit, by series."""
    changes = ((series, change(marks_at(series.panels, at))) for series in found)
    return [(series, moved) for series, moved in changes if moved]


def marks_at(panels: Iterable[Panel], at: int) -> list[Mark]:
    return [mark for panel in panels for line in panel.lines for mark in line.marks if mark.at == at]


def change(marks: Sequence[Mark]) -> Change | None:
    """From the smallest ratio to the largest."""
    if not marks:
        return None
    ratios = sorted(mark.ratio for mark in marks)
    ends = dict.fromkeys(written(ratio) for ratio in (ratios[0], ratios[-1]))
    better = {ratio < 1 for ratio in ratios}
    return Change(" to ".join(ends), better.pop() if len(better) == 1 else None)


def table(panels: Sequence[Panel]) -> Table | None:
    """The newest numbers of lines by panel, or of panels by line, whichever has fewer columns."""
    numbers = {(panel.title, line.label): number(line) for panel in panels for line in panel.lines}
    if not numbers:
        return None
    rows, columns = (list(dict.fromkeys(names)) for names in zip(*numbers, strict=True))
    if len(columns) > len(rows):
        numbers, rows, columns = {key[::-1]: text for key, text in numbers.items()}, columns, rows
    return Table(columns, {row: [numbers.get((row, column), "") for column in columns] for row in rows})


def number(line: Line) -> str:
    """The newest number of a line, with its standard error."""
    known = [(reading, error) for reading, error in zip(line.readings, line.errors, strict=True) if reading is not None]
    reading, error = known[-1]
    return f"{reading:{',.0f' if reading >= 1000 else '.3g'}}" + (f" ± {error:.1g}" if error else "")


def written(ratio: float) -> str:
    """A ratio of new to old, for the eye: −34 %, +12 %, ×2.5."""
    if math.isinf(ratio) or ratio >= 2:
        return f"×{ratio:.1f}"
    return f"{ratio - 1:+.0%}".replace("-", "−").replace("%", "\N{NARROW NO-BREAK SPACE}%")
