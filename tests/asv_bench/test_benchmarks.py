"""The benchmarks' gate: it names a planted slow-down with its commit and its cell, in a repository of its own."""

import ast
import importlib.util
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = next(folder for folder in Path(__file__).parents if (folder / "tox.ini").is_file())
SEED = int(os.environ.get("PLANT_SEED", random.randrange(10**6)))  # of the places; each failure prints it
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


class Repository:
    """A copy of this project in a repository of its own: one commit as it is, and others on top of that.

    Its benchmarks count only at small sizes, which takes half the time and shows the same.
    """

    def __init__(self, folder):
        self.folder = folder
        for name in ("reference", "properties"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "asv_bench", folder / "asv_bench", ignore=shutil.ignore_patterns(".asv", "results"))
        for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
            shutil.copy(ROOT / name, folder)
        for name in ("work", "verification"):
            file = folder / f"asv_bench/benchmarks/{name}.py"
            small, found = re.subn(r'(?m)^(SIZES = {"small": .*?[)}]), "real": .*?[)}]', r"\1", file.read_text())
            assert found == 1
            file.write_text(small)
        self.git("init", "--quiet")
        self.base = self.commit("as it is")

    def git(self, *arguments):
        command = ["git", "-C", self.folder, "-c", "user.name=test", "-c", "user.email=test@test", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, message):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def planted(self, message, path, change):
        """The commit that changes a file of the first commit; it leaves the first one checked out."""
        file = self.folder / path
        changed = change(file.read_text())
        assert ast.parse(changed), changed
        file.write_text(changed)
        commit = self.commit(message)
        self.git("checkout", "--quiet", self.base)
        return commit

    def gate(self, *arguments):
        return gate(self.folder, *arguments)


