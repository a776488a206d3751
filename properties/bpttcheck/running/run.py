"""A run: targets, what is asked of them, and what became of it.

    run = Run.of(["reference"], Question(cells=("lstm",), seed=1))
    for share in run.judge():
        print(*share)
    print(summary(run.results), run.exit_status())

`verify` is this with a terminal around it; `matrix` puts several side by side, and pytest judges one share by share.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from bpttcheck.contract import Implementation, require
from bpttcheck.exit_status import INTERRUPTED, exit_status
from bpttcheck.measuring.calls import capabilities_of
from bpttcheck.printable import printable
from bpttcheck.running.known_failures import KnownFailure, settle
from bpttcheck.running.parallel import Progress, Question, Share, judge_here, judge_in_processes, shares
from bpttcheck.running.results import Result, unproved
from bpttcheck.running.verdict import NOTHING, Own
from bpttcheck.targets import TargetError, cell_named, load
from bpttcheck.versions import libraries, versions


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

    @property
    def unproved(self) -> list[str]:
        """A sentence for each part of it of which nothing was proved: that is not green."""
        return unproved(self.results)


@dataclass
class Run:
    """What was asked, and a record for each target. when: in UTC. versions: of what takes part in every result.

    subjects: the targets that could be loaded. shares: what there is to judge of them, in the order of a verdict. own:
    what the user brings. These are empty in a run that was read from a file.
    """

    asked: Question
    targets: list[Record]
    interrupted: bool = False
    when: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M}")
    versions: Mapping[str, str] = field(default_factory=versions)
    subjects: Mapping[str, Implementation] = field(default_factory=dict)
    shares: Sequence[Share] = ()
    own: Own = NOTHING

    @classmethod
    def of(
        cls,
        targets: Iterable[str],
        asked: Question,
        *,
        where_declared: bool = False,
        in_detail: bool = False,
        raising: bool = False,
    ) -> "Run":
        """The run of some targets, before anything is judged.

        where_declared: whether a cell or dtype that no target has is left out with no complaint. in_detail: whether the
        records name the libraries, which takes a moment. raising: whether a target that cannot be loaded is raised
        instead of noted in its record. Raises TargetError if none can be loaded, and ValueError, with a sentence, where
        what is asked fits none of them.
        """
        subjects, records = _loaded(targets, in_detail, raising)
        if not where_declared:
            _check_selection(subjects.values(), asked)
        todo = [share for target, subject in subjects.items() for share in shares(target, subject, asked)]
        own = asked.own()
        return cls(asked, list(records.values()), subjects=subjects, shares=_fitting(todo, subjects, own), own=own)

    def judge(
        self, jobs: int = 1, progress: Progress = lambda result: None, *, raising: bool = False
    ) -> Iterator[Share]:
        """Judge all shares in so many processes, and yield each when it is in the records, known failures settled.

        progress: called with each result that changes, in one process alone. raising: whether what spoils a share is
        raised instead of noted.
        """
        outcomes = (
            judge_here(self.shares, self.subjects, self.asked, progress)
            if jobs == 1
            else judge_in_processes(self.shares, self.asked, jobs)
        )
        records = {record.target: record for record in self.targets}
        found: dict[Share, list[Result]] = {}
        for share, outcome in outcomes:
            record = records[share.target]
            if isinstance(outcome, list):
                found[share] = [replace(result, subject=record.name) for result in outcome]
                settle(found[share], share.target, self.asked.known)
                record.results = [r for s in self.shares if s.target == share.target for r in found.get(s, ())]
            elif raising:
                raise outcome
            else:
                sentence = f"{share.target}, {share.cell} {share.dtype}: {outcome or type(outcome).__name__}"
                record.errors.append(sentence)
            yield share

    @property
    def results(self) -> list[Result]:
        """Those of all targets."""
        return [result for record in self.targets for result in record.results]

    @property
    def errors(self) -> list[str]:
        """Why something could not be judged, and of which targets, cells and dtypes nothing was proved."""
        return [
            sentence
            for record in self.targets
            for sentence in (*record.errors, *(f"{record.target}: {said}" for said in record.unproved))
        ]

    def exit_status(self, *, at_fault: bool = False, failing: bool = False) -> int:
        """That of the command. at_fault, failing: whether something beside the results is at fault, or fails. A failure
        on file that fails again says more than that nothing new was proved."""
        if self.interrupted:
            return INTERRUPTED
        statuses = {result.status for result in self.results}
        spoilt = any(record.errors or (record.unproved and not failing) for record in self.targets)
        return exit_status(statuses, at_fault=at_fault or spoilt, failing=failing)


def unmet(asked: Question, records: Sequence[Record]) -> list[KnownFailure]:
    """The known failures that concern some targets and speak of nothing that was judged."""
    targets = [record.target for record in records]
    return [
        entry
        for entry in asked.known
        if entry.concerns(targets, asked.laws, asked.cells, asked.dtypes)
        and not any(entry.is_met_by(record.target, result) for record in records for result in record.results)
    ]


def _loaded(
    targets: Iterable[str], in_detail: bool, raising: bool
) -> tuple[dict[str, Implementation], dict[str, Record]]:
    """The targets that can be loaded, and a record of each, by a name that no other has.

    Raises TargetError if there is none to judge.
    """
    subjects: dict[str, Implementation] = {}
    records: dict[str, Record] = {}
    errors: list[TargetError] = []
    for target in targets:
        try:
            subject = subjects[target] = load(target)
            used = libraries(subject) if in_detail else {}
            said = {printable(str(k)): printable(str(v)) for k, v in capabilities_of(subject).conventions.items()}
            records[target] = Record(target, printable(str(subject.name)), used, said)
        except TargetError as error:
            if raising:
                raise
            errors.append(error)
            records[target] = Record(target, errors=[str(error)])
    if not subjects:
        raise errors[0]
    named = Counter(subject.name for subject in subjects.values())
    for target, subject in subjects.items():
        if named[subject.name] > 1:  # two files that were begun from one template, say
            records[target].name = f"{subject.name} ({target})"
    return subjects, records


def _check_selection(subjects: Iterable[Implementation], asked: Question) -> None:
    """A selection that matches nothing would judge nothing and look like success. Raises ValueError."""
    declared = [capabilities_of(subject) for subject in subjects]
    known_cells = sorted({cell.name for capabilities in declared for cell in capabilities.cells})
    known_dtypes = sorted({dtype for capabilities in declared for dtype in capabilities.dtypes})
    for what, chosen, known in (("cell", asked.cells, known_cells), ("dtype", asked.dtypes, known_dtypes)):
        for name in chosen:
            if name not in known:
                raise ValueError(f"no target has the {what} {name!r}; there are {', '.join(known)}")


def _fitting(todo: list[Share], subjects: Mapping[str, Implementation], own: Own) -> list[Share]:
    """The shares for which the user's own case and the implementation that is right will do.

    Raises ValueError, with a sentence, if there is none.
    """
    if own.sizes and own.case:
        raise ValueError("--case has sizes of its own: leave out --sizes")
    if against := own.against:
        require(against, "be what others are judged against", inputs=(), outputs=(), gradients=())
    fitting, reasons = [], []
    for share in todo:
        subject = subjects[share.target]
        try:
            capabilities = capabilities_of(subject).at(own.sizes)
            if own.case is not None:
                own.case.holds(cell_named(subject, share.cell), share.dtype, capabilities)
            if against and share.cell not in {cell.name for cell in capabilities_of(against).cells}:
                raise ValueError(f"{against.name}, which is to be right, has no cell {share.cell}")
            fitting.append(share)
        except ValueError as error:
            reasons.append(error)
    if reasons and not fitting:
        raise reasons[0]
    return fitting
