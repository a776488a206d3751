"""The series of a benchmark end where its code changes, and at no other change."""

import importlib
import os
import sys
from pathlib import Path

ROOT = next(folder for folder in Path(__file__).parents if (folder / "tox.ini").is_file())
sys.path.append(str(ROOT / "asv_bench"))
for library in ("OPENBLAS", "OMP"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

from benchmarks.common import Benchmark  # noqa: E402

CODE = """
from benchmarks.common import Benchmark


class Length(Benchmark):
    \"\"\"{}\"\"\"

    def track_length(self):
        \"\"\"{}\"\"\"  # {}
        return len("{}")
"""


def test_a_series_ends_where_code_changes_and_not_where_words_do(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def version(name, *texts):
        (tmp_path / f"{name}.py").write_text(CODE.format(*texts))
        cls = importlib.import_module(name).Length
        assert issubclass(cls, Benchmark)
        return cls.version

    first = version("first", "Of a word.", "Its letters.", "counted", "word")
    assert version("reworded", "Of a text.", "Letters.", "added up", "word") == first
    assert version("changed", "Of a word.", "Its letters.", "counted", "words") != first