def gate(folder, *arguments):
    command = [sys.executable, folder / "asv_bench/gate.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def worse(found):
    """The names of the cells that a gate calls worse."""
    lines = [line.split("  ")[0].strip() for line in found.stdout.splitlines()]
    return [line for line in lines if line.startswith(("work.", "memory.", "quality.", "verification.", "paired."))]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return Repository(tmp_path_factory.mktemp("repository"))


def function(source, *names):
    """The node of a function, by its name and those around it. Raises StopIteration if there is none."""
    node = ast.parse(source)
    for name in names:
        node = next(n for n in ast.walk(node) if isinstance(n, ast.FunctionDef) and n.name == name)
    return node


def calling(node, name):
    """The first statement within a function that is a call of ``name``, or assigns its result."""
    return next(
        statement
        for statement in ast.walk(node)
        if isinstance(statement, ast.Expr | ast.Assign)
        and any(isinstance(call, ast.Call) and ast.unparse(call.func) == name for call in ast.walk(statement))
    )


def replaced(source, statement, *lines):
    """The source with other lines, at its indentation, where a statement was."""
    text = source.splitlines()
    text[statement.lineno - 1 : statement.end_lineno] = [" " * statement.col_offset + line for line in lines]
    return "\n".join(text) + "\n"


def before(source, statement, *lines):
    return replaced(source, statement, *lines, *ast.unparse(statement).splitlines())


def copied_matrix(source):
    step = function(source, "step")
    assert "W" in [argument.arg for argument in step.args.args]
    return before(source, step.body[0], "W = W.copy()")


def stray_temporary(source):
    pull = function(source, "pull")
    ds = pull.args.args[2].arg
    return before(source, pull.body[-1], f"{ds}[0] * 1")


def product_in_each_step(source):
    """The inputs are projected step by step."""
    statement = calling(function(source, "forward"), "project_input")
    x, *others, out = map(ast.unparse, statement.value.args)
    inner = f"    project_input({x}[t : t + 1], {', '.join(others)}, {out}[t : t + 1])"
    return replaced(source, statement, f"for t in range(len({x})):", inner)


def loop_over_rows(source):
    statement = calling(function(source, "step"), "np.matmul")
    rows, matrix = map(ast.unparse, statement.value.args)
    out = ast.unparse(statement.value.keywords[0].value)
    part = "[..., row : row + 1, :]"
    inner = f"    np.matmul(({rows}){part}, {matrix}, out=({out}){part})"
    return replaced(source, statement, f"for row in range(({rows}).shape[-2]):", inner)


def recomputed_twice(source):
    statement = calling(function(source, "checkpointed_vjp", "pullback"), "run")
    return before(source, statement, ast.unparse(statement))


def comments(source):
    simple = (ast.Assign, ast.AnnAssign, ast.Return, ast.Import, ast.ImportFrom)
    statement = random.Random(SEED).choice([n for n in ast.walk(ast.parse(source)) if isinstance(n, simple)])
    return before(source, statement, "# a comment that was planted")


CELL_FILES = {"rnn": "rnn-", "lstm": "lstm", "gru": "gru-"}  # a file, and how the names of its cells begin


@pytest.fixture
def place():
    """A cell at random, for tests that plant something in it."""
    chosen = random.Random(SEED).choice(list(CELL_FILES))
    print(f"PLANT_SEED={SEED} chooses {chosen}")
    return f"reference/bpttref/cells/{chosen}.py", CELL_FILES[chosen]


@pytest.mark.parametrize(
    ("change", "series"),
    [
        (copied_matrix, {"track_bytes"}),
        (stray_temporary, {"track_bytes"}),
        (loop_over_rows, {"track_calls", "track_instructions"}),
    ],
)
def test_work_that_is_planted_in_a_cell_is_named_with_it(repository, place, change, series):
    path, beginning = place
    head = repository.planted(change.__name__, path, change)
    found = repository.gate(repository.base, head, "--exact", "--bench", r"^work\.")
    assert found.returncode == 1, found.stdout + found.stderr
    named = worse(found)
    assert all(f", '{beginning}" in cell for cell in named), named
    for strategy in ("full", "regular", "random", "checkpointed"):
        of_strategy = {cell.partition("(")[0].split(".")[-1] for cell in named if f"('{strategy}'" in cell}
        assert series <= of_strategy, (strategy, named)
    assert f"({change.__name__}) against" in found.stdout


def test_products_in_each_step_are_named_unless_the_commit_accepts_them(repository):
    message = "one by one\n\nAccepts: work.Step.track_calls\nAccepts: work.Step.track_bytes"
    head = repository.planted(message, "reference/bpttref/unrolling.py", product_in_each_step)
    found = repository.gate(repository.base, head, "--exact", "--bench", r"^work\.")
    assert found.returncode == 1, found.stdout + found.stderr
    assert any(cell.startswith("work.Step.track_instructions('full'") for cell in worse(found)), found.stdout
    found = repository.gate(repository.base, head, "--exact", "--bench", r"^work\.Step\.track_(calls|bytes)")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "accepted by the messages of commits: work.Step.track_bytes, work.Step.track_calls" in found.stdout


def test_a_checkpoint_that_runs_twice_is_named(repository):
    head = repository.planted("twice", "reference/bpttref/checkpointing.py", recomputed_twice)
    found = repository.gate(repository.base, head, "--exact", "--bench", r"^work\.")
    named = worse(found)
    assert found.returncode == 1, found.stdout + found.stderr
    assert all("('checkpointed'" in cell for cell in named), named
    assert any("track_forward_steps" in cell for cell in named) and any("multiply_adds" in cell for cell in named)


def test_comments_are_no_worse(repository):
    files = sorted(path.relative_to(repository.folder) for path in (repository.folder / "reference").rglob("*.py"))
    chosen = random.Random(SEED).choice([path for path in files if path.name != "__init__.py"])
    head = repository.planted(f"comments in {chosen}", chosen, comments)
    found = repository.gate(repository.base, head, "--exact", "--bench", r"^work\.")
    assert found.returncode == 0, f"PLANT_SEED={SEED}: {found.stdout + found.stderr}"
    assert "no worse in 150 cells" in found.stdout


def test_a_slower_engine_is_named(repository):
    """Tolerances are measured from many replicates."""
    paths = sorted((repository.folder / "properties/bpttcheck").rglob("scales.py"))
    [path] = [path for path in paths if "\nFEW = 1\n" in path.read_text()]
    head = repository.planted("more", path, lambda source: source.replace("\nFEW = 1\n", "\nFEW = 8\n"))
    found = repository.gate(repository.base, head, "--exact", "--bench", r"^verification\.")
    assert found.returncode == 1, found.stdout + found.stderr
    assert "verification.Verify.track_bytes('bpttcheck of bpttref', 'small')" in worse(found), found.stdout


def test_a_slow_down_is_named(repository):
    head = repository.planted("slower", "reference/bpttref/__init__.py", lambda source: source + SLOWER)
    few = r"real.*float32', '(full|regular)', 'rnn'"
    found = repository.gate(repository.base, head, "--timed", "--bench", few)
    assert found.returncode == 1, found.stdout + found.stderr
    assert worse(found) == ["paired.real.over_products('float32', 'full', 'rnn')"]
    assert "(slower) against" in found.stdout and "worse in 1 of 2 cells" in found.stdout
    assert "of gates without a change the share that names one is expected to be 0." in found.stdout


def test_a_leak_is_named(repository):
    head = repository.planted("leak", "reference/bpttref/__init__.py", lambda source: source + LEAK)
    series = r"track_peak_over_theory\('(full|regular)', 'rnn'\)"
    found = repository.gate(repository.base, head, "--exact", "--bench", series)
    assert found.returncode == 1, found.stdout + found.stderr
    assert "memory.Theory.track_peak_over_theory('regular', 'rnn')" in worse(found)
    assert "(leak) against" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["no-such-commit"], "'no-such-commit' is not a commit here"),
        (["HEAD"], "HEAD and HEAD are the same commit"),
        (["HEAD", "{head}", "--exact", "--bench", "no_such_series"], "nothing was measured"),
        (["HEAD", "{head}", "--timed", "--bench", "no_such_series"], "nothing was measured"),
    ],
)
def test_not_knowing_is_not_passing(repository, arguments, sentence):
    head = repository.planted("other", "reference/bpttref/trees.py", lambda source: source + "\n")
    found = repository.gate(*(argument.format(head=head) for argument in arguments))
    assert (found.returncode, sentence in found.stderr) == (2, True), found.stdout + found.stderr
