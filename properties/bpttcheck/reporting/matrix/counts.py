"""The matrix in numbers: the results of the laws, by target and by family of cells."""

from collections import Counter
from collections.abc import Iterable, Sequence

from bpttcheck.running.results import BAD, Status
from bpttcheck.running.run import Record, Run
from bpttref import CELLS

STATUSES: tuple[Status, ...] = ("error", "failed", "unsure", "known", "passed", "vacuous", "unfinished", "skipped")
"""From what must be seen first to what says least."""

CUSTOM = "custom cells"


def family(cell: str) -> str:
    """The name of one of the reference's cells, or the common name of all others."""
    return cell if cell in {known.name for known in CELLS} else CUSTOM


def families(records: Iterable[Record]) -> list[str]:
    """The families that occur, in the order of the reference."""
    met = {family(result.cell) for record in records for result in record.results}
    return [name for name in (*(cell.name for cell in CELLS), CUSTOM) if name in met]


def count(record: Record, name: str) -> dict[Status, int]:
    """How many laws, by cell and dtype, ended in each status in a family of cells."""
    counted = Counter(result.status for result in record.results if family(result.cell) == name)
    return {status: counted[status] for status in STATUSES if counted[status]}


def version(record: Record) -> str:
    """The name of a target without the name that selects it: its version, in most cases."""
    return record.name.removeprefix(record.target).strip()


def broken(record: Record, statuses: Sequence[Status]) -> dict[tuple[Status, str], dict[str, list[str]]]:
    """Laws and their dtypes, by status and cell, of the results with some ``statuses``."""
    found: dict[tuple[Status, str], dict[str, list[str]]] = {}
    for result in record.results:
        if result.status in statuses:
            found.setdefault((result.status, result.cell), {}).setdefault(result.law, []).append(result.dtype)
    return found


def headline(runs: Sequence[Run]) -> str:
    """The matrix in a sentence."""
    records = [record for run in runs for record in run.targets]
    bad = [record.target for record in records if any(result.status in BAD for result in record.results)]
    troubled = [record.target for record in records if record.errors or record.unproved]
    said = [f"broken: {', '.join(bad)}"] if bad else []
    said += [f"not tested, or not in full: {', '.join(troubled)}"] if troubled else []
    if not any(result.status == "passed" for record in records for result in record.results):
        said.append("no law passed")
    known = [record.target for record in records if any(result.status == "known" for result in record.results)]
    said += [f"known failures: {', '.join(known)}"] if known else []
    sentence = "; ".join(said) or "no law is broken"
    return sentence[0].upper() + sentence[1:]
