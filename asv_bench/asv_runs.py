"""asv, as the gate and the history use it: chosen commits on a machine with a neutral name, results as plain cells.

A cell is a benchmark with parameters, ``memory.Traced.track_peak_bytes('full', 64)``. Its value is None if it failed,
NaN if it was skipped.
"""

import itertools
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeAlias

from asv.config import Config
from asv.environment import get_environments
from asv.results import iter_results_for_machine

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Cell(NamedTuple):
    benchmark: str
    parameters: tuple[str, ...]  # their reprs

    def __str__(self) -> str:
        return f"{self.benchmark}({', '.join(self.parameters)})"


Cells: TypeAlias = dict[Cell, float | None]


def refuse(sentence: str) -> NoReturn:
    """End the command because nothing was found out."""
    print(f"{Path(sys.argv[0]).name}: {sentence}", file=sys.stderr)
    sys.exit(2)


def git(*arguments: str) -> str:
    """The output of git on the repository. Raises subprocess.CalledProcessError if it refuses."""
    command = ["git", "-C", str(HERE), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def configured(results: Path) -> Path:
    """The configuration of asv, with absolute paths: written down in ``.asv``."""
    config = json.loads((HERE / "asv.conf.json").read_text())
    config |= {"repo": str(HERE.parent), "benchmark_dir": str(HERE / "benchmarks"), "env_dir": str(HERE / ".asv/env")}
    config["results_dir"] = str(results)
    written = HERE / ".asv" / "asv.conf.json"
    written.parent.mkdir(exist_ok=True)
    written.write_text(json.dumps(config))
    return written


def python() -> str:
    """The interpreter of the environment that `asv.conf.json` pins; it is made if it is missing."""
    [environment] = get_environments(Config.load(str(configured(RESULTS))), None)
    environment.create()
    return str(environment.find_executable("python"))


def measure(commits: Sequence[str], results: Path, machine: str, pattern: str, *options: str) -> None:
    """Benchmark full hashes into a folder of results.

    Raises RuntimeError if asv itself fails; a commit that cannot be built, or a benchmark that fails, is not a failure.
    """
    asv = [sys.executable, "-m", "asv", "--config", str(configured(results))]
    described = {"os": platform.system().lower(), "arch": platform.machine(), "cpu": "any", "ram": "any"}
    described |= {"machine": machine, "num_cpu": str(os.cpu_count())}
    fields = [argument for name, text in described.items() for argument in (f"--{name}", text)]
    environment = {**os.environ, **ONE_THREAD}
    subprocess.run([*asv, "machine", *fields], check=True, env=environment, stdout=subprocess.DEVNULL)
    run = ["run", "HASHFILE:-", "--machine", machine, "--bench", pattern, "--launch-method", "forkserver", *options]
    status = subprocess.run([*asv, *run], input="\n".join(commits), text=True, env=environment).returncode
    if status not in (0, 2):  # 2: some benchmark failed
        raise RuntimeError(f"asv ended with status {status}; its last lines say why")


def measured(results: Path, machine: str) -> dict[str, Cells]:
    """By commit, newest first, the cells of the benchmarks as they are now: cells of older versions are left out."""
    known = json.loads((results / "benchmarks.json").read_text())
    by_date: list[tuple[int, str, Cells]] = []
    for result in iter_results_for_machine(str(results), machine):
        cells: Cells = {}
        for name in result.get_all_result_keys():
            if name in known and result.benchmark_version.get(name) == known[name]["version"]:
                parameters = result.get_result_params(name)
                values = result.get_result_value(name, parameters)
                cells |= {Cell(name, p): v for p, v in zip(itertools.product(*parameters), values, strict=True)}
        by_date.append((result.date, result.commit_hash, cells))
    return {commit: cells for _, commit, cells in sorted(by_date, key=lambda dated: dated[0], reverse=True)}
