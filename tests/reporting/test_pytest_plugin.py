"""The pytest plugin, and tests made of laws: pytest within pytest, and its outcomes."""

import sys
from importlib.metadata import entry_points

import pytest

from bpttcheck import LAWS
from bpttref import CELLS

pytest_plugins = ["pytester"]

INSTALLED = bool(entry_points(group="pytest11", name="bpttcheck"))  # not where the sources are only on the path
FAULT = "fault:di-uses-i"
CAUGHT_AND_NOT = "float64 and (pullback-reference or causality)"


@pytest.fixture
def run(pytester):
    def run(*arguments, apart=False):
        """apart: in a process of its own, where it starts with nothing imported, or is changed for good."""
        plugin = () if INSTALLED else ("-p", "_bpttcheck_pytest")
        start = pytester.runpytest_subprocess if apart else pytester.runpytest_inprocess
        return start(*plugin, "-p", "no:cacheprovider", *arguments)

    return run


def test_a_planted_fault_fails_exactly_the_laws_that_see_it(run):
    words = ("--bpttcheck", FAULT, "--bpttcheck-seed", "7", "--bpttcheck-examples", "9", "-k", CAUGHT_AND_NOT)
    done = run(*words, apart=True)
    done.assert_outcomes(failed=1, passed=1)
    done.stdout.fnmatch_lines(
        [
            f"bpttcheck: seed 7, 9 examples per cell and dtype of {FAULT}",
            "FAILED pullback-reference on lstm float64: *[[]gate i] is off by *",
            "* is allowed",
            "*smallest case found: T=1, B=1, D=1, H=1*",
            f"*reproduce: bpttcheck verify {FAULT} --cell lstm --dtype float64 --law pullback-reference "
            "--examples 9 --seed 7",
            f"FAILED bpttcheck::{FAULT}::lstm::float64::pullback-reference*",
        ]
    )
    done.stdout.no_fnmatch_line("*Traceback*")
    done.stdout.no_fnmatch_line("*checks.py*")


def test_a_correct_implementation_passes_and_skips_say_why(run):
    done = run("--bpttcheck", "reference", "--bpttcheck-examples", "6", "-rs",
               "-k", "gru-before and float32 and (taylor or forward-reference)")  # fmt: skip
    done.assert_outcomes(passed=1, skipped=1)
    done.stdout.fnmatch_lines(["SKIPPED*only float64 shows it: rounding hides it in other dtypes"])


def test_ids_have_target_cell_dtype_and_law_each_once(run):
    done = run("--bpttcheck", FAULT, "--bpttcheck", "reference", "--bpttcheck", FAULT, "--collect-only", "-q")
    ids = [line for line in done.outlines if line.startswith("bpttcheck::")]
    assert f"bpttcheck::{FAULT}::lstm::float64::causality" in ids
    assert "bpttcheck::reference::gru-after::float32::causality" in ids
    assert len(ids) == len(set(ids)) == 2 * len(LAWS) * (1 + len(CELLS))


def test_laws_that_were_deselected_are_not_tested(run, pytester):
    """A law that tests only outputs takes no gradients."""
    pytester.makepyfile(counting=COUNTING)
    done = run(
        "--bpttcheck", "counting.py:Counting", "--bpttcheck-examples", "5", "-k", "forward-reference and float64"
    )
    done.assert_outcomes(passed=1)
    assert (pytester.path / "pullbacks").read_text() == ""
    done = run("--bpttcheck", "counting.py:Counting", "--bpttcheck-examples", "5", "-k", "pullback-reference")
    done.assert_outcomes(passed=2)
    assert len((pytester.path / "pullbacks").read_text()) >= 10


COUNTING = """
from pathlib import Path
from bpttcheck import Capabilities
from bpttcheck.adapters.reference import Reference
from bpttref import RNN

class Counting(Reference):
    name = "counting"

    def __init__(self):
        Path("pullbacks").write_text("")

    def capabilities(self):
        return Capabilities(cells=(RNN("tanh"),))

    def vjp(self, case):
        outputs, pullback = super().vjp(case)

        def counted(cotangents):
            with open("pullbacks", "a") as file:
                file.write("x")
            return pullback(cotangents)

        return outputs, counted
"""


