"""The benchmarks and their gate on this repository itself; a file of its own, so that another process may run it."""

import json
import os
import subprocess
import sys

import pytest

from .test_benchmarks import ROOT, gate, pytestmark  # noqa: F401


def test_each_benchmark_runs_once(tmp_path):
    """With the installed libraries; others are skipped."""
    config = json.loads((ROOT / "asv_bench/asv.conf.json").read_text())
    folders = {"repo": ROOT, "benchmark_dir": ROOT / "asv_bench/benchmarks", "results_dir": tmp_path / "results"}
    (tmp_path / "asv.conf.json").write_text(json.dumps(config | {name: str(path) for name, path in folders.items()}))
    asv = [sys.executable, "-m", "asv", "--config", tmp_path / "asv.conf.json"]
    any_machine = [f"--{field}=any" for field in ("os", "arch", "cpu", "num_cpu", "ram")]
    subprocess.run([*asv, "machine", "--machine=this-machine", *any_machine], check=True, capture_output=True)
    once = ["--quick", "--dry-run", "--show-stderr", "--launch-method=forkserver", "--environment=existing"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "BENCH_SECONDS": "0"}
    run = [*asv, "run", *once, "--machine=this-machine"]
    ran = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert ran.returncode == 0 and "failed" not in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.thorough
def test_the_last_change_of_the_reference_is_no_worse():
    """In the work, in memory and in the quality of gradients, whose numbers are exact."""

    def git(*arguments):
        return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True).stdout.strip()

    last = git("log", "-1", "--format=%H", "--", "reference")
    before = git("rev-parse", "--verify", "--quiet", f"{last}~1") if last else ""
    if not before:
        pytest.skip("there is no history here: compare in a full clone")
    found = gate(ROOT, before, last, "--exact")
    assert found.returncode == 0, found.stdout + found.stderr
