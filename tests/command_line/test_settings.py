"""The options that a project repeats stand in its pyproject.toml, and the command line wins."""

import json

import pytest

from ..programs import command

SETTINGS = """
[tool.bpttcheck]
targets = ["mine.py:Mine"]
law = ["causality"]
cell = ["lstm"]
dtype = ["float64"]
examples = 3
derandomize = true
traceback = false
budget = 500
failures = "wrong"
known-failures = "known.toml"
"""
MINE = "from bpttcheck.adapters.reference import Reference\nclass Mine(Reference):\n    name = 'mine'\n"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "pyproject.toml").write_text(SETTINGS)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "known.toml").write_text("")
    (tmp_path / "deep" / "down").mkdir(parents=True)
    return tmp_path


def judged(folder, *arguments):
    done = command("verify", *arguments, "--json", "v.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "v.json").read_text())["results"]
    said = done.stdout.splitlines()[0]
    return said, {(r["subject"], r["law"], r["cell"], r["dtype"]) for r in results}


@pytest.mark.parametrize("below", ["", "deep/down"])
def test_the_table_counts_in_its_folder_and_below(project, below):
    said, places = judged(project / below)
    assert said == "seed 0, 3 examples per cell and dtype" and places == {("mine", "causality", "lstm", "float64")}


def test_the_command_line_wins(project):
    arguments = ("reference", "--law", "pullback-reference", "--cell", "gru-after", "--examples", "2", "--seed", "7")
    said, places = judged(project, *arguments)
    assert said.startswith("seed 7, 2 examples")
    assert places == {("reference", "pullback-reference", "gru-after", "float64")}


def test_the_nearest_table_counts(project):
    (project / "deep" / "pyproject.toml").write_text(SETTINGS.replace("mine.py:Mine", "reference"))
    (project / "deep" / "known.toml").write_text("")
    (project / "deep" / "down" / "pyproject.toml").write_text("[project]\nname = 'without-a-table'\n")
    _, places = judged(project / "deep" / "down")
    assert {subject for subject, *_ in places} == {"reference"}


@pytest.mark.parametrize(("line", "sentence"), [
    ("exampels = 3", "there is no 'exampels' in [tool.bpttcheck], which takes against, badge, budget, case,"),
    ("examples = '40'", "examples in [tool.bpttcheck] must be a whole number, not '40'"),
    ("examples = true", "examples in [tool.bpttcheck] must be a whole number, not True"),
    ("examples = 0", "examples in [tool.bpttcheck]: 0 is not in the range x>=1"),
    ("budget = 'long'", "budget in [tool.bpttcheck] must be a number, not 'long'"),
    ("law = 'causality'", "law in [tool.bpttcheck] must be a list of strings, not 'causality'"),
    ("targets = [1]", "targets in [tool.bpttcheck] must be a list of strings, not [1]"),
    ("derandomize = 0", "derandomize in [tool.bpttcheck] must be true or false, not 0"),
    ("sizes = 'T=0'", "sizes in [tool.bpttcheck]: --sizes T=0: write T=70"),
    ("known-failures = 'absent.toml'", "known-failures in [tool.bpttcheck]: File 'absent.toml' does not exist"),
    ("examples = ", "Invalid value"),
    ("[tool]\nbpttcheck = 1", "[tool.bpttcheck] must be a table, not 1"),
])  # fmt: skip
def test_a_mistake_is_one_sentence_that_names_the_file(tmp_path, line, sentence):
    file = tmp_path / "pyproject.toml"
    file.write_text(line if line.startswith("[tool]") else f"[tool.bpttcheck]\n{line}\n")
    done = command("verify", "reference", cwd=tmp_path)
    assert done.returncode == 2 and f"bpttcheck: {file}: {sentence}" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not done.stdout


def test_commands_that_do_not_read_it(tmp_path):
    """The matrix runs verify for each target, with only its own options."""
    (tmp_path / "pyproject.toml").write_text("[tool.bpttcheck]\nexampels = 3\n")
    few = ("reference", "--law", "causality", "--cell", "lstm", "--examples", "2", "--seed", "1")
    assert command("laws", cwd=tmp_path).returncode == 0
    assert command("--no-settings", "verify", *few, cwd=tmp_path).returncode == 0
    assert command("matrix", *few, cwd=tmp_path).returncode == 0
