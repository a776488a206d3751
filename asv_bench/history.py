"""The last commits that touch the reference, measured and drawn: three numbers and a page of curves.

    tox -e bench-history -- 6

What was measured before is kept and not measured again. ``0 --machine reference-machine`` measures nothing and draws
the history that comes with the repository.
"""

import math

import click
from asv_runs import HERE, RESULTS, Cell, Cells, git, measure, measured, refuse
from limits import changes
from page import write_page

PAGE = HERE / ".asv" / "history.html"


def commits(number: int) -> list[str]:
    """The last commits that touch the reference, of those that can be installed."""
    touching = git("log", "--format=%H", "--", ":/reference").split()
    return [commit for commit in touching if git("ls-tree", "--full-tree", commit, "pyproject.toml")][:number]


def headlines(history: dict[str, Cells]) -> list[str]:
    """Three sentences about the newest commit."""
    newest, *older = history
    cells = history[newest]

    def value(benchmark: str, *parameters: object) -> float:
        return cells.get(Cell(benchmark, tuple(map(repr, parameters)))) or math.nan

    ratios = {cell: value("speed.Gradient.track_over_products", "full", cell) for cell in ("rnn", "lstm", "gru")}
    kept = {name: value("memory.Traced.track_states_kept", name, 1024) for name in ("full", "regular")}
    sentences = [
        "CPU time over bare matrix products, full BPTT: " + ", ".join(f"{c} {r:.2f}" for c, r in ratios.items()),
        "states kept per step, T = 1024: " + ", ".join(f"{name} {k:.3f}" for name, k in kept.items()),
    ]
    if not older:
        return sentences
    moved = [c for c in changes(history[older[0]], cells) if c.after and abs(c.after - c.before) > c.limit.amount]
    largest = max(moved, key=lambda change: abs(math.log(change.ratio)), default=None)
    was = f"{largest.cell} x{largest.ratio:.2f}" if largest else "none above what limits.py lets pass"
    return [*sentences, f"largest change against the commit before: {was}"]


@click.command()
@click.argument("number", type=click.IntRange(0), default=6)
@click.option("--machine", default="this-machine", show_default=True, help="The folder of results.")
@click.option("--bench", "-b", "pattern", default=".", help="Only benchmarks that match this regular expression.")
def main(number: int, machine: str, pattern: str) -> None:
    """Measure the last NUMBER commits that touch the reference; draw all that are measured."""
    if number:
        try:
            measure(commits(number), RESULTS, machine, pattern, "--skip-existing-successful")
        except RuntimeError as error:
            refuse(str(error))
    if not (RESULTS / machine).is_dir():
        refuse(f"nothing is measured on {machine} yet")
    history = measured(RESULTS, machine)
    sentences = headlines(history)
    PAGE.parent.mkdir(exist_ok=True)
    write_page(PAGE, history, sentences)
    click.echo("\n".join([*sentences, PAGE.as_uri()]))


if __name__ == "__main__":
    main()
