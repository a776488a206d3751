"""The last commits that touch the reference, measured and drawn: three sentences and a page of curves.

    tox -e bench-history -- 6

Earlier measurements are kept, in ``.asv``, and not repeated. ``0 --machine reference-machine`` measures
nothing and draws the history that comes with the repository.
"""

import json

import click
from asv_runs import HERE, RESULTS, git, measure, measured, refuse
from page import Commit, write_page
from strategies import answers

PAGE = HERE / ".asv" / "history.html"
STORED = "reference-machine"  # whose results come with the repository


def commits(number: int) -> list[str]:
    """The last commits that touch the reference and can be installed."""
    touching = git("log", "--format=%H", "--", ":/reference").split()
    return [commit for commit in touching if git("ls-tree", "--full-tree", commit, "pyproject.toml")][:number]


def described(number: int, commit: str) -> Commit:
    """A commit under a number, in git's words."""
    return Commit(number, *git("log", "-1", "--format=%h%x00%cs%x00%s", commit).split("\0"))


@click.command()
@click.argument("number", type=click.IntRange(0), default=6)
@click.option("--machine", default="this-machine", show_default=True, help="The folder of results.")
@click.option("--bench", "-b", "pattern", default=".", help="Only benchmarks that match this regular expression.")
def main(number: int, machine: str, pattern: str) -> None:
    """Measure the last NUMBER commits that touch the reference; draw all that are measured."""
    results = RESULTS if machine == STORED else HERE / ".asv" / "results"
    if number:
        try:
            measure(commits(number), results, machine, pattern, "--skip-existing-successful")
        except RuntimeError as error:
            refuse(str(error))
    if not (results / machine).is_dir():
        refuse(f"nothing is measured on {machine} yet")
    oldest_first = reversed(measured(results, machine).items())
    history = {described(number, commit): cells for number, (commit, cells) in enumerate(oldest_first, 1)}
    PAGE.parent.mkdir(exist_ok=True)
    write_page(PAGE, history, json.loads((results / "benchmarks.json").read_text()))
    sentences = [answer.sentence for answer in answers(list(history.values())[-1])]
    click.echo("\n".join([*sentences, PAGE.as_uri()]))


if __name__ == "__main__":
    main()
