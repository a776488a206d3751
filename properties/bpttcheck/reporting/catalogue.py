"""The catalogue of laws and of planted faults: on the terminal by the line, in the docs as Markdown."""

from collections.abc import Iterator, Mapping

from bpttcheck.contract import ForwardMode, Implementation, OneShot, TwoPhase
from bpttcheck.faults import FAULTS, Fault
from bpttcheck.laws import LAWS, Law

_METHODS: Mapping[type, str] = {
    TwoPhase: "vjp",
    OneShot: "loss_and_gradients",
    ForwardMode: "jvp",
    Implementation: "vjp, or loss_and_gradients",
}


def explain(law: Law) -> dict[str, str]:
    """What there is to say of a law next to its statement, by heading; headings without a text are left out."""
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
    """All laws, family by family."""
    lines = ["# The laws", "", f"{len(LAWS)} laws. Made by `bpttcheck laws --markdown`.", ""]
    family = ""
    for law in LAWS:
        if law.family != family:
            family = law.family
            lines += [f"## {family}", ""]
        lines += [f"### `{law.id}`", "", law.statement, ""]
        lines += [f"- {heading}: {_marked(heading, text)}" for heading, text in explain(law).items()]
        lines.append("")
    return "\n".join(lines)


def faults_in_markdown() -> str:
    """All planted faults, with the laws that must catch each."""
    head = ["# The planted faults", "", f"{len(FAULTS)} faults. Made by `bpttcheck faults --markdown`.", ""]
    rows = ["| fault | mistake | planted in | must be caught by | reported |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows, *(_row(fault) for fault in FAULTS), ""])


def _row(fault: Fault) -> str:
    cells = ", ".join(cell.name for cell in fault.cells)
    laws = ", ".join(f"`{law}`" for law in fault.caught_by)
    source = f"[report]({fault.source})" if fault.source else ""
    return f"| `{fault.id}` | {fault.statement} | {cells} | {laws} | {source} |"


def _marked(heading: str, text: str) -> str:
    if heading == "catches":
        return ", ".join(f"`{fault}`" for fault in text.split(", "))
    return f"`{text}`" if heading == "in symbols" else text


def faults_by_line() -> Iterator[str]:
    """Each fault with what is wrong and where it was reported."""
    for fault in FAULTS:
        yield f"{fault.id}\n    {fault.statement} {fault.source}"
