"""A failure as a folder: the arrays of the case, and a file that shows it again and can be worked through by hand."""

import builtins
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from bpttcheck.cases.blocks import case_arrays, named, streams
from bpttcheck.cases.changes import first_steps, other_problem
from bpttcheck.contract import Case, Cotangents, CustomCell, Implementation, OneShot, TwoPhase
from bpttcheck.laws import LAWS, Law
from bpttcheck.measuring.calls import Calls, capabilities_of
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.trial import Trial
from bpttcheck.printable import printable
from bpttcheck.running.evaluating import Finding, evaluate
from bpttref import Cell

_LONGEST = 120  # letters of a folder's name

_FILE = '''"""{subject} breaks {law} on {cell} {dtype}.

{statement}    {equation}
{reason}

Run it:  python {name}    or:  bpttcheck replay {name}
"""

import sys
from pathlib import Path

from numpy import {numpy}  # noqa: F401

from bpttcheck import Case, Cotangents
from bpttcheck.targets import cell_named, load  # noqa: F401
from bpttref import *  # noqa: F403

TARGET = {target!r}
LAW = {law!r}
AGAINST = {against!r}
subject = load(TARGET, Path(__file__).resolve().parent / {folder!r})
{right}case = Case(
{case}
)
cotangents = Cotangents(
    y={y},
    final={final},
)
{numbers}{before}

def check():
    """The empty string if the law holds, else what is wrong."""
{check}

if __name__ == "__main__":
    wrong = check()
    print(f"FAILED: {{wrong}}" if wrong else "FIXED")
    sys.exit(bool(wrong))
'''

_BY_LAW = """    from bpttcheck.explaining.failure import again

    finding = again(LAW, subject, case, cotangents{against})
    return finding.sentence() if finding.failed else ""
"""

_RIGHT = "right = load(AGAINST, Path(__file__).resolve().parent / {folder!r})\n"

_BY_NUMBERS = """    from bpttcheck.measuring.calls import Calls

    calls, block = Calls(subject), {block!r}
    expected = {expected}
    allowed = {allowed!r}
{call}
    got = {got}
    off = float(abs(got - expected).max())
    return "" if off <= allowed else f"{{block}} is off by {{off:.3g}}, where {{allowed:.3g}} is allowed"
"""

_NUMBERS = """
# What was compared in {block!r}, and how far apart it may be.
got = {got}
expected = {expected}
allowed = {allowed!r}
"""

_BEFORE = """
# It goes wrong only after another call.
from bpttcheck.explaining.failure import call_before  # noqa: E402

call_before({before!r}, subject, case, cotangents)
"""

_VJP = """    outputs, pullback = calls.run(case)
    gradients = calls.pull(pullback, cotangents) if pullback else None"""
_LOSS_AND_GRADIENTS = "    outputs, gradients = calls.score(case)"


EARLIER: Mapping[str, Callable[[Case, Cotangents], tuple[Case, Cotangents]]] = {  # calls that may be needed before
    "another problem of the same shapes": lambda case, cotangents: (other_problem(case), cotangents),
    "only the first step": lambda case, cotangents: first_steps(case, cotangents, 1),
    "the same problem": lambda case, cotangents: (case, cotangents),
}


def call_before(what: str, subject: Implementation, case: Case, cotangents: Cotangents) -> None:
    """Call an implementation, through each interface that it has, for one of the problems of `EARLIER`."""
    calls, (other, given) = Calls(subject), EARLIER[what](case, cotangents)
    if isinstance(subject, TwoPhase):
        _, pullback = calls.run(other)
        if pullback is not None:
            calls.pull(pullback, given)
    if isinstance(subject, OneShot) and other.objective is not None:
        calls.score(other)


def again(
    law_id: str, subject: Implementation, case: Case, cotangents: Cotangents, against: Implementation | None = None
) -> Finding:
    """Run one law on one case again. Raises AdapterError if the implementation raises."""
    return evaluate(_law(law_id), Trial(subject, capabilities_of(subject), case, cotangents, against))


