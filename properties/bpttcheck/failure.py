"""A failure as a file: readable, runnable, and small enough to be worked through by hand."""

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from bpttcheck.contract import Case, Cotangents, CustomCell, Implementation, OneShot
from bpttcheck.laws import LAWS
from bpttcheck.trial import Trial
from bpttcheck.verdict import Finding, evaluate

_FILE = '''"""{law} is broken by {subject} on {cell} {dtype}.

{statement}    {equation}
{reason}

Run it:  python {name}    or:  bpttcheck replay {name}
"""

import sys

from numpy import array, float32, float64, inf, nan, uint32  # noqa: F401

from bpttcheck import Case, Cotangents
from bpttcheck.adapters import load
from bpttcheck.failure import again
from bpttref import *  # noqa: F403

LAW = {law!r}
TARGET = {target!r}
subject = load(TARGET)
case = Case(
{case}
)
cotangents = Cotangents(
    y={y},
    final={final},
)

if __name__ == "__main__":
    finding = again(LAW, subject, case, cotangents)
    print(f"FAILED: {{finding.sentence()}}" if finding.failed else "FIXED")
    sys.exit(finding.failed)
'''


def again(law_id: str, subject: Implementation, case: Case, cotangents: Cotangents) -> Finding:
    """Put one law to one case again. Raises AdapterError if the subject does."""
    (law,) = [law for law in LAWS if law.id == law_id]
    return evaluate(law, Trial(subject, subject.capabilities(), case, cotangents))


def write_failure(
    folder: Path, target: str, subject: Implementation, law_id: str, reason: str, case: Case, cotangents: Cotangents
) -> Path:
    """Write one failure into ``folder``; returns the file. Raises OSError where that is not possible."""
    (law,) = [law for law in LAWS if law.id == law_id]
    name = re.sub(r"[^A-Za-z0-9]+", "_", f"{subject.name} {case.cell.name} {case.dtype} {law_id}") + ".py"
    if law.door is not OneShot:
        case = replace(case, objective=None)
    folder.mkdir(parents=True, exist_ok=True)
    with np.printoptions(floatmode="unique", threshold=2**31, linewidth=110):
        text = _FILE.format(
            law=law_id,
            subject=subject.name,
            cell=case.cell.name,
            dtype=case.dtype,
            statement=law.statement,
            equation=law.equation,
            reason=reason,
            name=name,
            target=target,
            case="\n".join(f"    {field.name}={_source(field.name, case)}," for field in fields(case)),
            y=repr(cotangents.y),
            final=repr(cotangents.final),
        )
    (folder / name).write_text(text)
    return folder / name


def _source(name: str, case: Case) -> str:
    value: Any = getattr(case, name)
    if isinstance(value, CustomCell):
        return f"next(c for c in subject.capabilities().cells if c.name == {value.name!r})"
    return repr(value)
