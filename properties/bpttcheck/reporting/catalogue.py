"""The catalogue of laws and of planted faults: on the terminal by the line, in the docs as Markdown."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from bpttcheck.contract import ForwardMode, Implementation, OneShot, TwoPhase
from bpttcheck.faults import CLASSES, FAULTS, Fault
from bpttcheck.laws import LAWS, Law

_METHODS: Mapping[type, str] = {
    TwoPhase: "vjp",
    OneShot: "loss_and_gradients",
    ForwardMode: "jvp",
    Implementation: "vjp, or loss_and_gradients",
}
_ON_LAWS = """\
A *law* is a property that every correct implementation satisfies. `bpttcheck verify` generates random problems, called
cases, and runs on them all laws that apply to your implementation. A law fails if an error is larger than the tolerance
that was measured for its case. It is skipped if it needs something that your implementation does not support, and it is
vacuous if it ran and proved nothing.

Each entry states the law in words and in symbols, tells you on which cases it runs, and links the
[planted faults](faults.md) that it must catch. `bpttcheck laws ID` prints an entry, and `--law ID` runs one law only.
"""
_ON_FAULTS = """\
A *planted fault* is the reference with one bug on purpose. Most of these bugs were reported in real projects; then the
entry links the report. The tests require that each fault is caught by the [laws](laws.md) that its entry links.

`bpttcheck verify fault:ID` tests a fault like any other implementation, and shows how a verdict on that bug looks. If a
fault gives exactly the numbers of your implementation, the diagnosis of a failure names it.
"""


def explain(law: Law) -> dict[str, str]:
    """The facts about a law in addition to its statement, by heading; headings without a text are left out."""
    said = {
        "in symbols": law.equation,
        "source": law.source,
        "needs": _METHODS[law.door],
        "skipped if": "; ".join(need.lack for need in law.needs),
        "smallest sizes": ", ".join(f"{name} >= {least}" for name, least in law.smallest.items()),
        "runs on": "every case" if law.every_case else f"some cases: the {law.family} laws alternate",
        "catches": ", ".join(fault.id for fault in FAULTS if law.id in fault.caught_by),
        "kept because": law.kept,
    }
    return {heading: text for heading, text in said.items() if text}


def laws_in_markdown() -> str:
    """All laws, by family."""
    head = ["# The laws", "", f"{len(LAWS)} laws. Made by `bpttcheck laws --markdown`.", "", _ON_LAWS]
    return _page(head, {family: [*laws] for family, laws in groupby(LAWS, lambda law: law.family)}, _facts_of_law)


def faults_in_markdown() -> str:
    """All planted faults, by class, with the laws that must catch each."""
    head = ["# The planted faults", "", f"{len(FAULTS)} faults. Made by `bpttcheck faults --markdown`.", "", _ON_FAULTS]
    return _page(head, {name: [f for f in FAULTS if f.id in ids] for name, ids in CLASSES.items()}, _facts_of_fault)


def _page(head: list[str], groups: Mapping[str, Sequence[Any]], facts: Callable[[Any], Iterator[str]]) -> str:
    """An index of one line for each law or fault, and then each of them with its facts."""
    lines = [*head, "## Index", ""]
    for name, entries in groups.items():
        lines += [f"[{name}](#{name})", "", *(f"- {_links([entry.id])}: {entry.statement}" for entry in entries), ""]
    for name, entries in groups.items():
        lines += [f"## {name}", ""]
        for entry in entries:
            lines += [f"### `{entry.id}`", "", entry.statement, "", *(f"- {fact}" for fact in facts(entry)), ""]
    return "\n".join(lines)


def _facts_of_law(law: Law) -> Iterator[str]:
    for heading, text in explain(law).items():
        marked = f"`{text}`" if heading == "in symbols" else text
        yield f"{heading}: {_links(text.split(', '), 'faults.md') if heading == 'catches' else marked}"


def _facts_of_fault(fault: Fault) -> Iterator[str]:
    yield f"planted in: {', '.join(cell.name for cell in fault.cells)}"
    yield f"must be caught by: {_links(fault.caught_by, 'laws.md')}"
    if fault.source:
        yield f"reported: <{fault.source}>"


def _links(ids: Iterable[str], page: str = "") -> str:
    """Links to the headings of these ids, as code hosts and the site build their addresses."""
    return ", ".join(f"[`{name}`]({page}#{re.sub(r'[^a-z0-9_-]', '', name.lower())})" for name in ids)


def faults_by_line() -> Iterator[str]:
    """Each fault with its statement and the place of its report."""
    for fault in FAULTS:
        yield f"{fault.id}\n    {fault.statement} {fault.source}"
