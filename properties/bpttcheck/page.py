"""A verdict as one page that needs no network, for a person; the template is `verdict.html.jinja` beside this file."""

from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from bpttcheck.explanation import Explanation
from bpttcheck.laws import LAWS
from bpttcheck.record import Run
from bpttcheck.report import reasons
from bpttcheck.verdict import BAD, Result, summary

if TYPE_CHECKING:
    from jinja2 import Template


def blank_page(name: str) -> "Template":
    """The template ``{name}.html.jinja``. Raises ImportError, with a sentence, without Jinja."""
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError as error:
        raise ImportError("a page needs Jinja: python -m pip install 'bpttcheck[html]'") from error
    environment = Environment(
        loader=FunctionLoader(lambda file: files("bpttcheck").joinpath(file).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(f"{name}.html.jinja")


def to_html(run: Run, explained: Sequence[Explanation]) -> str:
    """The page: a sentence, a table a subject and dtype, what was not judged, and each failure with what shows it."""
    results = run.results
    subjects = list(dict.fromkeys(result.subject for result in results))
    return blank_page("verdict").render(
        run=run,
        verdict=_verdict(results, run.interrupted),
        summary=summary(results),
        tables=[_table(results, subject, dtype) for subject in subjects for dtype in _dtypes(results, subject)],
        reasons={subject: list(reasons([r for r in results if r.subject == subject])) for subject in subjects},
        explained=explained,
        statements={law.id: law.statement for law in LAWS},
    )


def _verdict(results: Sequence[Result], interrupted: bool) -> str:
    bad = {result.subject for result in results if result.status in BAD}
    if not any(result.status == "passed" for result in results) and not bad:
        said = "Nothing was judged"
    else:
        said = f"Broken: {', '.join(sorted(bad))}" if bad else "No law that was asked is broken"
    return f"Interrupted. {said} so far" if interrupted else said


def _dtypes(results: Sequence[Result], subject: str) -> list[str]:
    return list(dict.fromkeys(result.dtype for result in results if result.subject == subject))


def _table(results: Sequence[Result], subject: str, dtype: str) -> dict[str, object]:
    """A caption, the cells, and by law a result for each cell or None."""
    chosen = [result for result in results if (result.subject, result.dtype) == (subject, dtype)]
    cells = list(dict.fromkeys(result.cell for result in chosen))
    by_place = {(result.law, result.cell): result for result in chosen}
    laws = dict.fromkeys(result.law for result in chosen)
    rows = {law: [by_place.get((law, cell)) for cell in cells] for law in laws}
    return {"caption": f"{subject}, {dtype}", "cells": cells, "rows": rows}
