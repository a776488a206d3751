"""The matrix as one page that needs no network; the template is `matrix.html.jinja` in the folder above."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from bpttcheck.laws import LAWS, Law
from bpttcheck.matrix.counts import STATUSES, count, families, family, headline, version
from bpttcheck.page import blank_page
from bpttcheck.record import Record, Run
from bpttcheck.verdict import Result, Status, summary

_MARKS: dict[Status, tuple[str, str]] = {
    "passed": ("✓", "p"),
    "failed": ("✗", "f"),
    "error": ("!", "e"),
    "unsure": ("?", "u"),
    "known": ("~", "k"),
    "vacuous": ("∅", "v"),
    "unfinished": ("…", "o"),
    "skipped": ("–", "s"),
}  # and the class of the style
_MEANINGS: dict[Status, str] = {
    "passed": "no error above what is allowed",
    "failed": "broken, with the smallest case that was found",
    "error": "the implementation raised",
    "unsure": "our own reference is in doubt",
    "known": "broken, as its known failures say",
    "vacuous": "no case could show anything",
    "unfinished": "the time was up",
    "skipped": "not declared, so not asked",
}
_SET_ASIDE = ("skipped", "vacuous", "unfinished")


def to_html(runs: Sequence[Run]) -> str:
    """The page: a sentence, an overview, a table of laws by target for each family of cells, and the evidence."""
    ids = _Ids()
    records = [record for run in runs for record in run.targets]
    targets = [_Target(run, record, ids.new(record.target)) for run in runs for record in run.targets]
    results = [result for record in records for result in record.results]
    return blank_page("matrix").render(
        headline=headline(runs),
        summary=summary(results),
        laws=len({result.law for result in results}),
        facts=_facts(runs),
        targets=targets,
        families={
            name: [section for target in targets for section in target.sections if family(section.cell) == name]
            for name in families(records)
        },
        grouped=_grouped({result.law for result in results}),
        marks=_MARKS,
        meanings={status: _MEANINGS[status] for status in _MARKS if status in {result.status for result in results}},
    )


class _Ids:
    """Names of places on the page: letters, digits and hyphens of a text, each once."""

    def __init__(self) -> None:
        self._given = {"laws"}

    def new(self, text: str) -> str:
        plain = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") or "none"
        name = next(n for n in (plain, *(f"{plain}-{k}" for k in range(2, 10**6))) if n not in self._given)
        self._given.add(name)
        return name


@dataclass(frozen=True, eq=False)
class _Section:
    """The evidence on one cell of a target. id: of the place on the page."""

    target: "_Target"
    cell: str
    id: str

    @cached_property
    def by_law(self) -> dict[str, dict[str, Result]]:
        """Results by law and dtype."""
        found: dict[str, dict[str, Result]] = {}
        for result in self.target.record.results:
            if result.cell == self.cell:
                found.setdefault(result.law, {})[result.dtype] = result
        return found

    @property
    def counts(self) -> dict[Status, int]:
        statuses = [result.status for by_dtype in self.by_law.values() for result in by_dtype.values()]
        return {status: statuses.count(status) for status in STATUSES if status in statuses}

    @property
    def dtypes(self) -> list[str]:
        return list(dict.fromkeys(dtype for by_dtype in self.by_law.values() for dtype in by_dtype))

    def status(self, law: str) -> Status | None:
        """What must be seen first of all dtypes; None where the law was not asked."""
        return min((result.status for result in self.by_law.get(law, {}).values()), key=STATUSES.index, default=None)

    def place(self, law: str) -> str:
        """The id of the evidence on a law."""
        return f"{self.id}.{law}"

    @property
    def rows(self) -> dict[str, list[Result | None]]:
        """By law, but for those skipped in all dtypes, a result for each dtype."""
        return {
            law: [by_dtype.get(dtype) for dtype in self.dtypes]
            for law, by_dtype in self.by_law.items()
            if self.status(law) != "skipped"
        }

    @property
    def told(self) -> list[Result]:
        """What has a story: failures, known ones included."""
        results = [result for by_dtype in self.by_law.values() for result in by_dtype.values()]
        return [result for result in results if result.status in ("error", "failed", "unsure", "known")]

    @property
    def notes(self) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
        """What is to be said of laws beside the rows: a label, a sentence, and each law with the dtypes, if not all,
        and with the id of its evidence, if that is here."""
        found: dict[tuple[str, str], dict[str, list[str]]] = {}
        for law, by_dtype in self.by_law.items():
            for dtype, result in by_dtype.items():
                if result.status in _SET_ASIDE:
                    found.setdefault((result.status, result.reason), {}).setdefault(law, []).append(dtype)
                if result.status == "passed" and result.dead:
                    said = f"nothing above rounding was seen in {', '.join(result.dead)}"
                    found.setdefault(("in part vacuous", said), {}).setdefault(law, []).append(dtype)
                for warning in result.warnings:
                    said = f"the subject warned: {warning}"
                    found.setdefault(("note", said), {}).setdefault(law, []).append(dtype)
        placed = set(self.rows)
        notes = []
        for (label, sentence), laws in found.items():
            some = {law: "" if len(dtypes) == len(self.dtypes) else ", ".join(dtypes) for law, dtypes in laws.items()}
            notes.append(
                (label, sentence, [(law, some[law], "" if law in placed else self.place(law)) for law in laws])
            )
            placed |= set(laws)
        return notes

    def command(self, result: Result | None = None) -> str:
        """The line that judges the cell again, or one law of it."""
        run, target = self.target.run, self.target.record.target
        one = ["--law", result.law, "--dtype", result.dtype] if result else []
        words = [
            "bpttcheck",
            "verify",
            target,
            *one,
            "--cell",
            self.cell,
            "--seed",
            run.seed,
            "--examples",
            run.examples,
        ]
        return shlex.join(map(str, words))


@dataclass(frozen=True, eq=False)
class _Target:
    """A target, and where it is on the page."""

    run: Run
    record: Record
    id: str

    @property
    def version(self) -> str:
        return version(self.record)

    @cached_property
    def sections(self) -> list[_Section]:
        ids = _Ids()
        return [
            _Section(self, cell, f"{self.id}.{ids.new(cell)}")
            for cell in dict.fromkeys(r.cell for r in self.record.results)
        ]

    def counts(self, family_name: str) -> dict[Status, int]:
        return count(self.record, family_name)


def _facts(runs: Sequence[Run]) -> str:
    """When and with what all runs were made, each difference side by side."""
    facts = [
        {"": run.when.partition(" ")[0], **run.versions, "seed": run.seed, "examples": run.examples} for run in runs
    ]
    keys = dict.fromkeys(key for fact in facts for key in fact)
    together = {key: sorted({str(fact[key]) for fact in facts if key in fact}) for key in keys}
    return ", ".join(f"{key} {' and '.join(values)}".strip() for key, values in together.items())


def _grouped(met: set[str]) -> dict[str, dict[str, Law | None]]:
    """Laws that were put to somebody, by family; those of other versions of bpttcheck come last, without a record."""
    found: dict[str, dict[str, Law | None]] = {}
    for law in LAWS:
        if law.id in met:
            found.setdefault(law.family, {})[law.id] = law
    if others := met - {law.id for law in LAWS}:
        found["of another version"] = dict.fromkeys(sorted(others))
    return found