@pytest.mark.parametrize(("status", "loud"), [
    ("unsure", {"failed": 4}), ("error", {"failed": 4}),
    ("vacuous", {"failed": 2, "skipped": 2}), ("unfinished", {"failed": 2, "skipped": 2}),
])  # fmt: skip
def test_a_law_that_neither_passes_nor_fails_is_not_silent(run, pytester, status, loud):
    pytester.makeconftest(
        "import bpttcheck.running.turns\n"
        "from bpttcheck import Result\n"
        "def judged(subject, laws, *, cells, dtypes, seed, **others):\n"
        f"    return [Result('', *cells, *dtypes, law.id, seed, {status!r}, reason='so it is') for law in laws]\n"
        "bpttcheck.running.turns.judge = judged\n"
    )
    done = run(
        "--bpttcheck",
        "reference",
        "--bpttcheck-in-process",
        "-rs",
        "-k",
        "lstm and (causality or pullback-twice)",
        apart=True,
    )
    done.assert_outcomes(**loud)
    mark = "ERROR" if status == "error" else status
    silent = "nothing was proved on lstm float32, which is not green: no law proved anything: so it is"
    done.stdout.fnmatch_lines(
        [f"{mark} causality on lstm*"] if "skipped" not in loud else [silent, f"*{status}: so it*"]
    )


REFUSING = """
from dataclasses import replace
from bpttcheck import LAWS, parametrize_with_laws
from bpttcheck.adapters.reference import Reference

class Refusing(Reference):
    name = "refusing"

    def capabilities(self):
        return replace(super().capabilities(), refuses=lambda case: self.refuses(case))

    def refuses(self, case):
        return "it takes nothing"

class InFloat32(Refusing):
    def refuses(self, case):
        return "it takes no float32" if case.dtype == "float32" else ""

laws = [law for law in LAWS if law.id in ("causality", "pullback-twice", "taylor-remainder")]
"""


@pytest.mark.parametrize(("target", "workers", "selection", "outcomes"), [
    ("refusing.py:Refusing", 0, "lstm and float64", {"failed": 1, "skipped": len(LAWS) - 1}),
    ("refusing.py:Refusing", 2, "(lstm or gru) and (causality or pullback-twice)", {"failed": 6, "skipped": 6}),
    ("refusing.py:InFloat32", 0, "lstm and (causality or taylor)", {"failed": 1, "passed": 2, "skipped": 1}),
    ("reference", 0, "taylor-remainder and lstm", {"passed": 1, "skipped": 1}),
    ("reference", 2, "taylor-remainder and float32", {"failed": 1, "skipped": 5}),
])  # fmt: skip
def test_one_test_fails_where_nothing_was_proved(run, pytester, target, workers, selection, outcomes):
    if workers:
        pytest.importorskip("xdist")
    pytester.makepyfile(refusing=REFUSING)
    among = ("-n", str(workers)) if workers else ()
    done = run("--bpttcheck", target, "--bpttcheck-examples", "4", *among, "-k", selection)
    done.assert_outcomes(**outcomes)
    if "failed" in outcomes:
        done.stdout.fnmatch_lines(["nothing was proved*, which is not green: *"])


@pytest.mark.parametrize(("subjects", "selection", "outcomes"), [
    ("Refusing()", "lstm", {"failed": 2, "skipped": 4}),
    ("Refusing()", "lstm and (pullback-twice or taylor)", {"failed": 2, "skipped": 2}),
    ("InFloat32(), Reference()", "lstm", {"failed": 1, "passed": 8, "skipped": 3}),
])  # fmt: skip
def test_one_parameter_fails_where_nothing_was_proved(run, pytester, subjects, selection, outcomes):
    test = f"@parametrize_with_laws([{subjects}], laws, examples=4)\ndef test_bptt(check):\n    check()\n"
    pytester.makepyfile(REFUSING + test)
    done = run("-k", selection)
    done.assert_outcomes(**outcomes)
    done.stdout.fnmatch_lines(["E *nothing was proved*, which is not green: *"])


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--bpttcheck", "nonsense"], "ERROR: bpttcheck: 'nonsense' is neither *"),
    (["--bpttcheck", "reference", "--bpttcheck-seed", "-1"], "ERROR: --bpttcheck-seed must be at least 0, not -1"),
    (["--bpttcheck", "reference", "--bpttcheck-timeout", "nan"], "ERROR: --bpttcheck-timeout must be at least 0*"),
    (["--bpttcheck", "reference", "--bpttcheck-known-failures", "nowhere"], "ERROR: bpttcheck: *nowhere*"),
    (["--bpttcheck", "reference", "--bpttcheck-examples", "0"], "ERROR: --bpttcheck-examples must be at least 1*"),
])  # fmt: skip
def test_a_mistake_is_one_usage_error(run, arguments, sentence):
    done = run(*arguments)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert len([line for line in done.errlines if line]) == 1
    done.stderr.fnmatch_lines([sentence])


