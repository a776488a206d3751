"""Removals: the strict parts of the code are taken away piece by piece, and some test must notice.

    tox -e removals
    tox -e removals -- --tests tests/reference/test_strategies.py reference/bpttref/strategies.py

Taken away are each ``raise``; in the laws each ``yield`` of comparisons; in the tolerance either side of each sum,
difference, product and quotient. First the tests run once, to learn which of them reach which line, and their times.
The tests that reach a removal then run on it, the quickest first, until one fails. Both are kept in build/removals:
interrupt and repeat the command to go on, or remove the folder to begin anew. Words choose the removals that they are
part of. All of them take some hours. Exit status: 1 if a removal goes unnoticed.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from xml.etree import ElementTree

import click
from coverage import CoverageData
from rich.progress import track

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "build" / "removals"
SOURCES = ("reference", "properties")
PATIENCE = 900  # seconds that the tests of one removal may take; a removal after which something hangs is noticed
WATCHING = {  # files that make each process note the lines that it runs, and for which test
    "removals.ini": """
[run]
parallel = true
source_pkgs = bpttref, bpttcheck, _bpttcheck_pytest
context = ${PYTEST_CURRENT_TEST-}
data_file = ${REMOVALS_DATA}
""",
    "sitecustomize.py": """
import coverage
coverage.process_startup()
""",
    "removals_plugin.py": """
import coverage

def pytest_runtest_logstart(nodeid, location):
    coverage.Coverage.current().switch_context(nodeid)
""",
}


@dataclass(frozen=True)
class Removal:
    """The text of ``file`` from byte ``start`` to byte ``stop``, which begins on ``line``, becomes ``instead``."""

    file: str
    line: int
    start: int
    stop: int
    instead: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def removals(file: Path) -> Iterator[Removal]:
    """All that can be taken from a file."""
    source, name = file.read_bytes(), str(file.relative_to(ROOT))
    lines = source.splitlines(keepends=True)

    def removal(node: ast.stmt | ast.expr, instead: str) -> Removal:
        assert node.end_lineno is not None and node.end_col_offset is not None
        start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
        stop = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
        text = " ".join(source[start:stop].decode().split())
        return Removal(name, node.lineno, start, stop, instead, f"{text} -> {instead}")

    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Raise():
                yield removal(node, "pass")
            case ast.Expr(value=ast.Yield() | ast.YieldFrom()) if file.parent.name == "laws":
                yield removal(node, "yield from ()")
            case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div()) if file.name == "tolerance.py":
                yield from (removal(node, ast.unparse(side)) for side in (node.left, node.right))


@dataclass
class Reach:
    """Which tests reach a line, by file, and the seconds that each test takes."""

    tests: dict[str, dict[int, list[str]]]
    seconds: dict[str, float]


def reach(tree: Path, jobs: int, chosen: Sequence[str]) -> Reach:
    """Run the tests in a copy of the project, and note what they reach, also in processes that they start."""
    kept = tree.parent / "reach.json"
    if not kept.exists():
        for name, text in WATCHING.items():
            (tree / name).write_text(text)
        watched = environment(tree, ".") | {"COVERAGE_PROCESS_START": str(tree / "removals.ini")}
        watched |= {"REMOVALS_DATA": str(tree / ".coverage")}
        command = [sys.executable, "-m", "pytest", "-q", "-n", str(jobs), "--junit-xml=times.xml"]
        subprocess.run([*command, "-p", "removals_plugin", *chosen], cwd=tree, env=watched)
        subprocess.run([sys.executable, "-m", "coverage", "combine", "-q"], cwd=tree, check=True)
        times = {
            f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}": float(case.get("time", 0))
            for case in ElementTree.parse(tree / "times.xml").iter("testcase")
            if case.find("failure") is None and case.find("error") is None  # a test that fails anyway notices nothing
        }
        data = CoverageData(str(tree / ".coverage"))
        data.read()
        found: dict[str, dict[int, list[str]]] = {}
        for file in data.measured_files():
            lines = data.contexts_by_lineno(file).items()
            tests = {
                line: sorted({test for c in contexts if (test := test_of(c)) in times}) for line, contexts in lines
            }
            found[str(Path(file).resolve().relative_to(tree.resolve()))] = tests
        kept.write_text(json.dumps([found, times]))
    found, times = json.loads(kept.read_text())
    return Reach({file: {int(n): tests for n, tests in lines.items()} for file, lines in found.items()}, times)


def test_of(context: str) -> str:
    """The test that coverage names "id" in the process of the tests, "id (call)" in one that the test started."""
    return re.sub(r" \((setup|call|teardown)\)$", "", context)


def noticed_by(removal: Removal, tests: Sequence[str], tree: Path) -> str:
    """The test that notices a removal in a copy of the project; empty if none does."""
    file = tree / removal.file
    source = file.read_bytes()
    file.write_bytes(source[: removal.start] + removal.instead.encode() + source[removal.stop :])
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment(tree), capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return "something hangs"
    finally:
        file.write_bytes(source)
    said = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return (said or [f"exit status {done.returncode}"])[0] if done.returncode else ""


def environment(tree: Path, *folders: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(str(tree / folder) for folder in (*folders, *SOURCES))}


def copied(tree: Path) -> Path:
    """A copy of the files that git tracks, as a repository of its own."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=tree, check=True)
    return tree


