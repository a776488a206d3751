"""``pytest --bpttcheck TARGET``: a test per law, cell and dtype of a target.

pytest imports this module wherever bpttcheck is installed; it imports bpttcheck only where the option is given.
"""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from bpttcheck.reporting.checks import Check, Sitting
    from bpttcheck.running.run import Run

_RUN: "pytest.StashKey[Run]" = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bpttcheck", "backpropagation through time")
    group.addoption(
        "--bpttcheck",
        action="append",
        default=[],
        metavar="TARGET",
        help="Test this target of `bpttcheck verify` by the laws; may be repeated.",
    )
    group.addoption("--bpttcheck-examples", type=int, default=40, metavar="N", help="Cases per cell and dtype: 40.")
    group.addoption("--bpttcheck-seed", type=int, default=0, metavar="N", help="Another seed gives other cases: 0.")
    group.addoption(
        "--bpttcheck-budget",
        type=float,
        default=math.inf,
        metavar="SECONDS",
        help="Stop generating cases and shrinking failures after this time, in each cell and dtype.",
    )
    group.addoption(
        "--bpttcheck-timeout", type=float, default=300.0, metavar="SECONDS", help="Stop a call after this time: 300."
    )
    group.addoption("--bpttcheck-known-failures", type=Path, metavar="FILE", help="Expected failures.")
    group.addoption(
        "--bpttcheck-in-process", action="store_true", help="Run the targets in this process, for a debugger."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Raises UsageError where a target cannot be loaded."""
    targets = config.getoption("bpttcheck")
    if not targets:
        return
    option = {name: config.getoption(f"--bpttcheck-{name}") for name in ("examples", "seed", "budget", "timeout")}
    for name, least in (("examples", 1), ("seed", 0), ("budget", 0), ("timeout", 0)):
        if not option[name] >= least:
            raise pytest.UsageError(f"--bpttcheck-{name} must be at least {least}, not {option[name]}")
    from bpttcheck.running.known_failures import read_known_failures
    from bpttcheck.running.question import Question
    from bpttcheck.running.run import Run
    from bpttcheck.targets import TargetError

    try:
        known = tuple(read_known_failures(config.getoption("--bpttcheck-known-failures")))
        in_process = config.getoption("--bpttcheck-in-process")
        config.stash[_RUN] = Run.of(targets, Question(**option, known=known), in_process=in_process, raising=True)
    except (TargetError, ValueError, OSError) as error:
        raise pytest.UsageError(f"bpttcheck: {error}") from error


def pytest_unconfigure(config: pytest.Config) -> None:
    if _RUN in config.stash:
        config.stash[_RUN].end()


def pytest_report_header(config: pytest.Config) -> list[str]:
    if _RUN not in config.stash:
        return []
    run = config.stash[_RUN]
    targets = ", ".join(run.introduced)
    return [f"bpttcheck: seed {run.asked.seed}, {run.asked.cases} of {targets}"]


@pytest.hookimpl(tryfirst=True)  # before options such as -k and --lf select
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    if _RUN in config.stash:
        items.extend(session.genitems(Targets.from_parent(session, path=config.rootpath / "bpttcheck")))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Only laws whose tests were selected are tested."""
    for item in session.items:
        if isinstance(item, LawItem):
            item.check.sitting.laws.append(item.check.law.id)


class Targets(pytest.Directory):
    """The root of all laws: a directory only by its name, for ids that begin with ``bpttcheck::``."""

    def collect(self) -> Iterator[pytest.Collector]:
        from bpttcheck.reporting.checks import Sitting
        from bpttcheck.running.turns import judged_in

        run = self.config.stash[_RUN]
        targets: dict[str, list[Sitting]] = {}
        for share in run.shares:
            own = targets.setdefault(share.target, [])
            said = run.introduced[share.target]
            judged = partial(judged_in, run.places[share.target])
            sitting = Sitting(said.name, share, run.asked, said.shares[share], judged, [], own)
            yield CellAndDtype.from_parent(self, name="::".join(share), sitting=sitting)


class CellAndDtype(pytest.Collector):
    def __init__(self, *, sitting: "Sitting", **node: Any) -> None:
        super().__init__(**node)
        self.sitting = sitting
        self.extra_keyword_matches.add("bpttcheck")  # -k does not look at names of directories

    def collect(self) -> Iterator[pytest.Item]:
        from bpttcheck import LAWS
        from bpttcheck.reporting.checks import Check

        for law in LAWS:
            yield LawItem.from_parent(self, name=law.id, check=Check(self.sitting, law))


class LawItem(pytest.Item):
    def __init__(self, *, check: "Check", **node: Any) -> None:
        super().__init__(**node)
        self.check = check

    def runtest(self) -> None:
        self.check()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """A broken law in words; the traceback of anything else."""
        return str(excinfo.value) if excinfo.errisinstance(AssertionError) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        return self.path, None, self.nodeid.replace("::", " ")
