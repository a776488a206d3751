"""Failures that are known and have a reason: data, in a file that the project keeps.

    [[known-failure]]
    law = "causality"
    reason = "the kernel reads one step ahead"
    target = "my_rnn.py:MyRNN"        # this and the following keys narrow it down, and may be left out
    cell = "lstm"
    dtype = "float32"
    requires = ["torch>=2.4,<2.14"]   # applies only where these versions are installed, and where a marker such as
                                      # "torch; python_version < '3.12'" is true
    link = "https://example.org/issues/7"
    strict = false                    # it fails in some draws and passes in others

Each of law, target, cell and dtype may also be a list: an entry for each combination.

An expected failure does not fail the run. An unexpected pass does, unless the entry is not strict, and so does an entry
that matches nothing that was tested: the file must stay true.
"""

import tomllib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement

from bpttcheck.laws import LAWS
from bpttcheck.misspelt import did_you_mean
from bpttcheck.running.results import Result

_USUAL = Path("known-failures.toml")


@dataclass(frozen=True)
class KnownFailure:
    """An entry; None stands for any. strict: whether it must fail, or may."""

    law: str
    reason: str
    target: str | None = None
    cell: str | None = None
    dtype: str | None = None
    requires: tuple[str, ...] = ()
    link: str = ""
    strict: bool = True

    def covers(self, target: str, cell: str, dtype: str, law: str) -> bool:
        """Whether it is about this law in this place."""
        wanted = ((self.law, law), (self.target, target), (self.cell, cell), (self.dtype, dtype))
        return all(own in (None, given) for own, given in wanted) and self.applies

    def is_met_by(self, target: str, result: Result) -> bool:
        """Whether it is about a result that was tested."""
        return result.status != "skipped" and self.covers(target, result.cell, result.dtype, result.law)

    @property
    def applies(self) -> bool:
        """Whether the installed versions meet its requirements."""
        return all(map(_installed, self.requires))

    def concerns(
        self, targets: Collection[str], laws: Collection[str], cells: Collection[str], dtypes: Collection[str]
    ) -> bool:
        """Whether a run tests this law in this place. cells, dtypes: the only ones in the run, if any are named."""
        chosen = self.law in laws and self.target in {None, *targets}
        filters = ((self.cell, cells), (self.dtype, dtypes))
        return chosen and self.applies and all(not only or own in (None, *only) for own, only in filters)

    def __str__(self) -> str:
        return f"{self.reason} ({self.link})" if self.link else self.reason


def read_known_failures(file: Path | None) -> list[KnownFailure]:
    """The entries of a file, or of known-failures.toml if it is there.

    Raises ValueError, with a sentence that names the entry, and OSError.
    """
    if file is None:
        return read_known_failures(_USUAL) if _USUAL.is_file() else []
    try:
        written = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{file} is not TOML: {error}") from error
    entries: Any = written.pop("known-failure", [])
    if written:
        raise ValueError(f"{file} has {', '.join(written)}; it may hold only [[known-failure]]")
    return [entry for k, table in enumerate(entries, 1) for entry in _entries(file, k, table)]


def settle(results: Sequence[Result], target: str, known: Sequence[KnownFailure]) -> None:
    """Set the status of a target's results that have entries.

    A failure becomes "known"; an unexpected pass becomes a failure that says so. Several entries for one result all
    refer to the outcome of the law, not to the status that another entry has set.
    """
    for result in results:
        speaking = [entry for entry in known if entry.is_met_by(target, result)]
        untrue = [str(entry) for entry in speaking if entry.strict]
        if speaking and result.status == "failed":
            result.status, result.reason = "known", f"{'; '.join(map(str, speaking))}: {result.reason}"
            result.known = tuple((entry.reason, entry.link) for entry in speaking)
        elif untrue and result.status == "passed":
            remove = "the entry" if len(untrue) == 1 else "the entries"
            result.status = "failed"
            result.reason = f"it passes, although a failure is expected ({'; '.join(untrue)}): remove {remove}"


def _entries(file: Path, number: int, entry: Any) -> Iterator[KnownFailure]:
    """The entries of a table, one for each combination."""
    where = f"known-failure {number} of {file}"
    if not isinstance(entry, dict):
        raise ValueError(f"{where} is no table: write [[known-failure]]")
    allowed = {field.name for field in fields(KnownFailure)}
    if unknown := set(entry) - allowed:
        raise ValueError(f"{where} has {', '.join(sorted(unknown))}; an entry takes {', '.join(sorted(allowed))}")
    if missing := {"law", "reason"} - set(entry):
        raise ValueError(f"{where} has no {' and no '.join(sorted(missing))}")
    for name in ("law", "target", "cell", "dtype", "requires", "reason", "link"):
        value, several = entry.get(name, ""), name not in ("reason", "link")
        if not all(isinstance(item, str) for item in (_listed(value) if several else [value])):
            said = "a string, or a list of strings" if several else "a string"
            raise ValueError(f"{where}: {name} must be {said}; it is {value!r}")
    places = {name: _listed(entry[name]) for name in ("law", "target", "cell", "dtype") if name in entry}
    ids = {law.id for law in LAWS}
    for law in places["law"]:
        if law not in ids:
            near = did_you_mean(law, ids)
            raise ValueError(f"{where}: there is no law {law!r} in the list of `bpttcheck laws`{near}")
    try:
        requires = tuple(str(Requirement(text)) for text in _listed(entry.get("requires", [])))
        for text in requires:
            _installed(text)
    except (InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName) as error:
        raise ValueError(f"{where}: {error}") from error
    if not isinstance(entry.get("strict", True), bool):
        raise ValueError(f"{where}: strict must be true or false; it is {entry['strict']!r}")
    for values in product(*places.values()):
        yield KnownFailure(**entry | dict(zip(places, values, strict=True)) | {"requires": requires})


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _installed(requirement: str) -> bool:
    """Whether it is installed where its marker, if it has one, is true."""
    wanted = Requirement(requirement)
    if wanted.marker is not None and not wanted.marker.evaluate():
        return False
    try:
        return wanted.specifier.contains(version(wanted.name), prereleases=True)
    except PackageNotFoundError:
        return False
