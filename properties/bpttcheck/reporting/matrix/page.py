"""The matrix as one page that needs no network; the template is `matrix.html.jinja` in the folder above."""

from collections.abc import Sequence

from bpttcheck.laws import LAWS, Law
from bpttcheck.reporting.matrix.counts import count, families, family, headline, version
from bpttcheck.reporting.matrix.evidence import Ids, Target
from bpttcheck.reporting.page import blank_page
from bpttcheck.running.results import Status, summary
from bpttcheck.running.run import Run

_MARKS: dict[Status, tuple[str, str]] = {
    "passed": ("✓", "p"),
    "failed": ("✗", "f"),
    "error": ("!", "e"),
    "unsure": ("?", "u"),
    "known": ("▲", "k"),
    "vacuous": ("∅", "v"),
    "unfinished": ("…", "o"),
    "skipped": ("–", "s"),
}  # and the class of the style
_MEANINGS: dict[Status, str] = {
    "passed": "no error above the tolerance",
    "failed": "broken, with the smallest case that was found",
    "error": "the implementation raised",
    "unsure": "our own reference is in doubt",
    "known": "broken, and listed as a known failure",
    "vacuous": "proved nothing: no case could show an error",
    "unfinished": "not run: a law that comes first was broken in every case, or the time was up",
    "skipped": "not supported, so not run",
}


def to_html(runs: Sequence[Run]) -> str:
    """The page: a sentence, an overview, a table of laws by target for each family of cells, and the evidence."""
    ids = Ids()
    records = [record for run in runs for record in run.targets]
    targets = [Target(run, record, ids.new(record.target)) for run in runs for record in run.targets]
    results = [result for record in records for result in record.results]
    return blank_page("matrix/matrix").render(
        headline=headline(runs),
        summary=summary(results),
        laws=len({result.law for result in results}),
        facts=_facts(runs),
        targets=targets,
        broken=[target for target in targets if target.broken],
        families={
            name: [section for target in targets for section in target.sections if family(section.cell) == name]
            for name in families(records)
        },
        grouped=_grouped({result.law for result in results}),
        count=count,
        version=version,
        marks=_MARKS,
        meanings={status: _MEANINGS[status] for status in _MARKS if status in {result.status for result in results}},
    )


def _facts(runs: Sequence[Run]) -> str:
    """The times and versions of all runs, each difference side by side."""
    facts = [dict(run.versions) | {"seed": str(run.asked.seed), "examples": str(run.asked.examples)} for run in runs]
    keys = dict.fromkeys(key for fact in facts for key in fact)
    together = {key: sorted({fact[key] for fact in facts if key in fact}) for key in keys}
    days = sorted({run.when.partition(" ")[0] for run in runs})
    said = [f"{key} {' and '.join(values)}" for key, values in together.items()]
    return ", ".join([f"Tested on {' and '.join(days)}", *said])


def _grouped(met: set[str]) -> dict[str, dict[str, Law | None]]:
    """Laws that ran, by family; laws of other versions of bpttcheck come last, without a record."""
    found: dict[str, dict[str, Law | None]] = {}
    for law in LAWS:
        if law.id in met:
            found.setdefault(law.family, {})[law.id] = law
    if others := met - {law.id for law in LAWS}:
        found["of another version"] = dict.fromkeys(sorted(others))
    return found
