"""The pages: links lead somewhere, programs run, commands exist and print the shown text, public names are
explained."""

import ast
import inspect
import re
import sys
from types import ModuleType

import click
import pytest

import bpttcheck
import bpttref
from bpttcheck import LAWS
from bpttcheck.command_line import main
from bpttcheck.faults import FAULTS
from bpttref import CELLS

from ..test_packaging import LIBRARIES
from .pages import PAGES, ROOT, absent, anchors, assert_prints, commands, links, run, save_programs, shown, snippets

BOTH = pytest.mark.parametrize("package", [bpttref, bpttcheck])
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

# The commands of a page that are run, by their number; others take long, or need things that a page only describes.
ALL = range(100)
RUN = {
    "README.md": ALL[:3],
    "docs/your-own.md": {0, 1, 3, 4, 5, 6, 7},
    "docs/your-arrays.md": ALL,
    "docs/own-cells.md": ALL,
    "docs/modern.md": {0},
    "docs/numpy-lstm.md": ALL,
    "docs/failures.md": ALL,
    "docs/chapter.md": ALL,
    "docs/gradients.md": ALL[1:],
    "docs/how-it-works.md": ALL,
    "docs/honest-limits.md": ALL,
}


def documented(package):
    """The names of a package on the page of public names; names that both packages export stand there once."""
    on_page = re.findall(r"^\.\. auto\w+:: (\w+)\.(?:\w+\.)*(\w+)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    shared = {name for name in bpttref.__all__ if getattr(bpttcheck, name, None) is getattr(bpttref, name)}
    return {name for of, name in on_page if of == package.__name__} | (shared if package is bpttcheck else set())


def explanation(package, name):
    """The docstring that was written for a name; of data, the text below its definition."""
    public = getattr(package, name)
    if inspect.isclass(public) or inspect.isfunction(public):
        written = inspect.getdoc(public) or ""
        return "" if written.startswith(f"{name}(") else written  # made by dataclass or NamedTuple
    for root in ("reference", "properties"):
        for file in (ROOT / root).rglob("*.py"):
            body = ast.parse(file.read_text()).body
            for definition, below in zip(body, body[1:], strict=False):
                target = definition.target if isinstance(definition, ast.AnnAssign) else None
                if isinstance(target, ast.Name) and target.id == name and isinstance(below, ast.Expr):
                    return ast.literal_eval(below.value)
    return ""


@BOTH
def test_public_names_are_exported_explained_and_on_the_page(package):
    there = {n for n in dir(package) if n[0] != "_" and not isinstance(getattr(package, n), ModuleType)}
    explained = {name for name in there if explanation(package, name)}
    doors = {"JaxFunction", "TorchFunction", "TorchModule", "StepFunction", "cases", "margin"}
    doors |= {"watch", "Seen", "assert_reach", "reach", "Triangle"}
    page = documented(package) - doors
    assert set(package.__all__) == there == explained == page


@BOTH
def test_docstrings_speak_of_each_argument_and_of_what_is_raised(package):
    for name in package.__all__:
        public = getattr(package, name)
        if not (inspect.isclass(public) or inspect.isfunction(public)):
            continue
        written = explanation(package, name)
        if not getattr(public, "_is_protocol", False):
            for argument in inspect.signature(public).parameters:
                assert re.search(rf"\b{argument}\b", written), f"{name} says nothing of {argument}"
        tree = ast.parse(inspect.getsource(public))
        nodes = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef | ast.FunctionDef)]
        said = " ".join(ast.get_docstring(node) or "" for node in nodes)
        for raised in re.findall(r"raise (\w+)", ast.unparse(tree)):
            assert raised in said, f"{name} does not say that it raises {raised}"


@EACH_PAGE
def test_each_page_is_in_the_contents_of_the_site(page):
    contents = re.findall(r'"([\w/-]+)"', (ROOT / "docs/conf.py").read_text())
    assert str(page.relative_to(ROOT).with_suffix("")) in contents


@EACH_PAGE
def test_links_lead_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"there is no {link}"
        assert not anchor or anchor in anchors(target), f"there is no heading for {link}"


@EACH_PAGE
def test_lines_that_are_quoted_after_a_link_to_their_file_are_in_it(page):
    for path, line in re.findall(r"\]\((\S+\.py)\): `([^`]+)`", " ".join(page.read_text().split())):
        assert line in (page.parent / path).read_text(), f"{path} has no line {line}"


@EACH_PAGE
def test_commands_exist_with_their_options(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own_options = {option for parameter in main.params for option in parameter.opts}
    for words in commands(page):
        name, *arguments = (word for word in words if word not in own_options)
        assert name in main.commands, f"bpttcheck {name} is no command"
        try:
            main.commands[name].make_context(name, arguments)
        except click.BadParameter as error:
            users_own_file, only_named = "does not exist" in str(error), not arguments
            assert users_own_file or only_named, f"bpttcheck {name} {arguments}: {error}"


@EACH_PAGE
def test_laws_and_cells_that_are_named_exist(page):
    """Cells of the page's own count, and those that only an adapter has."""
    text = page.read_text()
    own = re.findall(r'CustomCell\("([\w-]+)"|^def (\w+)\(|is the cell `([\w-]+)`', text, re.MULTILINE)
    known = {"law": {law.id for law in LAWS}, "cell": {cell.name for cell in CELLS}.union(*own)}
    for what, name in re.findall(r"--(law|cell)[ =]([a-z][\w-]*)", text):
        assert name in known[what], f"there is no {what} {name}"


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "docs/your-own.md", "docs/honest-limits.md"])
def test_the_catalogues_have_the_size_that_is_said(page):
    """``53 laws``, but not ``2 of 2 laws``, nor the other ones."""
    sizes = {"laws": len(LAWS), "faults": len(FAULTS)}
    said = re.findall(r"(?<![\d,.])(?<!of )(?<!other )(\d+) (?:planted )?(laws|faults)\b", (ROOT / page).read_text())
    assert said and all(int(number) == sizes[what] for number, what in said), f"{said}, and there are {sizes}"


@EACH_PAGE
def test_programs_run_and_print_what_is_shown(page, tmp_path):
    """The programs of a page in their order, after `bpttcheck init` where it is shown."""
    lines, absent = {line.strip() for line in page.read_text().splitlines()}, set()
    for call in commands(page):
        if call[0] == "init":
            run([sys.executable, "-m", "bpttcheck", *call], tmp_path)
    save_programs(page, tmp_path)
    for program in snippets(page):
        done = run([sys.executable, "-c", program], tmp_path)
        missing = re.search(r"No module named '(\w+)", done.stderr)
        if missing and missing[1] in LIBRARIES:
            absent.add(missing[1])
            continue
        assert done.returncode == 0, done.stderr
        said_in_a_comment = re.search(r"print\(.*\)  # ", program)
        assert said_in_a_comment or {line.strip() for line in done.stdout.splitlines()} <= lines
    if absent:
        pytest.skip(f"what needs {', '.join(sorted(absent))} was not run")


@pytest.mark.parametrize(("page", "which"), RUN.items())
def test_commands_print_what_is_shown(page, which, tmp_path):
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    save_programs(ROOT / page, tmp_path)
    for number, session in enumerate(shown(ROOT / page)):
        if number in which and not absent(session, tmp_path, LIBRARIES):
            assert_prints(session, tmp_path)