def test_known_failures_are_expected(run, pytester):
    pytester.path.joinpath("known.toml").write_text(
        f'[[known-failure]]\nlaw = "pullback-reference"\nreason = "it is planted"\ntarget = "{FAULT}"\n'
        '[[known-failure]]\nlaw = "causality"\nreason = "it is mended"\n'
    )
    words = ("--bpttcheck", FAULT, "--bpttcheck-examples", "5", "-rx", "-k", f"lstm and float64 and ({CAUGHT_AND_NOT})")
    done = run(*words, "--bpttcheck-known-failures", "known.toml")
    done.assert_outcomes(xfailed=1, failed=1)
    done.stdout.fnmatch_lines(["*it passes, although a failure is expected (it is mended)*", "XFAIL *it is planted*"])


def test_time_is_bounded(run, pytester):
    pytester.makepyfile(
        slow="import time\nfrom bpttcheck.adapters.reference import Reference\n"
        "class Slow(Reference):\n    def vjp(self, case): time.sleep(100)\n"
    )
    words = ("--bpttcheck", "slow.py:Slow", "-k", "lstm and float64 and causality")
    done = run(*words, "--bpttcheck-timeout", "1", "--bpttcheck-examples", "1")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*vjp of T=*, B=* did not return*"])
    done = run("--bpttcheck", "reference", *words[2:], "--bpttcheck-budget", "1", "--bpttcheck-examples", "1000000")
    done.assert_outcomes(passed=1)


def test_workers_of_xdist_test_only_their_share(run):
    pytest.importorskip("xdist")
    done = run("--bpttcheck", FAULT, "--bpttcheck-examples", "5", "-n", "2", "-k", CAUGHT_AND_NOT)
    done.assert_outcomes(failed=1, passed=1)


def test_unused_it_costs_nothing(run, pytester):
    pytester.makepyfile(
        "import sys\n"
        "def test_imports():\n"
        "    assert '_bpttcheck_pytest' in sys.modules\n"
        "    assert not {'bpttcheck', 'bpttref', 'numpy'} & sys.modules.keys()\n"
    )
    run(apart=True).assert_outcomes(passed=1)


def test_laws_as_parameters_of_a_test(run, pytester):
    pytester.makepyfile(
        "from bpttcheck import LAWS, parametrize_with_laws\n"
        "from bpttcheck.adapters import load\n"
        "laws = [law for law in LAWS if law.id in ('causality', 'pullback-reference', 'forward-mode-duality')]\n"
        f"@parametrize_with_laws([load('{FAULT}')], laws, examples=6, seed=3)\n"
        "def test_bptt(check):\n"
        "    check()\n"
    )
    done = run("-rs")
    done.assert_outcomes(passed=2, failed=2, skipped=2)
    done.stdout.fnmatch_lines(
        [
            "E *FAILED pullback-reference on lstm float64: *",
            "E *reproduce: this test draws the same cases on every run: seed 3, 6 examples",
        ]
    )
    done.stdout.fnmatch_lines([f"*test_bptt[[]{FAULT}-lstm-float64-pullback-reference]*"])


def test_bpttcheck_does_without_pytest(pytester):
    done = pytester.run(sys.executable, "-c", "import bpttcheck, sys; assert 'pytest' not in sys.modules")
    assert done.ret == 0
