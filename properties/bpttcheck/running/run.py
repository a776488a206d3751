"""A run: targets, the question, and the results.

    run = Run.of(["reference"], Question(cells=("lstm",), seed=1))
    for share in run.judge():
        print(*share)
    print(summary(run.results), run.exit_status())

`verify` shows a run on a terminal, `matrix` shows several side by side, and pytest tests one share by share.
Each target is loaded and called in a process of its own.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from bpttcheck.exit_status import INTERRUPTED, exit_status
from bpttcheck.measuring.calls import AdapterError
from bpttcheck.misspelt import did_you_mean
from bpttcheck.running.child import Child, Here, Place
from bpttcheck.running.cluster import judge_on
from bpttcheck.running.introduction import Introduction, introduce
from bpttcheck.running.known_failures import KnownFailure, settle
from bpttcheck.running.question import Question, Share
from bpttcheck.running.results import Result, unproved
from bpttcheck.running.turns import Show, judge_all
from bpttcheck.targets import TargetError, load
from bpttcheck.versions import versions
from bpttcheck.workers import Workers


@dataclass
class Record:
    """The results of a target, and the facts about it.

    name: its own; empty where it could not be loaded. libraries: their versions. conventions: as declared.
    diagnoses: of cells that fail, by cell and heading. errors: why something could not be tested.
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
        """A sentence for each part about which nothing was proved; such a part does not count as passed."""
        return unproved(self.results)


@dataclass
class Run:
    """A question, and a record for each target. when: in UTC. versions: of the packages behind every result.

    introduced: the introductions of the targets that could be loaded. places: of these targets. These are empty in a
    run that was read from a file.
    """

    asked: Question
    targets: list[Record]
    interrupted: bool = False
    when: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M}")
    versions: Mapping[str, str] = field(default_factory=versions)
    introduced: Mapping[str, Introduction] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        targets: Iterable[str],
        asked: Question,
        *,
        where_declared: bool = False,
        in_detail: bool = False,
        in_process: bool = False,
        raising: bool = False,
    ) -> "Run":
        """The run of some targets, before anything is tested.

        where_declared: whether a cell or dtype that no target has is left out with no complaint. in_detail: whether the
        records name the libraries, which takes a moment. in_process: whether the targets are loaded in this process.
        raising: whether a target that cannot be loaded is raised instead of noted in its record. Raises TargetError if
        none can be loaded, and ValueError, with a sentence, where the question fits none of them.
        """
        run = cls(asked, [])
        places: dict[str, Place] = {}
        introduced: dict[str, Introduction] = {}
        errors: list[TargetError] = []
        for target in targets:
            run.targets.append(Record(target))
            try:
                places[target] = Here(load(target)) if in_process else Child(target, asked.timeout)
                said = introduced[target] = places[target].ask(introduce, target, asked, in_detail)
                run.targets[-1] = Record(target, said.name, said.libraries, said.conventions)
            except (TargetError, AdapterError) as error:
                if raising:
                    raise
                told = error if isinstance(error, TargetError) else TargetError(f"{target}: {error}")
                run.targets[-1].errors.append(str(told))
                errors.append(told)
        if not introduced:
            raise errors[0]
        if not where_declared:
            _check_selection(introduced.values(), asked)
        run.introduced, run.places = introduced, places
        if not run.shares and (unfit := [sentence for said in introduced.values() for sentence in said.unfit]):
            raise ValueError(unfit[0])
        named = Counter(said.name for said in introduced.values())
        for record in run.targets:
            if named[record.name] > 1:  # two files that were begun from one template, say
                record.name = f"{record.name} ({record.target})"
        return run

    @property
    def shares(self) -> list[Share]:
        """The shares to test, in the order of a verdict."""
        return [share for said in self.introduced.values() for share in said.shares]

    def judge(
        self,
        jobs: int = 1,
        show: Show = lambda turns: None,
        *,
        workers: Workers | None = None,
        raising: bool = False,
    ) -> Iterator[Share]:
        """Test all shares, so many at a time, and yield each when it is in the records, known failures settled.

        show: called with what is under way. workers: of a cluster, where it is done there. raising: whether what spoils
        a share is raised instead of noted.
        """
        alone = {target for target, said in self.introduced.items() if said.on_gpu}
        outcomes = (
            judge_all(self.shares, self.places, self.asked, jobs, alone, show)
            if workers is None
            else judge_on(workers, self.shares, self.asked, show)
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

    def end(self) -> None:
        """End the processes of all targets."""
        for place in self.places.values():
            if isinstance(place, Child):
                place.end()

    @property
    def results(self) -> list[Result]:
        """The results of all targets."""
        return [result for record in self.targets for result in record.results]

    @property
    def errors(self) -> list[str]:
        """Why something could not be tested, and of which targets, cells and dtypes nothing was proved."""
        return [
            sentence
            for record in self.targets
            for sentence in (*record.errors, *(f"{record.target}: {said}" for said in record.unproved))
        ]

    def exit_status(self, *, at_fault: bool = False, failing: bool = False) -> int:
        """The exit status of the command. at_fault, failing: whether something other than a result is at fault, or
        fails. A failure on file that fails again counts more than results that prove nothing."""
        if self.interrupted:
            return INTERRUPTED
        statuses = {result.status for result in self.results}
        spoilt = any(record.errors or (record.unproved and not failing) for record in self.targets)
        spoilt |= any(result.died for result in self.results)
        return exit_status(statuses, at_fault=at_fault or spoilt, failing=failing)


def unmet(asked: Question, records: Sequence[Record]) -> list[KnownFailure]:
    """The known failures that concern some targets and match nothing that was tested."""
    targets = [record.target for record in records]
    return [
        entry
        for entry in asked.known
        if entry.concerns(targets, asked.laws, asked.cells, asked.dtypes)
        and not any(entry.is_met_by(record.target, result) for record in records for result in record.results)
    ]


def _check_selection(introduced: Collection[Introduction], asked: Question) -> None:
    """Raises ValueError for a selection that matches nothing: it would test nothing and look like success."""
    known_cells = sorted({cell for said in introduced for cell in said.cells})
    known_dtypes = sorted({dtype for said in introduced for dtype in said.dtypes})
    for what, chosen, known in (("cell", asked.cells, known_cells), ("dtype", asked.dtypes, known_dtypes)):
        for name in chosen:
            if name not in known:
                near = did_you_mean(name, known)
                raise ValueError(f"no target has the {what} {name!r}; there are {', '.join(known)}{near}")
