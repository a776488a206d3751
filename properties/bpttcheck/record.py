"""A run of `verify` as JSON, and back: what was asked, what is known of each target, and every result."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, get_args

from bpttcheck.cases import Draw
from bpttcheck.verdict import Result, Status, summary
from bpttcheck.versions import versions

SCHEMA = 1


@dataclass
class Record:
    """What there is to say of a target.

    name: as it calls itself; none where it could not be loaded. libraries: their versions. conventions: as declared.
    diagnoses: of cells that fail, by cell and heading. errors: why something could not be judged.
    """

    target: str
    name: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)
    conventions: Mapping[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    diagnoses: dict[str, dict[str, str]] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)


@dataclass
class Run:
    """What was asked, and a record for each target. when: in UTC. versions: of what takes part in every result."""

    seed: int
    examples: int
    targets: list[Record]
    interrupted: bool = False
    when: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M}")
    versions: Mapping[str, str] = field(default_factory=versions)

    @property
    def results(self) -> list[Result]:
        """Those of all targets."""
        return [result for record in self.targets for result in record.results]


def to_json(run: Run) -> str:
    """All of it; numbers that are not finite and arrays are written as strings."""
    asked = {key: value for key, value in vars(run).items() if key != "targets"}
    targets = [{key: value for key, value in vars(record).items() if key != "results"} for record in run.targets]
    rows = [{"target": record.target} | asdict(result) for record in run.targets for result in record.results]
    written = {"schema": SCHEMA, **asked, "summary": summary(run.results), "targets": targets, "results": rows}
    return json.dumps(_plain(written), indent=1)


def from_json(text: str) -> Run:
    """A run as it was written, but for the numbers of the worst comparisons. Raises ValueError, with a sentence."""
    try:
        written: Any = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    schema = written.get("schema") if isinstance(written, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"its schema is {schema!r}, and {SCHEMA} is what is read")
    try:
        records = {record["target"]: Record(**record) for record in written["targets"]}
        for row in written["results"]:
            records[row.pop("target")].results.append(_result(row))
        asked = {key: written[key] for key in ("seed", "examples", "interrupted", "when", "versions")}
        return Run(targets=list(records.values()), **asked)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"it does not hold what `verify --json` writes: {type(error).__name__}: {error}") from error


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(v) for v in value]
    readable = value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    return value if readable else str(value)


def _result(row: dict[str, Any]) -> Result:
    if row["status"] not in get_args(Status):
        raise ValueError(f"there is no status {row['status']!r}")
    case = Draw(**row["case"]) if row["case"] else None
    tuples = {name: tuple(row[name]) for name in ("dead", "warnings")}
    return Result(**row | tuples | {"case": case, "worst": None, "margin": float(row["margin"])})
