"""Known failures are data, and must stay true; and the verdict as JUnit XML."""

import shutil
from xml.etree import ElementTree as xml

import pytest

from bpttcheck.running.known_failures import KnownFailure, settle
from bpttcheck.running.results import Result

from ..programs import command

FAULTY = ("verify", "fault:di-uses-i", "--law", "pullback-reference", "--law", "causality", "--dtype", "float64",
          "--examples", "8", "--seed", "1")  # fmt: skip
KNOWN = '[[known-failure]]\nlaw = "pullback-reference"\nreason = "di is i"\nlink = "https://example.org/7"\n'


def written(tmp_path, text):
    (tmp_path / "known-failures.toml").write_text(text)


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """The folder of a run that failed, and left a failure on file."""
    folder = tmp_path_factory.mktemp("failed")
    assert command(*FAULTY, "--junit", "v.xml", cwd=folder).returncode == 1
    return folder


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_expected_failure_does_not_fail_the_run(jobs, failed, tmp_path):
    shutil.copytree(failed, tmp_path, dirs_exist_ok=True)  # the failure on file is tried first
    written(tmp_path, KNOWN + 'cell = "lstm"\ntarget = "fault:di-uses-i"\nrequires = ["numpy>=2"]\n')
    done = command(*FAULTY, "-j", jobs, "--junit", "v.xml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "1 known" in done.stdout and "di is i (https://example.org/7): " in done.stdout.replace("\n", " ")
    assert "replay.py: known: " in done.stdout and "diagnosis" not in done.stdout
    (suite,) = xml.parse(tmp_path / "v.xml").getroot()
    assert suite.attrib | {"name": ""} == {"name": "", "tests": "2", "failures": "0", "errors": "0", "skipped": "1"}
    assert "known: di is i" in suite.find("testcase/skipped").attrib["message"]


@pytest.mark.parametrize(("entry", "said"), [
    (KNOWN.replace("pullback-reference", "causality"), "it passes, although a failure is expected (di is i"),
    (KNOWN + 'cell = "gru-after"\n', "it matches nothing"),
    (KNOWN + 'cell = ["lstm", "gru-after"]\n', "it matches nothing"),
    (KNOWN.replace('"pullback-reference"', '["causality", "pullback-twice"]'), "it passes, although a failure"),
    (2 * KNOWN.replace("pullback-reference", "causality"), "(di is i (https://example.org/7); di is i"),
    (KNOWN.replace("pullback-reference", "causality") + "strict = false\n"
     + KNOWN.replace("pullback-reference", "causality") + 'cell = "lstm"\n', "it passes, although a failure"),
    (KNOWN + 'requires = ["numpy; python_version >= \'3\'"]\ncell = "gru-after"\n', "it matches nothing"),
])  # fmt: skip
def test_an_entry_that_is_not_true_fails_the_run(entry, said, tmp_path):
    written(tmp_path, KNOWN + entry)
    done = command(*FAULTY, cwd=tmp_path)
    assert done.returncode == 1 and said in done.stdout.replace("\n", " "), done.stdout


@pytest.mark.parametrize("entry", [
    KNOWN.replace("pullback-reference", "pullback-twice"),
    KNOWN + 'target = "another"\ncell = "gru-after"\n',
    KNOWN + 'requires = ["numpy<1"]\ncell = "gru-after"\n',
    KNOWN + 'requires = ["absent-library"]\ncell = "gru-after"\n',
    KNOWN + 'requires = ["numpy; python_version < \'3\'"]\ncell = "gru-after"\n',
    KNOWN + 'requires = ["numpy>=1; sys_platform == \'none\' or python_version < \'3\'"]\ncell = "gru-after"\n',
    KNOWN + 'dtype = "float32"\n',
    KNOWN,
    KNOWN + "strict = false\n",
    KNOWN.replace('"pullback-reference"', '["pullback-reference", "pullback-twice"]'),
    KNOWN.replace("pullback-reference", "causality") + "strict = false\n",
])  # fmt: skip
def test_an_entry_of_another_run_is_ignored(entry, tmp_path):
    written(tmp_path, KNOWN + entry)
    assert command(*FAULTY, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(("text", "sentence"), [
    ("[[known-failure]\n", "is not TOML"),
    ('[[known-failure]]\nlaw = "causality"\n', "known-failure 1 of known-failures.toml has no reason"),
    (KNOWN.replace("pullback-reference", "unheard-of"), "there is no law 'unheard-of'"),
    (KNOWN + 'laws = "all"\n', "has laws; an entry takes cell, dtype, law"),
    (KNOWN + 'strict = "no"\n', "strict must be true or false; it is 'no'"),
    (KNOWN + 'requires = ["what is this"]\n', "known-failure 1 of known-failures.toml: "),
    (KNOWN + 'requires = ["numpy; unheard_of < \'3\'"]\n', "known-failure 1 of known-failures.toml: "),
    (KNOWN + 'requires = ["numpy; sys_platform ~= \'linux\'"]\n', "known-failure 1 of known-failures.toml: "),
    ("known-failure = [1]\n", "is no table"),
    (KNOWN + "[other]\n", "has other; it may hold only [[known-failure]]"),
])  # fmt: skip
def test_a_file_that_cannot_be_read_is_one_sentence(text, sentence, tmp_path):
    written(tmp_path, text)
    done = command(*FAULTY, cwd=tmp_path)
    assert done.returncode == 2 and sentence in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_junit_has_a_failure_with_its_case(failed):
    (suite,) = xml.parse(failed / "v.xml").getroot()
    failure = suite.find("testcase/failure")
    assert suite.attrib["failures"] == "1" and "smallest case found: T=1" in failure.text and "off by" in failure.text


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("strict", [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize("status", ["passed", "failed", "vacuous", "unsure", "error"])
def test_entries_do_not_see_the_status_that_others_set(order, strict, status):
    known = [KnownFailure("causality", f"reason {k}", strict=s) for k, s in enumerate(strict)][::order]
    result = Result("it", "lstm", "float64", "causality", 0, status, reason="so it is")
    settle([result], "it", known)
    expected = {"failed": "known", "passed": "failed" if any(strict) else "passed"}
    assert result.status == expected.get(status, status)
    told = [entry.reason for entry in known if result.status == "known" or (entry.strict and result.status == "failed")]
    assert all(reason in result.reason for reason in told)
