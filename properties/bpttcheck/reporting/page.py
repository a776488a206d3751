"""A verdict as one page that needs no network; the template is `verdict.html.jinja` next to this file."""

from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from bpttcheck.explaining.explanation import Explanation
from bpttcheck.laws import LAWS
from bpttcheck.reporting.text import reasons
from bpttcheck.running.results import BAD, Result, summary
from bpttcheck.running.run import Run

if TYPE_CHECKING:
    from jinja2 import Template


def blank_page(name: str) -> "Template":
    """The template ``{name}.html.jinja`` of this folder. Raises ImportError, with a sentence, without Jinja."""
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError as error:
        raise ImportError("a page needs Jinja: python -m pip install 'bpttcheck[html]'") from error
    environment = Environment(
        loader=FunctionLoader(lambda file: files("bpttcheck.reporting").joinpath(file).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(f"{name}.html.jinja")


def to_html(run: Run, explained: Sequence[Explanation]) -> str:
    """The page: a sentence, each failure with the files that repeat it, a table for each implementation, and the
    untested laws."""
    results = run.results
    subjects = list(dict.fromkeys(result.subject for result in results))
    return blank_page("verdict").render(
        run=run,
        verdict=_verdict(results, run.interrupted),
        summary=summary(results),
        tables=[_table([result for result in results if result.subject == subject]) for subject in subjects],
        reasons={subject: list(reasons([r for r in results if r.subject == subject])) for subject in subjects},
        explained=explained,
        statements={law.id: law.statement for law in LAWS},
    )


def _verdict(results: Sequence[Result], interrupted: bool) -> str:
    bad = {result.subject for result in results if result.status in BAD}
    good = {result.subject for result in results if result.status == "passed"} - bad
    if not any(result.status in ("passed", "known") for result in results) and not bad:
        said = "Nothing was proved"
    else:
        said = f"Broken: {', '.join(sorted(bad))}" if bad else "No law that ran is broken"
        said += f"; correct, as far as was tested: {', '.join(sorted(good))}" if bad and good else ""
    return f"Interrupted. {said} so far" if interrupted else said


def _table(results: Sequence[Result]) -> dict[str, object]:
    """An implementation's results: a caption, the dtypes by cell, and by law a result for each of them or None.

    Laws that were skipped throughout are left to the reasons.
    """
    dtypes: dict[str, list[str]] = {}
    for cell, dtype in dict.fromkeys((result.cell, result.dtype) for result in results):
        dtypes.setdefault(cell, []).append(dtype)
    by_place = {(result.law, result.cell, result.dtype): result for result in results}
    asked = {result.law for result in results if result.status != "skipped"}
    rows = {
        law: [by_place.get((law, cell, dtype)) for cell, own in dtypes.items() for dtype in own]
        for law in dict.fromkeys(result.law for result in results)
        if law in asked
    }
    return {"caption": results[0].subject, "dtypes": dtypes, "rows": rows}
