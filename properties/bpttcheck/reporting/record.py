"""A run of `verify` as JSON, and back: the question, the facts about each target, and every result."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

from bpttcheck.cases.case_file import CaseFile
from bpttcheck.cases.drawing import Draw
from bpttcheck.running.question import Question
from bpttcheck.running.results import Result, Status, Tried, summary
from bpttcheck.running.run import Record, Run

SCHEMA = 1


def to_json(run: Run) -> str:
    """All of it; numbers that are not finite and arrays are written as strings."""
    asked = {"seed": run.asked.seed, "examples": run.asked.examples}
    asked |= {key: getattr(run, key) for key in ("interrupted", "when", "versions")}
    targets = [{key: value for key, value in vars(record).items() if key != "results"} for record in run.targets]
    rows = [{"target": record.target} | asdict(result) for record in run.targets for result in record.results]
    said = {"summary": summary(run.results), "errors": run.errors}
    written = {"schema": SCHEMA, **asked, **said, "targets": targets, "results": rows}
    return json.dumps(_plain(written), indent=1)


def from_json(text: str) -> Run:
    """A run from its JSON, without the numbers of the worst comparisons. Raises ValueError, with a sentence."""
    try:
        written: Any = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    schema = written.get("schema") if isinstance(written, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"its schema is {schema!r}; this version reads {SCHEMA}")
    try:
        records = {record["target"]: Record(**record) for record in written["targets"]}
        for row in written["results"]:
            records[row.pop("target")].results.append(_result(row))
        asked = Question(seed=written["seed"], examples=written["examples"])
        facts = {key: written[key] for key in ("interrupted", "when", "versions")}
        return Run(asked, list(records.values()), **facts)
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
    if case is not None and case.file is not None:
        case = replace(case, file=CaseFile(Path(row["case"]["file"]["path"])))
    tuples = {name: tuple(row.get(name, ())) for name in ("dead", "left_out", "warnings")}
    tried = Tried(**row.get("tried", {}))
    tuples["known"] = tuple((reason, link) for reason, link in row.get("known", ()))
    return Result(**row | tuples | {"case": case, "worst": None, "margin": float(row["margin"]), "tried": tried})