def write_failure(
    folder: Path,
    target: str,
    name: str,
    law_id: str,
    reason: str,
    case: Case,
    cotangents: Cotangents,
    worst: Comparison | None = None,
    against: str = "",
    before: str = "",
    direct: bool = False,
) -> Path:
    """Write one failure into a folder of its own inside ``folder``; returns the file that shows it.

    name: the implementation's, as in the results.
    worst: the comparison that failed; the file holds its numbers, and compares with the correct ones if the law tests
    the numbers of one call, or if they are ``direct``. against: the target with the correct numbers, if it is not the
    reference. before: the call of `EARLIER` that must come first, if there is one. Raises OSError where that is not
    possible.
    """
    law, numbers = _law(law_id), ""
    if (law.direct or direct) and worst is not None:
        case = worst.case or case
        check = _by_numbers(law, case, worst)
    else:
        check = _BY_LAW.format(against=", right" if against else "")
        numbers = "" if worst is None else _compared(worst)
    own = folder / _folder(name, case.cell, case.dtype, law_id)
    own.mkdir(parents=True, exist_ok=True)
    if law.door not in (OneShot, Implementation):
        case = replace(case, objective=None)
    cotangent_arrays = {f"cotangent.{name}": array for name, array in named(cotangents).items()}
    rows = {n: a for n, a in (("lengths", case.lengths), ("resets", case.resets)) if a is not None}
    np.savez(own / "case.npz", **streams(case.x) | case_arrays(case) | rows | cotangent_arrays)  # type: ignore[arg-type]
    start = os.path.relpath(Path.cwd(), own.resolve())
    with np.printoptions(floatmode="unique", threshold=2**31, linewidth=110):
        text = _FILE.format(
            law=law_id,
            subject=_quoted(name),
            cell=_quoted(case.cell.name),
            dtype=case.dtype,
            statement=law.statement,
            equation=law.equation,
            reason=_quoted(reason),
            name="replay.py",
            target=target,
            folder=start,
            against=against,
            right=_RIGHT.format(folder=start) if against else "",
            case="\n".join(f"    {field.name}={_source(field.name, case)}," for field in fields(case)),
            y=repr(cotangents.y),
            final=repr(cotangents.final),
            check=check,
            numbers=numbers,
            before=_BEFORE.format(before=before) if before else "",
            numpy="{numpy}",
        )
    text = re.sub(r"array\(\[\], shape=(\([^)]*\)), dtype=(\w+)\)", r"empty(\1, dtype=\2)", text)  # as NumPy shows it
    dtypes = set(re.findall(r"dtype=(\w+)", text)) - set(dir(builtins))
    (own / "replay.py").write_text(
        text.replace("{numpy}", ", ".join(["array", "empty", "inf", "nan", *sorted(dtypes)]))
    )
    return own / "replay.py"


def _quoted(text: str) -> str:
    """The text, escaped for a docstring."""
    return printable(text).replace("\\", "\\\\").replace('"', '\\"')


def _folder(name: str, cell: Cell | CustomCell, dtype: str, law_id: str) -> str:
    """The name of a failure's folder; with a digest if it is long, or if another name may have the same letters."""
    whole = f"{name} {cell.name} {dtype} {law_id}"
    words = r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*"
    plain = re.fullmatch(rf"fault:{words}|(?!fault-){words}", name) and not isinstance(cell, CustomCell)
    digest = "" if plain and len(whole) <= _LONGEST else f"_{sha256(whole.encode(errors='replace')).hexdigest()[:8]}"
    return re.sub(r"[^A-Za-z0-9]+", "_", whole)[:_LONGEST] + digest


def _law(law_id: str) -> Law:
    return next(law for law in LAWS if law.id == law_id)


def _source(name: str, case: Case) -> str:
    value: Any = getattr(case, name)
    if isinstance(value, CustomCell):
        return f"cell_named(subject, {value.name!r})"
    return repr(value)


def _compared(worst: Comparison) -> str:
    """The numbers that a law compared, for a reader."""
    with np.printoptions(floatmode="unique", threshold=2**31, linewidth=100):
        got, expected = repr(np.asarray(worst.got)), repr(np.asarray(worst.expected))
    return _NUMBERS.format(block=worst.block, got=got, expected=expected, allowed=worst.tolerance)


def _by_numbers(law: Law, case: Case, worst: Comparison) -> str:
    """The body of a check that compares one block with the correct numbers."""
    with np.printoptions(floatmode="unique", threshold=2**31, linewidth=100):
        return _BY_NUMBERS.format(
            expected=repr(np.asarray(worst.expected)),
            allowed=worst.tolerance,
            call=_LOSS_AND_GRADIENTS if law.door is OneShot else _VJP,
            got=_expression(case, worst.block),
            block=worst.block,
        )


def _expression(case: Case, block: str) -> str:
    """The Python expression for a block of ``outputs`` and ``gradients``:
    ``gradients.parameters[0][0]["W_hh"][2:4]``."""
    name, _, part = block.rstrip("]").partition("[")
    *place, last = name.split(".")
    layer = next((int(word.removeprefix("layer")) for word in place if word.startswith("layer")), 0)
    direction = int("reverse" in place)
    if last in ("y", "loss"):
        array = f"outputs.{last}"
    elif last == "x":
        array = "gradients.x"
    elif place == ["x"]:
        array = f"gradients.x[{last!r}]"
    elif last in ("W_qh", "b_q"):
        array = f"gradients.readout[{last!r}]"
    else:
        kinds = {"final": "outputs.final", "initial": "gradients.initial"}
        tree = next((kinds[word] for word in place if word in kinds), "gradients.parameters")
        array = f"{tree}[{layer}][{direction}][{last!r}]"
    if part.startswith("t="):
        return f"{array}[{part.removeprefix('t=')}]"
    if part.startswith("gate ") and not isinstance(case.cell, CustomCell):
        H = case.parameters[layer][direction]["W_hh"].shape[1]
        k = case.cell.gates.index(part.removeprefix("gate "))
        return f"{array}[{k * H}:{(k + 1) * H}]"
    return array
