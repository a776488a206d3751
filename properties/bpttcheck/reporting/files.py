"""The files that a verdict is written to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bpttcheck.explaining.explanation import Explanation
from bpttcheck.reporting.junit import to_junit
from bpttcheck.reporting.page import blank_page, to_html
from bpttcheck.reporting.record import to_json
from bpttcheck.running.run import Run


@dataclass(frozen=True)
class Reports:
    """None where a file was not asked for."""

    json_file: Path | None
    junit_file: Path | None
    html_file: Path | None

    def prepare(self) -> None:
        """Find out before the work whether it can be written.

        Raises OSError, ValueError if two are one file, and ImportError without Jinja.
        """
        files = [file.resolve() for file in (self.json_file, self.junit_file, self.html_file) if file is not None]
        if len(set(files)) < len(files):
            raise ValueError("--json, --junit and --html ask for the same file: give each a name of its own")
        for file in files:
            file.open("a").close()
        if self.html_file is not None:
            blank_page("verdict")

    def write(self, run: Run, explained: Sequence[Explanation] = ()) -> str:
        """All that is known by now; returns why that could not be done, or nothing."""
        try:
            if self.junit_file is not None:
                self.junit_file.write_text(to_junit(run.results), encoding="utf-8")
            if self.json_file is not None:
                self.json_file.write_text(to_json(run) + "\n", encoding="utf-8")
            if self.html_file is not None:
                self.html_file.write_text(to_html(run, explained), encoding="utf-8")
        except OSError as error:
            return f"the verdict could not be written: {error}"
        return ""