@click.command()
@click.argument("chosen", nargs=-1)
@click.option("--tests", "files", multiple=True, help="Only the tests in this file; may be repeated.")
@click.option("--jobs", "-j", type=click.IntRange(1), default=os.cpu_count(), show_default="the cores")
def main(chosen: tuple[str, ...], files: tuple[str, ...], jobs: int) -> None:
    """Take away what is CHOSEN, or everything."""
    sources = [file for source in SOURCES for file in sorted((ROOT / source).rglob("*.py"))]
    all_of_them = [removal for file in sources if "templates" not in file.parts for removal in removals(file)]
    todo = [removal for removal in all_of_them if not chosen or any(words in str(removal) for words in chosen)]
    kept = KEPT / ("-".join(Path(file).stem for file in sorted(files)) or "all")
    kept.mkdir(parents=True, exist_ok=True)
    trees: SimpleQueue[Path] = SimpleQueue()
    for k in range(jobs):
        shutil.rmtree(kept / str(k), ignore_errors=True)
        trees.put(copied(kept / str(k)))
    reached = reach(kept / "0", jobs, files)
    log = kept / "noticed.jsonl"
    noticed: dict[str, str] = dict(map(json.loads, log.read_text().splitlines())) if log.exists() else {}

    def put(removal: Removal) -> tuple[str, str]:
        tests = reached.tests.get(removal.file, {}).get(removal.line, [])
        tree = trees.get()
        quickest_first = sorted(tests, key=lambda test: reached.seconds.get(test, 0))
        try:
            return str(removal), noticed_by(removal, quickest_first, tree) if tests else ""
        finally:
            trees.put(tree)

    rest = [removal for removal in todo if str(removal) not in noticed]
    with ThreadPoolExecutor(jobs) as pool, log.open("a") as lines:
        putting = [pool.submit(put, removal) for removal in rest]
        for done in track(as_completed(putting), total=len(rest), description="removals"):
            removal, by = done.result()
            noticed[removal] = by
            lines.write(json.dumps([removal, by]) + "\n")
            lines.flush()
    unnoticed = [str(removal) for removal in todo if not noticed[str(removal)]]
    for removal in unnoticed:
        click.echo(f"unnoticed: {removal}")
    click.echo(f"{len(todo) - len(unnoticed)} of {len(todo)} removals are noticed")
    sys.exit(bool(unnoticed))


if __name__ == "__main__":
    main()
