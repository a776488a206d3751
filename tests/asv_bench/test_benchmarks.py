"""The benchmarks' gate: a slow-down and a leak, planted in a repository of their own, are named with their commits."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLOWER = """
_vjp = vjp


def vjp(*arguments, **options):
    _vjp(*arguments, **options)
    return _vjp(*arguments, **options)
"""
LEAK = """
_streamed_gradients, _leaked = streamed_gradients, []


def streamed_gradients(cell, parameters, chunks, objective, *others):
    def keeping(y, start):
        _leaked.append(y)
        return objective(y, start)

    return _streamed_gradients(cell, parameters, chunks, keeping, *others)
"""

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("asv") is None, reason="asv is not installed: python -m pip install --group bench"
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A copy of this project with three commits: as it is, slower, and leaking."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("reference", "properties"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "asv_bench", folder / "asv_bench", ignore=shutil.ignore_patterns(".asv", "results"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, folder)

    def git(*arguments):
        subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True)

    git("init", "--quiet")
    for message, planted in (("as it is", ""), ("slower", SLOWER), ("leak", LEAK)):
        with (folder / "reference/bpttref/__init__.py").open("a") as source:
            source.write(planted)
        git("add", "--all")
        git("-c", "user.name=test", "-c", "user.email=test@test", "commit", "--quiet", "--message", message)
    return folder


def gate(repository, *arguments):
    command = [sys.executable, repository / "asv_bench/gate.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "BENCH_SECONDS": "0.5"})


def test_a_slow_down_is_named(repository):
    found = gate(repository, "HEAD~2", "HEAD~1", "--bench", r"track_over_products\('(full|regular)', 'rnn'\)")
    assert found.returncode == 1, found.stdout + found.stderr
    assert "speed.Gradient.track_over_products('full', 'rnn')" in found.stdout
    assert "(slower) against" in found.stdout and "worse in 1 of 2 cells" in found.stdout


def test_a_leak_is_named(repository):
    found = gate(repository, "HEAD~1", "--bench", r"track_peak_over_theory\('(full|regular)', 'rnn'\)")
    assert found.returncode == 1, found.stdout + found.stderr
    assert "memory.Theory.track_peak_over_theory('regular', 'rnn')" in found.stdout
    assert "(leak) against" in found.stdout and "worse in 1 of 2 cells" in found.stdout


def test_the_last_change_of_the_reference_is_no_worse():
    """In memory and in the quality of gradients, whose numbers are exact."""

    def git(*arguments):
        return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True).stdout.strip()

    last = git("log", "-1", "--format=%H", "--", "reference")
    before = git("rev-parse", "--verify", "--quiet", f"{last}~1") if last else ""
    if not before:
        pytest.skip("there is no history here: compare in a full clone")
    found = gate(ROOT, before, last, "--exact")
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["no-such-commit"], "'no-such-commit' is not a commit here"),
        (["HEAD"], "HEAD and HEAD are the same commit"),
        (["HEAD~1", "--bench", "no_such_series"], "nothing was measured"),
    ],
)
def test_not_knowing_is_not_passing(repository, arguments, sentence):
    found = gate(repository, *arguments)
    assert (found.returncode, sentence in found.stderr) == (2, True), found.stdout + found.stderr
