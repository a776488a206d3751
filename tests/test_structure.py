"""How the house is built: which wing imports which, who calls an implementation, how long files and functions are."""

import ast
import importlib
import re
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

WINGS = (  # each imports only those above it
    "dtypes",
    "custom_cell",
    "case",
    "contract",
    "exit_status",
    "interrupts",
    "printable",
    "misspelt",
    "versions",
    "workers",
    "cases",
    "measuring",
    "laws",
    "adapters",
    "faults",
    "targets",
    "studies",
    "running",
    "explaining",
    "reporting",
    "watching",
    "command_line",
)
DOORS = {
    "bpttcheck",
    "bpttcheck.__main__",
    "bpttcheck.failure",
    "bpttcheck.strategies",
    "bpttcheck.jax",
    "bpttcheck.torch",
}  # they may import all wings, and no wing imports them
UPWARD = {("adapters", "targets"): "replay files of version 0.1.0 import bpttcheck.adapters.load"}
GROUND_FLOOR = WINGS[: WINGS.index("cases")]

THEIR_PLACE = (
    "bpttcheck.adapters.",
    "bpttcheck.watching.torch_",
    "bpttcheck.watching.jax_",
)  # where a library under test may be imported
LIBRARIES = {library for _, _, library in BUILT_IN.values() if library} | {"jax"}
METHODS = {"vjp", "jvp", "loss_and_gradients", "refuses", "refusal"}
CALLERS = ("bpttcheck.contract", "bpttcheck.measuring.calls", "bpttcheck.adapters", "bpttcheck.faults")

LONGEST_FILE = 300  # lines
LONGEST_FUNCTION = 60  # lines below a definition, which fit on a screen
# Both without the sections of docstrings (Parameters, Returns, ...), which the page of public names shows.


def imports(statements):
    """The modules that some statements import."""
    for statement in statements:
        if isinstance(statement, ast.ImportFrom) and statement.module:
            for alias in statement.names:
                whole = f"{statement.module}.{alias.name}"
                yield whole if whole in FILES else statement.module
        elif isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)


def imported(name):
    """The modules that a module imports while it is imported itself."""
    return imports(TREES[name].body)


def wing(name):
    """The wing of a module of bpttcheck; None for public entry points and for modules of others."""
    package, _, rest = name.partition(".")
    return rest.partition(".")[0] if package == "bpttcheck" and name not in DOORS else None


def test_no_module_imports_in_a_circle():
    order = list(
        TopologicalSorter({name: set(imported(name)) & FILES.keys() - {name} for name in FILES}).static_order()
    )
    assert set(order) == FILES.keys()


def test_each_wing_imports_only_earlier_wings():
    """Also inside functions."""
    assert {wing(name) for name in FILES} - {None} == set(WINGS)
    arrows = {
        (wing(name), wing(module) if wing(module) else module)
        for name in FILES
        if wing(name)
        for module in imports(ast.walk(TREES[name]))
        if module.partition(".")[0] == "bpttcheck"
    }
    upward = {(a, b) for a, b in arrows if b not in WINGS or WINGS.index(b) > WINGS.index(a)}
    assert upward == UPWARD.keys()


@pytest.mark.parametrize(("importing", "met"), [
    (lambda name: not name.startswith(THEIR_PLACE), lambda module: module.partition(".")[0] in LIBRARIES),
    (lambda name: name.startswith("bpttref"), lambda module: module.startswith("bpttcheck")),
], ids=["libraries in their places alone", "bpttref alone"])  # fmt: skip
def test_imports_stay_in_their_places(importing, met):
    assert not {(name, module) for name in FILES if importing(name) for module in imported(name) if met(module)}


def test_one_module_calls_implementations():
    """No other names their methods; `tests/measuring/test_calls.py` sees who calls them when commands run."""
    named = {
        (name, node.lineno)
        for name, tree in TREES.items()
        if name.startswith("bpttcheck") and not name.startswith(CALLERS)
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in METHODS)
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "capabilities")
    }
    assert not named


def in_sections(tree):
    """How many lines of docstrings stand in sections, from the first heading that is underlined."""
    documented = [n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    parts = [re.split(r"^\w+\n-+$", ast.get_docstring(node) or "", maxsplit=1, flags=re.M) for node in documented]
    return sum(len(sections[0].splitlines()) + 2 for _, *sections in parts if sections)


def test_files_and_functions_are_short():
    files = {name: len(file.read_text().splitlines()) - in_sections(TREES[name]) for name, file in FILES.items()}
    assert not {name: lines for name, lines in files.items() if lines > LONGEST_FILE}
    functions = {
        f"{name}.{f.name}": f.end_lineno - f.body[0].lineno + 1 - in_sections(f)
        for name, tree in TREES.items()
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef)
    }
    assert not {name: lines for name, lines in functions.items() if lines > LONGEST_FUNCTION}


def test_modules_that_are_named_are_there():
    """In docstrings, comments and pages."""
    texts = [*FILES.values(), *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "asv_bench" / "README.md"]
    missing = set()
    for file in texts:
        for name in re.findall(r"`((?:bpttcheck|bpttref)(?:\.\w+)+)`", file.read_text()):
            module = max((m for m in FILES if f"{name}.".startswith(f"{m}.")), key=len)
            attribute = name.removeprefix(module).strip(".")
            try:
                there = not attribute or hasattr(importlib.import_module(module), attribute)
            except ModuleNotFoundError as error:
                there = error.name in LIBRARIES
            if not there:
                missing.add((file.name, name))
    assert not missing


def test_the_pages_show_the_wings_in_their_order():
    tree = re.findall(
        r"^    (\w+)(?:/|\.py| |,)", (ROOT / "CONTRIBUTING.md").read_text().split("properties/bpttcheck/\n")[1], re.M
    )
    assert [name for name in tree if name in WINGS] == [name for name in WINGS if name not in ("contract", "versions")]
    floors = re.findall(r'class="n">([\w, ]+)<', (ROOT / "docs/wings.svg").read_text())
    shown = [name for name in WINGS if name not in GROUND_FLOOR]
    assert floors == [*shown[::-1], "contract, dtypes", "bpttref"]


def test_tests_stand_in_the_wing_that_they_test():
    """``python -m pytest tests/WING`` runs the tests of a wing; ``field`` and ``abuse`` test code of users, for all
    wings."""
    folders = {file.parent.name for file in (ROOT / "tests").glob("*/test_*.py")}
    assert folders == {*WINGS, "reference", "asv_bench", "docs", "field", "abuse"} - {*GROUND_FLOOR}
