"""The mistake: the name of a planted fault that gives the implementation's numbers, or else where the error sits.

A battery of fresh problems, full and truncated, runs on the implementation, on the reference, on the planted faults,
and on the cell with its gates in each other order. The diagnosis names a fault only if it repeats the implementation's
numbers, correct and incorrect ones, within tolerance on every problem.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bpttcheck.adapters.reference import Reference
from bpttcheck.contract import Case, Cotangents, CustomCell, Implementation, TwoPhase
from bpttcheck.explaining.factors import FACTORS, clipping
from bpttcheck.explaining.fitting import explain_some, gives
from bpttcheck.explaining.lags import lags_of
from bpttcheck.explaining.looking import FAILED, FLAGS, SECOND, Seen, differs_again, factors_of, looked_at
from bpttcheck.explaining.own_derivatives import OwnDerivatives
from bpttcheck.faults import FAULTS, Fault, gate_orders
from bpttcheck.measuring.calls import capabilities_of
from bpttcheck.measuring.completeness import kind
from bpttcheck.running.time_limit import USUAL, TimeLimit
from bpttref import CELLS, Cell


@dataclass(frozen=True)
class Diagnosis:
    """names: the planted faults that give exactly these numbers; several if nothing tells them apart.

    more: 0 if they explain all errors; 1 if each explains the simplest problem, and other problems have further errors;
    2 if only two faults together explain that problem. level: the described problem: the case that failed if it is
    incorrect in one call, else the simplest incorrect kind.
    wrong, right: the arrays, by gate, that differ from the reference at this problem, and that do not; over all
    problems if none differs.
    simplest: the simplest kind of fresh problem with errors. factors: the factors of some incorrect arrays. flags:
    mistakes other than incorrect numbers. clipped: how gradients are clipped. lags: how far back the gradient of x is
    correct. moody: whether a second run of a problem gave other numbers. cut: whether the time was up. own: whether the
    correct numbers are derivatives of the implementation's own forward pass.
    """

    names: tuple[str, ...]
    level: str
    wrong: tuple[str, ...]
    right: tuple[str, ...]
    factors: Mapping[str, str] = field(default_factory=dict)
    lags: str = ""
    moody: bool = False
    cut: bool = False
    more: int = 0
    simplest: str = ""
    flags: tuple[str, ...] = ()
    clipped: str = ""
    own: bool = False

    @property
    def broken(self) -> bool:
        """Whether there are errors in one call, or differences from call to call."""
        return bool(self.wrong or self.flags or self.moody)

    def sentence(self) -> str:
        """The diagnosis, and whether the time was up before all problems and planted faults were tried."""
        ended = " The time was up before every problem and every planted fault was tried." if self.cut else ""
        return self._found() + ended

    def _found(self) -> str:
        if self.moody and not self.names:
            return (
                "the same problem has other numbers when it is put again: something is left behind by one call for the "
                "next, and which arrays are incorrect changes with it"
            )
        if not self.wrong and not self.flags:
            right = "the gradients of fresh problems are the derivatives of the forward pass"
            if not self.right:
                right = "nobody knows the numbers of a single call"
            elif not self.own:
                right = "outputs and gradients of fresh problems are correct"
            return (
                f"{right}: look at what the law does after the first call, and at what the failing case has that they "
                "have not."
            )
        if self.names:
            statements = {fault.id: fault.statement.rstrip(".") for fault in FAULTS}
            named = [f"{name} ({statements[name]})" if name in statements else name for name in self.names]
            if self.more == 2:
                both = f"two planted faults together, {' and '.join(named)}"
                return f"array by array the numbers come from {both}: mend one, and run again; {self._where()}."
            said = f"the same numbers come from the planted fault {' or '.join(named)}"
            if self.more:
                said = f"at the smallest case {said}, but more is incorrect elsewhere: mend that, and run again"
            return f"{said}; {self._where()}."
        if self.clipped:
            return f"gradients are {self.clipped}; {self._where()}."
        lags = f" {self.lags}" if self.lags else ""
        right = ", ".join(in_short(self.right)) or "nothing"
        return f"no planted fault gives these numbers; {self._where()}; correct: {right}.{lags}"

    def _where(self) -> str:
        by_factor: dict[str, list[str]] = {}
        for block in self.wrong:
            by_factor.setdefault(self.factors.get(block, ""), []).append(block)
        parts = [
            ", ".join(in_short(blocks)) + (f" ({said})" if said else "") for said, blocks in by_factor.items()
        ] + list(self.flags)
        where = f"with {self.level}"
        if self.level == FAILED:
            where = f"at {FAILED}" + f", and at fresh problems from {self.simplest!r} on" * (self.simplest != FAILED)
        return f"{where}, incorrect: {'; '.join(parts)}"


def in_short(blocks: Sequence[str]) -> list[str]:
    """The blocks, the gates of an array together: "W_hh[gates f, i]"."""
    gates: dict[str, list[str]] = {}
    for block in blocks:
        array, _, gate = block.rstrip("]").partition("[gate ")
        gates.setdefault(array, []).extend([gate] * bool(gate))
    return [
        f"{array}[gate{'s' * (len(own) > 1)} {', '.join(own)}]" if own and len(own) < _gates(own) else array
        for array, own in gates.items()
    ]


def _gates(own: Sequence[str]) -> int:
    """The number of gates of the cell that has these."""
    return next(len(cell.gates) for cell in CELLS if set(own) <= set(cell.gates))


def whose_numbers(subject: Implementation, cell: Cell | CustomCell, against: Implementation | None) -> Implementation:
    """The implementation with the correct numbers: ``against`` or the reference. For an unknown cell without gradients
    in ``against``: the derivatives of its forward pass, or else of the implementation's own."""
    if not isinstance(cell, CustomCell):
        return against or Reference()
    if against is not None and capabilities_of(against).gradients:
        return against
    return OwnDerivatives(subject, forward=against)


