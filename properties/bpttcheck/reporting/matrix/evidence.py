"""The part of a page for each target: sections, one a cell, in which every law has a place to link to."""

import itertools
import re
import shlex
from dataclasses import dataclass
from functools import cached_property

from bpttcheck.reporting.matrix.counts import STATUSES
from bpttcheck.running.results import Result, Status
from bpttcheck.running.run import Record, Run

_TOLD = ("error", "failed", "unsure", "known")
_SET_ASIDE = ("skipped", "vacuous", "unfinished")
_LEADS = re.compile(r"https?://|[^:]+$")  # a page, and no script that somebody wrote into a file


class Ids:
    """Names of places on the page: letters, digits and hyphens of a text, each once."""

    def __init__(self) -> None:
        self._given = {"broken", "judged", "overview", "cells", "evidence", "laws"}  # the page's own

    def new(self, text: str) -> str:
        plain = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") or "none"
        numbered = (f"{plain}-{k}" for k in itertools.count(2))
        name = next(name for name in itertools.chain([plain], numbered) if name not in self._given)
        self._given.add(name)
        return name


@dataclass(frozen=True, eq=False)
class Section:
    """The evidence on one cell of a target. id: of the place on the page."""

    target: "Target"
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
        """The result that must be seen first of all dtypes; None if the law did not run."""
        return min((result.status for result in self.by_law.get(law, {}).values()), key=STATUSES.index, default=None)

    def place(self, law: str) -> str:
        """The id of the evidence on a law."""
        return f"{self.id}.{law}"

    @property
    def rows(self) -> dict[str, tuple[str, list[Result | None]]]:
        """By law, without laws skipped in all dtypes: the place, if it has no story, and a result for each dtype."""
        return {
            law: ("" if self.status(law) in _TOLD else self.place(law), [by_dtype.get(dtype) for dtype in self.dtypes])
            for law, by_dtype in self.by_law.items()
            if self.status(law) != "skipped"
        }

    @property
    def told(self) -> list[tuple[Result, str]]:
        """The results with a story, also known failures, and their places, which all dtypes of a law share."""
        told = [r for by_dtype in self.by_law.values() for r in by_dtype.values() if r.status in _TOLD]
        return [(r, "" if k and told[k - 1].law == r.law else self.place(r.law)) for k, r in enumerate(told)]

    @property
    def notes(self) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
        """Notes on laws, in addition to the rows: a label, a sentence, and each law with the dtypes, if not all, and
        with the id of its evidence, if that is here."""
        found: dict[tuple[str, str], dict[str, list[str]]] = {}
        for law, by_dtype in self.by_law.items():
            for dtype, result in by_dtype.items():
                if result.status in _SET_ASIDE:
                    found.setdefault((result.status, result.reason), {}).setdefault(law, []).append(dtype)
                for remark in result.in_part:
                    found.setdefault(remark, {}).setdefault(law, []).append(dtype)
                for warning in result.warnings:
                    said = f"the implementation warned: {warning}"
                    found.setdefault(("note", said), {}).setdefault(law, []).append(dtype)
        placed = set(self.rows)
        notes = []
        for (label, sentence), laws in found.items():
            some = {law: "" if len(dtypes) == len(self.dtypes) else ", ".join(dtypes) for law, dtypes in laws.items()}
            ids = {law: "" if law in placed else self.place(law) for law in laws}
            notes.append((label, sentence, [(law, some[law], ids[law]) for law in laws]))
            placed |= set(laws)
        return notes

    def command(self, result: Result | None = None) -> str:
        """The line that tests the cell again, or one law of it."""
        run, target = self.target.run, self.target.record.target
        one = f" --law {shlex.quote(result.law)} --dtype {shlex.quote(result.dtype)}" if result else ""
        same = f"--cell {shlex.quote(self.cell)} --seed {run.asked.seed} --examples {run.asked.examples}"
        return f"bpttcheck verify {shlex.quote(target)}{one} {same}"


@dataclass(frozen=True, eq=False)
class Broken:
    """Laws that a target breaks for one reason. link: to further information. places: of the evidence, by law and
    cell."""

    status: Status
    reason: str
    link: str
    places: dict[str, dict[str, str]]


@dataclass(frozen=True, eq=False)
class Target:
    """A target, and where it is on the page."""

    run: Run
    record: Record
    id: str

    @cached_property
    def sections(self) -> list[Section]:
        ids, cells = Ids(), dict.fromkeys(result.cell for result in self.record.results)
        return [Section(self, cell, f"{self.id}.{ids.new(cell)}") for cell in cells]

    @cached_property
    def broken(self) -> list[Broken]:
        """The broken laws by reason: for known failures the reason and link of the entry, else the diagnosis, if
        any."""
        found: dict[tuple[Status, str, str], dict[str, dict[str, str]]] = {}
        for section in self.sections:
            diagnosis = self.record.diagnoses.get(section.cell, {}).get("diagnosis", "")
            for result, _ in section.told:
                for reason, link in result.known or ((diagnosis or result.reason, ""),):
                    laws = found.setdefault((result.status, reason, link if _LEADS.match(link) else ""), {})
                    laws.setdefault(result.law, {})[section.cell] = section.place(result.law)
        in_order = sorted(found.items(), key=lambda item: STATUSES.index(item[0][0]))
        return [Broken(*why, laws) for why, laws in in_order]
