"""One copy of each module, and a wheel that holds everything."""

import importlib
import pkgutil
import sys
from pathlib import Path

import pytest

import bpttcheck
import bpttref
from bpttcheck.adapters import BUILT_IN
from bpttcheck.catalogue import faults_in_markdown, laws_in_markdown

LIBRARIES = {"jax", *(library for _, _, library in BUILT_IN.values() if library)}
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
            assert name.startswith("bpttcheck.adapters.") and error.name in LIBRARIES


@pytest.mark.parametrize("source", [
    "properties/_bpttcheck_pytest.py", "properties/bpttcheck/templates/*.py", "properties/bpttcheck/*.jinja",
    "properties/bpttcheck/*.css",
])  # fmt: skip
def test_what_is_not_a_module_of_the_packages_is_there(source):
    sources = list(ROOT.glob(source))
    installed = Path(bpttcheck.__file__).parents[1]
    assert sources
    for file in sources:
        assert (installed / file.relative_to(ROOT / "properties")).read_text() == file.read_text()


def test_there_is_one_copy():
    assert not {"reference", "properties"} & sys.modules.keys()


@pytest.mark.parametrize("package", [bpttref, bpttcheck])
def test_exports_exist(package):
    assert package.__all__ == sorted(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize(("page", "made"), [("laws.md", laws_in_markdown), ("faults.md", faults_in_markdown)])
def test_the_catalogues_in_the_docs_are_those_of_the_registry(page, made):
    assert (ROOT / "docs" / page).read_text() == made()