def diagnose(
    subject: Implementation,
    cell: Cell | CustomCell,
    dtype: str,
    faults: Sequence[Fault] = FAULTS,
    failing: Sequence[tuple[Case, Cotangents]] = (),
    limit: TimeLimit | None = None,
    against: Implementation | None = None,
) -> Diagnosis | None:
    """Diagnose an implementation that broke a law; None if it always raises.

    against: see `whose_numbers`. failing: problems on which laws failed; they run before the fresh ones. limit: a
    minute by default; after it the remaining problems and faults are not tried. Raises AdapterError if the capabilities
    do.
    """
    limit = limit or TimeLimit(USUAL)
    reference = whose_numbers(subject, cell, against)
    found = list(looked_at(subject, reference, cell, dtype, failing, limit))
    if not found:
        return None
    broken = [seen for seen in found if seen.bad]
    level = broken[0].level if broken else ""
    simplest = next((seen.level for seen in broken if seen.level != FAILED), level)
    moody = any(differs_again(seen) for seen in found[:1] + broken[:1])
    doors = {"vjp"} if isinstance(subject, TwoPhase) else {"vjp", "loss_and_gradients"}
    own = isinstance(reference, OwnDerivatives) and against is None
    orders = () if isinstance(cell, CustomCell) else gate_orders(cell)
    everything = (*faults, *orders) if broken and not (own and moody) else ()  # moody ones have no derivatives
    candidates = [f for f in everything if f.door in doors and hasattr(reference, f.door) and f.fits(cell)]
    likely = [fault for fault in limit.within(candidates) if gives(fault, reference, broken)] or [
        fault
        for fault in candidates
        if fault.remembers  # these must see them all, in order
    ]
    names = [fault.id for fault in limit.within(likely) if gives(fault, reference, found)]
    first = [seen for seen in broken if seen.level == level] or found
    wrong, right, factors = _described(first)
    partly, more, clipped = list[str](), 0, ""
    if not names and not moody:
        clipped = clipping([seen.gradients() for seen in broken])
        plain = factors.keys() == set().union(*(seen.bad for seen in first)) and len(set(factors.values())) == 1
        if not clipped and not plain:
            partly, more = explain_some(list(limit.within(candidates)), reference, found, level)
    if more and level != simplest:  # the smallest case is explained, the others are not
        level = simplest
        wrong, right, factors = _described([seen for seen in broken if seen.level == level])
    unclear = broken and not (names or partly or clipped) and limit.left and "truncation" not in simplest
    return Diagnosis(
        tuple(names or partly),
        level,
        tuple(sorted(wrong - FLAGS)),
        tuple(sorted(block for block in right if not (own and (kind(block) in ("y", "final") or block == "loss")))),
        factors,
        lags_of(subject, reference, cell, dtype) if unclear else "",
        moody,
        limit.cut,
        more=more,
        simplest=simplest,
        flags=tuple(sorted(wrong & FLAGS)),
        clipped=clipped,
        own=own,
    )


def _described(problems: Sequence[Seen]) -> tuple[set[str], set[str], dict[str, str]]:
    """The incorrect arrays at these problems, the correct ones, and the factors of the incorrect ones.

    A second pullback's gradients are left out unless only they are incorrect.
    """
    wrong, right = set[str](), set[str]()
    factors: dict[str, set[str]] = {}
    for seen in problems:
        wrong |= seen.bad
        right |= seen.alive - seen.bad
        for block, of_block in factors_of(seen).items():
            factors[block] = factors.get(block, of_block) & of_block
    again = {block for block in wrong | right if block.startswith(SECOND)}
    telling = {block for block in wrong & again if block.removeprefix(SECOND) not in wrong}
    said = {block: min(seen, key=list(FACTORS).index) for block, seen in factors.items() if seen}
    return wrong - again | telling, right - wrong - again - FLAGS, said
