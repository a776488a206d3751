"""One copy of each module, and a wheel that holds everything."""

import importlib
import pkgutil
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

import bpttcheck
import bpttref
from bpttcheck.adapters import BUILT_IN
from bpttcheck.reporting.catalogue import faults_in_markdown, laws_in_markdown

LIBRARIES = {"jax", "pydynet", *(library for _, _, library in BUILT_IN.values() if library)}
ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(("package", "source"), [(bpttref, "reference"), (bpttcheck, "properties")])
def test_every_module_is_there_and_imports(package, source):
    installed = {m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".")}
    files = (ROOT / source / package.__name__).rglob("*.py")
    modules = [file for file in files if file.parent.name != "templates"]  # those are data
    dotted = {".".join(f.relative_to(ROOT / source).with_suffix("").parts) for f in modules}
    assert {name.removesuffix(".__init__") for name in dotted} == installed | {package.__name__}
    for name in installed - {"bpttcheck.__main__"}:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            places = ("bpttcheck.adapters.", "bpttcheck.watching.", "bpttcheck.torch", "bpttcheck.jax")
            assert name.startswith(places) and error.name in LIBRARIES


@pytest.mark.parametrize("source", [
    "properties/_bpttcheck_pytest.py", "properties/bpttcheck/templates/*.py", "properties/bpttcheck/**/*.jinja",
    "properties/bpttcheck/**/*.css",
])  # fmt: skip
def test_files_that_are_no_modules_are_there(source):
    sources = list(ROOT.glob(source))
    installed = Path(bpttcheck.__file__).parents[1]
    assert sources
    for file in sources:
        assert (installed / file.relative_to(ROOT / "properties")).read_text() == file.read_text()


EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def with_those_in_it(extra):
    """An extra, and the extras that it is made of."""
    inside = ",".join(re.findall(r"bpttcheck\[([\w,]+)\]", " ".join(EXTRAS[extra])))
    return {extra}.union(*(with_those_in_it(one) for one in inside.split(",") if one))


@pytest.mark.parametrize("target", [name for name, (_, _, library) in BUILT_IN.items() if library])
def test_each_library_is_described_can_be_installed_and_is_in_the_matrix(target):
    extra = BUILT_IN[target][2]
    rows = re.findall(r"^\| (`[^|]+) \|", (ROOT / "docs/libraries.md").read_text(), re.MULTILINE)
    assert f"`{target}`" in ", ".join(rows).split(", "), f"{target} has no row in docs/libraries.md"
    assert extra in EXTRAS, f"{target} has no extra in pyproject.toml"
    tox = ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    there = set().union(*(with_those_in_it(one) for one in tox["testenv:matrix"]["extras"].split()))
    assert extra in there, f"tox -e matrix does not install {target}"


def test_there_is_one_copy():
    assert not {"reference", "properties"} & sys.modules.keys()


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Names and contents in the sdist, in the wheel, and in the wheel that is built from the sdist."""
    pytest.importorskip("hatchling", reason="hatchling is not installed: python -m pip install hatchling")
    folder = tmp_path_factory.mktemp("archives")

    def build(source, *kinds):
        made = folder / source.name
        command = [sys.executable, "-m", "hatchling", "build", "--directory", made, *kinds]
        subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
        (wheel,) = made.glob("*.whl")
        with zipfile.ZipFile(wheel) as opened:
            return made, {name: opened.read(name) for name in opened.namelist()}

    made, wheel = build(ROOT, "--target", "sdist", "--target", "wheel")
    (sdist,) = made.glob("*.tar.gz")
    with tarfile.open(sdist) as opened:
        opened.extractall(folder, filter="data")
    source = folder / sdist.name.removesuffix(".tar.gz")
    names = {str(file.relative_to(source)) for file in source.rglob("*") if file.is_file()}
    return names, wheel, build(source, "--target", "wheel")[1]


def test_the_wheel_holds_the_packages_and_nothing_else(archives):
    _, wheel, _ = archives
    folders = {name.partition("/")[0] for name in wheel}
    assert {name.split("-")[0] for name in folders} == {"bpttref", "bpttcheck", "_bpttcheck_pytest.py"}
    for package, source in (("bpttref", "reference"), ("bpttcheck", "properties")):
        files = [file for file in (ROOT / source / package).rglob("*") if file.is_file() and file.suffix != ".pyc"]
        assert {str(file.relative_to(ROOT / source)) for file in files} <= set(wheel)
    assert {"bpttref/py.typed", "bpttcheck/py.typed", "bpttcheck/templates/numpy.py"} <= set(wheel)
    assert any(name.endswith(".jinja") for name in wheel)


def test_the_sdist_holds_all_files_for_tests_and_benchmarks(archives):
    names, _, _ = archives
    for needed in (
        "tests/test_packaging.py", "asv_bench/asv.conf.json", "docs/in-ci.md", "docs/examples/lstm.mjs", "tox.ini",
        "LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "pyproject.toml",
    ):  # fmt: skip
        assert needed in names
    assert not [name for name in names if "__pycache__" in name or name.startswith((".tox", ".asv", "bpttcheck-fail"))]


def test_the_wheel_from_the_sdist_is_the_same(archives):
    _, wheel, again = archives
    assert again == wheel


@pytest.mark.parametrize("package", [bpttref, bpttcheck])
def test_exports_exist(package):
    assert package.__all__ == sorted(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize(("page", "made"), [("laws.md", laws_in_markdown), ("faults.md", faults_in_markdown)])
def test_the_catalogues_in_the_docs_equal_the_registry(page, made):
    renew = f"bpttcheck {page.removesuffix('.md')} --markdown > docs/{page}"
    assert (ROOT / "docs" / page).read_text() == made(), f"the page is of another catalogue; this renews it: {renew}"
