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

LOW, HIGH = 17, 36  # pixels of a commit's row: one line of text, and two where a number changed
IN_A_ROW = 4


class Commit(NamedTuple):
    number: int
    name: str  # the short hash
    date: str
    subject: str  # the first line of its message


class Change(NamedTuple):
    """What the marks of one commit come to."""

    text: str
    better: bool | None  # None: better here and worse there


class Row(NamedTuple):
    commit: Commit
    change: Change | None
    height: int


class Group(NamedTuple):
    """Panels side by side, with one list of commits, newest first."""

    rows: list[Row]
    drawn: list[tuple[str, Figure]]  # titles
    height: int


class Shown(NamedTuple):
    series: Series
    looks: Mapping[str, Look]
    groups: list[Group]
    still: list[Panel]  # nothing changed in them: their numbers are a table


def write_page(path: Path, commits: Sequence[Commit], oldest_first: Sequence[Cells], known: Mapping[str, About]) -> None:
    """Draw all series that were measured at these commits; ``known`` is asv's table of benchmarks."""
    found = all_series(oldest_first, known)
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals["number"] = number
    path.write_text(
        environment.get_template("history.html.jinja").render(
            plotly=get_plotlyjs(),
            newest=commits[-1],
            answers=answers(oldest_first[-1]),
            log=[(commit, _changed(found, at)) for at, commit in reversed(list(enumerate(commits)))],
            exact=[_shown(one, commits) for one in found if one.exact],
            timed=[_shown(one, commits) for one in found if not one.exact],
            limit=max(limit.ratio for limit in LIMITS if limit.exact) - 1,
            noise=NOISE,
        ),
        encoding="utf-8",
    )


def _shown(series: Series, commits: Sequence[Commit]) -> Shown:
    """Curves of the panels in which something may have changed, and numbers of those in which nothing did."""
    labels = {line.label: None for panel in series.panels for line in panel.lines}
    look = looks(list(labels))
    still = [panel for panel in series.panels if series.exact and not any(line.marks for line in panel.lines)]
    moving = [panel for panel in series.panels if panel not in still]
    together = (moving[k : k + IN_A_ROW] for k in range(0, len(moving), IN_A_ROW))
    return Shown(series, look, [_group(panels, series.unit, commits, look) for panels in together], still)


def _group(panels: Sequence[Panel], unit: str, commits: Sequence[Commit], look: Mapping[str, Look]) -> Group:
    changes = [change(marks_at(panels, at)) for at in range(len(commits))]
    rows = [Row(commit, moved, HIGH if moved else LOW) for commit, moved in zip(commits, changes, strict=True)]
    heights, names = [row.height for row in rows], [f"{c.number} {c.subject}" for c in commits]
    drawn = [(panel.title, by_commit(panel, unit, heights, names, look)) for panel in panels]
    return Group(rows[::-1], drawn, sum(heights))


def _changed(found: Iterable[Series], at: int) -> list[tuple[Series, Change]]:
    """What a commit changed, by series."""
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


def number(line: Line) -> str:
    """The newest number of a line, with its standard error."""
    error = f" ± {line.errors[-1]:.1g}" if line.errors[-1] else ""
    return ("" if line.newest is None else f"{line.newest:,.0f}" if line.newest >= 1000 else f"{line.newest:.3g}") + error


def written(ratio: float) -> str:
    """A ratio of new to old, for the eye: −34 %, +12 %, ×2.5."""
    if math.isinf(ratio) or ratio >= 2:
        return f"×{ratio:.1f}"
    return f"{ratio - 1:+.0%}".replace("-", "−").replace("%", "\N{NARROW NO-BREAK SPACE}%")
