"""The page of public names: each has its sections, and its examples run."""

import doctest
import importlib
import inspect
import re

import pytest

from ..test_packaging import LIBRARIES
from .pages import ROOT

API = (ROOT / "docs" / "api.md").read_text()
NAMES = re.findall(r"^\.\. auto(?:function|class):: ([\w.]+)$", API, re.MULTILINE)
MEMBERS = {name: members.split(", ") for name, members in re.findall(r":: ([\w.]+)\n   :members: (.+)", API)}
EACH = pytest.mark.parametrize("name", NAMES)


def public(name):
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name not in LIBRARIES:
            raise
        pytest.skip(f"needs {error.name}")


def sections(found):
    """The text of each section of a docstring, by its heading."""
    parts = re.split(r"^(\w+)\n-+$", inspect.getdoc(found), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def named(section):
    """The names at the left margin of a section, several on a line with commas between."""
    return re.findall(r"[*\w]+", " ".join(re.findall(r"^([*\w][*\w, ]*?)(?: : .+)?$", section, re.MULTILINE)))


def arguments(found):
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    given = [] if getattr(found, "_is_protocol", False) else inspect.signature(found).parameters.values()
    return [stars.get(argument.kind, "") + argument.name for argument in given if argument.name != "self"]


@EACH
def test_arguments_results_and_errors_have_their_sections(name):
    found = public(name)
    methods = [method for _, method in inspect.getmembers(found, inspect.isfunction)]
    for one in (found, *(method for method in methods if method.__name__ in MEMBERS.get(name, ()))):
        said = sections(one)
        assert set(said) <= {"Parameters", "Returns", "Yields", "Raises", "Examples"}
        assert sorted(named(said.get("Parameters", ""))) == sorted(arguments(one))
        if inspect.isfunction(one):
            nothing = inspect.signature(one).return_annotation in (None, "None")
            assert nothing or "Returns" in said or "Yields" in said
            raised = set(re.findall(r"^ +raise (\w+)\(", inspect.getsource(one), re.MULTILINE))
            assert raised <= set(named(said.get("Raises", "")))


@EACH
def test_examples_run(name):
    found, report = public(name), list[str]()
    (test,) = doctest.DocTestFinder(recurse=False).find(found, name, inspect.getmodule(inspect.unwrap(found)))
    assert test.examples or re.fullmatch(r"\s*See `\w+`\.\s*", sections(found)["Examples"])
    doctest.DocTestRunner().run(test, out=report.append)
    assert not report, "".join(report)
