"""The files that a verdict is written to."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bpttcheck.explaining.explanation import Explanation
from bpttcheck.reporting.badge import to_badge
from bpttcheck.reporting.junit import to_junit
from bpttcheck.reporting.page import blank_page, to_html
from bpttcheck.reporting.record import to_json
from bpttcheck.running.run import Run

_BEGINS = {  # as text
    "json": "{",
    "badge": '{"schemaversion": 1',
    "junit": "<?xml",
    "html": "<!doctype html",
    "png": "\ufffdpng",
    "svg": "<?xml",
}


@dataclass(frozen=True)
class Reports:
    """The requested files; None where one was not requested."""

    json_file: Path | None
    junit_file: Path | None
    html_file: Path | None
    badge_file: Path | None = None

    @property
    def to_standard_output(self) -> bool:
        """Whether a report goes to standard output, so that nothing else should."""
        standard = Path("/dev/stdout")  # nothing, where it is closed
        return standard.exists() and any(file.exists() and file.samefile(standard) for _, file in self._asked())

    def prepare(self) -> None:
        """Find out before the work whether the files can be written; this leaves no new file behind.

        Raises OSError, ValueError if two are one file or a file is there that is no such report, and ImportError
        without Jinja.
        """
        asked = dict(self._asked())
        if len({file.absolute() for file in asked.values()}) < len(asked):
            raise ValueError("--json, --junit, --html and --badge name the same file: give each its own name")
        check(**asked)
        if self.html_file is not None:
            blank_page("verdict")

    def begin(self, run: Run) -> None:
        """Replace the reports of an earlier run by reports that this run has not ended. Raises OSError."""
        unfinished = replace(run, interrupted=True)
        for option, file in self._asked():
            if _is_regular(file):
                write(file, self._text(option, unfinished, ()))

    def write(self, run: Run, explained: Sequence[Explanation] = ()) -> str:
        """Write all results so far, each report on its own; returns why one could not be written, or an empty text."""
        failed = []
        for option, file in self._asked():
            try:
                write(file, self._text(option, run, explained))
            except OSError as error:
                failed.append(str(error))
        return f"the verdict could not be written: {'; '.join(failed)}" if failed else ""

    def _asked(self) -> Iterator[tuple[str, Path]]:
        files = {
            "json": self.json_file,
            "junit": self.junit_file,
            "html": self.html_file,
            "badge": self.badge_file,
        }
        return ((option, file) for option, file in files.items() if file is not None)

    @staticmethod
    def _text(option: str, run: Run, explained: Sequence[Explanation]) -> str:
        made: dict[str, Callable[[], str]] = {
            "json": lambda: to_json(run) + "\n",
            "junit": lambda: to_junit(run),
            "html": lambda: to_html(run, explained),
            "badge": lambda: to_badge(run),
        }
        return made[option]()


def _is_regular(file: Path) -> bool:
    """Whether it is a file, or can become one: a pipe or a terminal is written to once, at the end."""
    return not file.exists() or stat.S_ISREG(os.stat(file).st_mode)


def check(**asked: Path | None) -> None:
    """Look at the files that options name, by option.

    Raises OSError if one cannot be written, and ValueError if there is one that such an option did not write.
    """
    for option, file in asked.items():
        if file is not None and (_is_regular(file) or file.is_dir()):
            _check(option, file)


def _check(option: str, file: Path) -> None:
    there = file.exists()
    with file.open("a"):
        pass
    if not there:
        file.unlink()
    elif (begins := _beginning(file)) and not begins.startswith(_BEGINS[option]):
        raise ValueError(f"{file} exists, and --{option} did not write it: name another file, or remove it")


def _beginning(file: Path) -> str:
    with file.open(encoding="utf-8", errors="replace") as text:
        return text.read(100).lstrip().lower()


def write(file: Path, text: str) -> None:
    """Write the whole text or nothing, if it is a regular file; a character that cannot be encoded becomes a question
    mark."""
    data = text.encode("utf-8", errors="replace")
    if not _is_regular(file):
        with file.open("wb") as pipe:
            pipe.write(data)
        return
    whole = file.resolve()
    unfinished = whole.with_name(f"{whole.name}.unfinished")
    unfinished.write_bytes(data)
    unfinished.replace(whole)
