"""How the project is built: what imports what, and how long a function is."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from bpttcheck.adapters import BUILT_IN

ROOT = Path(__file__).parents[1]
FILES = {
    ".".join(file.relative_to(ROOT / root).with_suffix("").parts).removesuffix(".__init__"): file
    for root in ("reference", "properties")
    for file in sorted((ROOT / root).rglob("*.py"))
    if "templates" not in file.parts
}
TREES = {name: ast.parse(file.read_text()) for name, file in FILES.items()}
LONGEST = 60  # lines below a definition, which fit on a screen


def imported(name):
    """The modules that a module imports while it is imported itself."""
    for statement in TREES[name].body:
        if isinstance(statement, ast.ImportFrom) and statement.module:
            for alias in statement.names:
                whole = f"{statement.module}.{alias.name}"
                yield whole if whole in FILES else statement.module
        elif isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)


def test_no_module_imports_in_a_circle():
    order = list(
        TopologicalSorter({name: set(imported(name)) & FILES.keys() - {name} for name in FILES}).static_order()
    )
    assert set(order) == FILES.keys()


LIBRARIES = {library for _, _, library in BUILT_IN.values() if library} | {"jax"}
COMMANDS = ("bpttcheck.command_line", "bpttcheck.__main__", "bpttcheck.matrix.processes")  # the last runs one


@pytest.mark.parametrize(("importing", "met"), [
    (lambda name: not name.startswith("bpttcheck.adapters."), lambda module: module.partition(".")[0] in LIBRARIES),
    (lambda name: name.startswith("bpttref"), lambda module: module.startswith("bpttcheck")),
    (lambda name: not name.startswith(COMMANDS), lambda module: module.startswith("bpttcheck.command_line")),
], ids=["libraries in their adapters alone", "bpttref alone", "commands on top"])  # fmt: skip
def test_what_imports_what(importing, met):
    assert not {(name, module) for name in FILES if importing(name) for module in imported(name) if met(module)}


def test_functions_fit_on_a_screen():
    functions = {
        f"{name}.{f.name}": f.end_lineno - f.body[0].lineno + 1
        for name, tree in TREES.items()
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef)
    }
    assert not {name: lines for name, lines in functions.items() if lines > LONGEST}
