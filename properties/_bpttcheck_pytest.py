"""``pytest --bpttcheck TARGET``: a test per law, cell and dtype of a target.

pytest imports this module wherever bpttcheck is installed; it imports bpttcheck only where the option is given.
"""

from collections.abc import Iterator
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
        help="Put this target of `bpttcheck verify` to the laws; may be repeated.",
    )
    group.addoption("--bpttcheck-examples", type=int, default=40, metavar="N", help="Cases per cell and dtype: 40.")
    group.addoption("--bpttcheck-seed", type=int, default=0, metavar="N", help="Draw other cases: 0.")


def pytest_configure(config: pytest.Config) -> None:
    """Raises UsageError where a target cannot be loaded."""
    targets = config.getoption("bpttcheck")
    if not targets:
        return
    for option, least in (("--bpttcheck-examples", 1), ("--bpttcheck-seed", 0)):
        if config.getoption(option) < least:
            raise pytest.UsageError(f"{option} must be at least {least}, not {config.getoption(option)}")
    from bpttcheck.running.parallel import Question
    from bpttcheck.running.run import Run
    from bpttcheck.targets import TargetError

    asked = Question(examples=config.getoption("--bpttcheck-examples"), seed=config.getoption("--bpttcheck-seed"))
    try:
        config.stash[_RUN] = Run.of(targets, asked, raising=True)
    except TargetError as error:
        raise pytest.UsageError(f"bpttcheck: {error}") from error


def pytest_report_header(config: pytest.Config) -> list[str]:
    if _RUN not in config.stash:
        return []
    run = config.stash[_RUN]
    targets = ", ".join(run.subjects)
    return [f"bpttcheck: seed {run.asked.seed}, {run.asked.examples} examples per cell and dtype of {targets}"]


@pytest.hookimpl(tryfirst=True)  # before options such as -k and --lf select
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    if _RUN in config.stash:
        items.extend(session.genitems(Targets.from_parent(session, path=config.rootpath / "bpttcheck")))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Only laws whose tests were selected are judged."""
    for item in session.items:
        if isinstance(item, LawItem):
            item.check.sitting.laws.append(item.check.law.id)


class Targets(pytest.Directory):
    """The root of all laws: a directory by its name alone, for ids that begin with ``bpttcheck::``."""

    def collect(self) -> Iterator[pytest.Collector]:
        from bpttcheck.reporting.checks import Sitting

        run = self.config.stash[_RUN]
        targets: dict[str, list[Sitting]] = {}
        for share in run.shares:
            own = targets.setdefault(share.target, [])
            sitting = Sitting(run.subjects[share.target], share, run.asked, [], own)
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
