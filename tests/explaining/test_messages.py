"""The message of a failure: its parts for every planted fault, its shape, and its text in special places."""

import json
import re
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from bpttcheck import LAWS, CustomCell, Gradients, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.facts import facts
from bpttcheck.cases.realising import realise
from bpttcheck.explaining.explanation import explain, numbers
from bpttcheck.explaining.failure import write_failure
from bpttcheck.explaining.matrix_in_words import in_words
from bpttcheck.explaining.replaying import on_its_own
from bpttcheck.explaining.xray import xray
from bpttcheck.faults import FAULTS, Faulty
from bpttcheck.reporting.record import from_json
from bpttcheck.reporting.text import print_failure, wrapped
from bpttcheck.running.child import Here
from bpttcheck.running.question import Question
from bpttcheck.running.time_limit import TimeLimit
from bpttref import GRU, LSTM, RNN, Blocks, Links, Random, Regular, Window, trees

from ..programs import command
from ..thorough import some

BY_ID = {fault.id: fault for fault in FAULTS}
NO_TIME = TimeLimit(0)  # for a diagnosis


def message(explanation, columns=80):
    text = StringIO()
    print_failure(Console(file=text, color_system=None, width=columns), explanation)
    return text.getvalue()


def explained(subject, laws, folder, target="none", limit=None, **options):
    """The explanation of the first cell of an implementation that breaks laws."""
    chosen = [law for law in LAWS if law.id in laws]
    one = {"cells": [subject.capabilities().cells[0].name], "examples": 40, "seed": 1} | options
    results = list(judge(subject, chosen, **one))
    return next(explain(Here(subject), target, results, folder, Question(), limit or TimeLimit()))


OF_EACH_LAW = {fault.caught_by[0]: fault for fault in reversed(FAULTS)}
STATISTICAL = BY_ID["links-drawn-together"]  # its smallest case is found by thousands of runs
FIRST = [fault for fault in OF_EACH_LAW.values() if fault is not STATISTICAL]


@pytest.mark.parametrize(
    "fault",
    some(FAULTS, *FIRST),
    ids=lambda fault: fault.id,
)
def test_the_message_of_each_fault_has_its_parts(fault, tmp_path):
    """The failure and its place, got and expected, the smallest case, a line to paste; in 80 columns."""
    found = explained(Faulty(fault), fault.caught_by[:1], tmp_path, limit=NO_TIME)
    said = message(found)
    head, *rest = said.strip().splitlines()
    assert head.startswith(f"FAILED {fault.caught_by[0]} on {fault.cells[0].name} float")
    worst = found.first.worst
    if worst is not None and worst.got is not None:
        assert worst.block in " ".join(said.split()) and re.search(r"^    got .*, expected ", said, re.MULTILINE)
        assert "is off by" in " ".join(said.split()) or "is not finite" in " ".join(said.split())
    assert re.search(r"^    smallest case found: T=\d+, B=\d+", said, re.MULTILINE)
    assert f"    reproduce: python {found.files[0]}" in rest
    assert max(len(line) for line in said.splitlines() if "reproduce: " not in line and str(tmp_path) not in line) <= 80
    assert not re.search(r"\[(gates?|t)?$", said, re.MULTILINE)  # no name is broken
    text = found.files[0].read_text()
    assert worst is None or worst.got is None or "expected = " in text


@pytest.mark.parametrize("columns", [80, 60, 10_000])
def test_lines_are_wrapped_between_names(columns):
    blocks = [f"layer{k}.W_hh[gates f, g, i]" for k in range(9)]
    lines = wrapped(f"    diagnosis: incorrect: {', '.join(blocks)}", columns, 6 * " ").splitlines()
    assert all(len(line) <= columns for line in lines) and (len(lines) == 1) == (columns == 10_000)
    assert all(line.startswith(6 * " ") for line in lines[1:])
    assert all(any(block in line for line in lines) for block in blocks)


@pytest.mark.parametrize(
    ("fault_id", "law"), [("di-uses-i", "regular-reference"), ("rnn-no-carry", "regular-reference")]
)
def test_no_xray_where_full_bptt_is_incorrect(fault_id, law, tmp_path):
    found = explained(Faulty(BY_ID[fault_id]), [law], tmp_path, limit=NO_TIME)
    assert found.first.law == law and found.xray is None


@pytest.mark.parametrize(("fault_id", "law", "words"), [
    ("segments-one-longer", "regular-reference", "blocks of 4"),
    ("cells-or-transitions", "window-reference", "the window is counted in transitions"),
    ("parameters-not-truncated-last", "last-reference", "seen through parameters: full BPTT"),
    ("setting-ignored", "tau-one-has-no-temporal-term", "seen through x: full BPTT"),
])  # fmt: skip
def test_the_declared_triangle_stands_next_to_the_seen_ones(fault_id, law, words, tmp_path):
    said = message(explained(Faulty(BY_ID[fault_id]), [law], tmp_path, limit=NO_TIME))
    assert words in said and re.search(r"^      declared +seen through x +seen through parameters$", said, re.MULTILINE)


def test_the_only_state_of_a_cell_is_never_cut_in_part(tmp_path):
    """The cotangent that crosses a cut is bent: that is no weighting, and no other sentence fits."""

    class Bent(Reference):
        def vjp(self, case):
            outputs, pullback = super().vjp(case)
            if not isinstance(case.truncation, Regular):
                return outputs, pullback
            _, full = super().vjp(replace(case, truncation=Window(len(case.x) + 1)))

            def pull(cotangents):
                cut, whole = pullback(cotangents), full(cotangents)
                return cut._replace(x=cut.x + 0.5 * np.abs(whole.x - cut.x))

            return outputs, pull

    said = xray(Bent(), RNN("tanh"), Regular(3), 6).in_words(Regular(3))
    assert said == "no weighting of full BPTT"


@pytest.mark.parametrize(("factors", "words"), [
    ([0.5] * 6, "all losses times 0.5"), ([1, 1, 1, 2, 2, 2], "losses of steps 3, 4, 5 times 2"),
])  # fmt: skip
def test_losses_that_are_only_scaled_are_reported_with_the_factor(factors, words):
    class Scaled(Reference):
        def vjp(self, case):
            outputs, pullback = super().vjp(case)
            by = np.array(factors)[:, None, None] if isinstance(case.truncation, Blocks) else 1.0
            return outputs, lambda cotangents: pullback(cotangents._replace(y=cotangents.y * by))

    seen = xray(Scaled(), GRU("after"), Blocks(2, 3), 6)
    assert seen.in_words(Blocks(2, 3)) == f"{in_words(seen.declared)}; {words}"
    assert words in seen.parameters_in_words(Blocks(2, 3))


def test_a_failure_and_an_error_are_both_reported(tmp_path):
    class Both(Reference):
        def vjp(self, case):
            if isinstance(case.truncation, Regular):
                raise RuntimeError("no segments here")
            outputs, pullback = super().vjp(case)
            return outputs, lambda cotangents: Gradients(*(trees.scale(part, 2) for part in pullback(cotangents)))

    laws = ["pullback-reference", "regular-reference"]
    found = explained(Both(), laws, tmp_path, limit=NO_TIME, dtypes=["float64"])
    said = " ".join(message(found).split())
    assert "FAILED pullback-reference on rnn-tanh float64" in said
    assert "ERROR regular-reference: vjp raised RuntimeError: no segments here (with Regular(tau=" in said
    assert "pullback_reference/replay.py" in said.split("reproduce: ")[1].split()[1]


def test_an_exception_is_reported_with_its_smallest_case(tmp_path):
    class NotBeyond(Reference):
        def vjp(self, case):
            if isinstance(case.truncation, Window) and case.truncation.tau > len(case.x):
                raise IndexError("index out of range")
            return super().vjp(case)

    (result,) = judge(NotBeyond(), [law for law in LAWS if law.id == "tau-covers-is-full"], cells=["lstm"],
                      dtypes=["float64"], examples=40, seed=1)  # fmt: skip
    assert result.status == "error" and (result.case.B, result.case.D, result.case.H) == (1, 1, 1)
    tau, T = map(int, re.search(r"Window\(tau=(\d+)\), which is longer than T = (\d+)\)$", result.reason).groups())
    assert tau > T == result.case.T


CAPABILITIES = Reference().capabilities()
PLAIN = Draw(5, 2, 2, 3, 1, *[False] * 4, 0.5, seed=1)


def test_special_features_of_a_case_are_reported():
    case, _ = realise(replace(PLAIN, ragged=True), LSTM(), "float64", CAPABILITIES)
    lengths = ", ".join(map(str, case.lengths))
    assert facts(case) == [f"lengths {lengths}"]
    assert facts(replace(case, lengths=None, initial=None)) == ["no initial states"]
    assert facts(replace(case, lengths=None, truncation=Random(0.5, 7)))[0].startswith("Random(pi=0.5, seed=7")
    assert facts(replace(case, lengths=None, truncation=Links((1.0, 0.5, 2.0, 0.0, 1.0)))) == [
        "Links(xi=(1, 0.5, 2, 0, 1))"
    ]
    assert facts(replace(case, lengths=None, truncation=Regular(7))) == ["Regular(tau=7), which is longer than T = 5"]
    assert facts(replace(case, lengths=None, wanted=frozenset(), once=True, x=case.x[:0])) == [
        "no step at all", "a pullback that is called once", "gradients wanted of nothing",
    ]  # fmt: skip


def test_of_many_numbers_the_largest_error_is_shown():
    got, expected = np.zeros((4, 5)), np.zeros((4, 5))
    got[2, 3], got[0, 0] = 7, 1
    assert numbers(got, expected) == "got 7., expected 0. at [2, 3]"
    got[1, 1] = np.nan
    assert numbers(got, expected) == "got nan, expected 0. at [1, 1]"
    assert numbers(np.array([1 + 1e-12]), np.array([1.0])) == "got [1.000000000001], expected [1.]"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("tokens", [np.int8, np.int32, np.uint32, np.int64, None], ids=str)
def test_a_failure_in_any_dtype_is_replayed(dtype, tokens, tmp_path):
    draw = replace(PLAIN, tokens=tokens is not None, ragged=True)
    case, cotangents = realise(draw, LSTM(), dtype, CAPABILITIES)
    case = case if tokens is None else replace(case, x=case.x.astype(tokens))
    file = write_failure(tmp_path, "fault:di-uses-i", "s", "pullback-reference", "", case, cotangents)
    done = command("replay", str(file))
    assert done.stdout.startswith("FAILED: ") and done.returncode == 1, done.stdout


def test_a_file_that_does_not_run_is_named(tmp_path):
    one = ["verify", "fault:di-uses-i", "--law", "pullback-reference", "--dtype", "float64", "--seed", "1"]
    assert command(*one, cwd=tmp_path).returncode == 1
    (file,) = tmp_path.glob("bpttcheck-failures/*/replay.py")
    file.write_text(file.read_text().replace("case = Case(", "case = Cake("))
    said = command(*one, cwd=tmp_path).stdout
    assert f"{file.relative_to(tmp_path)}: the file does not run: NameError: name 'Cake'" in said


def test_a_report_of_a_users_own_case_is_read_back(tmp_path):
    one = ["verify", "fault:di-uses-i", "--law", "pullback-reference", "--dtype", "float64", "--seed", "1"]
    command(*one, cwd=tmp_path)
    (file,) = tmp_path.glob("bpttcheck-failures/*/case.npz")
    done = command(*one, "--case", str(file), "--json", "v.json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    run = from_json((tmp_path / "v.json").read_text())
    (failed,) = [result for result in run.results if result.status == "failed"]
    assert str(failed.case).startswith(str(file)) and failed.case.file.path == file
    assert json.loads((tmp_path / "v.json").read_text())["results"][0]["status"] == "failed"


KEPT = """
import numpy as np
from bpttcheck import Capabilities, Gradients
from bpttcheck.adapters.reference import Reference
from bpttref import trees

kept = {}
rng = np.random.default_rng()

class Few(Reference):
    def capabilities(self):
        from dataclasses import replace
        return replace(super().capabilities(), dtypes=("float64",), cells=super().capabilities().cells[3:4])

class Stale(Few):
    name = "stale"

    def vjp(self, case):
        from dataclasses import replace
        shapes = str([{n: a.shape for n, a in p.items()} for layer in case.parameters for p in layer])
        return super().vjp(replace(case, parameters=kept.setdefault(shapes, trees.copy(case.parameters))))

class Noisy(Few):
    name = "noisy"

    def vjp(self, case):
        outputs, pullback = super().vjp(case)
        return outputs._replace(y=outputs.y * (1 + 0.01 * rng.random())), pullback
"""


def test_a_needed_earlier_call_is_reported_and_the_file_makes_it(tmp_path):
    (tmp_path / "mine.py").write_text(KEPT)
    done = command("verify", "mine.py:Stale", "--law", "forward-reference", "--seed", "1", cwd=tmp_path)
    said = " ".join(done.stdout.split())
    assert "needs: a call for another problem of the same shapes before it, which is in the file" in said
    (file,) = tmp_path.glob("bpttcheck-failures/*/replay.py")
    for _ in range(2):
        again = command("replay", str(file), cwd=tmp_path)
        assert again.returncode == 1 and again.stdout.startswith("FAILED")


def test_random_numbers_are_distinguished_from_kept_ones(tmp_path):
    (tmp_path / "mine.py").write_text(KEPT)
    done = command("verify", "mine.py:Noisy", "--law", "forward-reference", "--seed", "1", cwd=tmp_path)
    said = " ".join(done.stdout.split())
    assert "something is drawn at random" in said and "left behind" not in said


def test_an_unknown_cell_has_its_numbers_too(tmp_path):
    class Wrong(Reference):
        def capabilities(self):
            few = {"truncations": (), "objectives": (), "layers": 1, "bidirectional": False, "dtypes": ("float64",)}
            shapes = {"W_hx": "x", "W_hh": "h"}
            cell = CustomCell("mine", lambda D, H: {n: (H, D if k == "x" else H) for n, k in shapes.items()},
                              lambda H: {"h": (H,)})  # fmt: skip
            return replace(super().capabilities(), cells=(cell,), inputs=("dense", "initial"), **few)

        def vjp(self, case):
            p = case.parameters[0][0]
            zeros = {f"b_h{k}": np.zeros(len(p["W_hh"])) for k in "xh"}
            outputs, pullback = super().vjp(replace(case, cell=RNN("tanh"), parameters=(({**p, **zeros},),)))

            def pull(cotangents):
                gradients = pullback(cotangents)
                found = gradients.parameters[0][0]
                return gradients._replace(parameters=(({n: 2 * found[n] if n == "W_hh" else found[n] for n in p},),))

            return outputs, pull

    found = explained(Wrong(), ["own-forward-derivative"], tmp_path)
    assert "W_hh" in found.first.reason and re.search(r"^    got .*, expected ", message(found), re.MULTILINE)


WITH_CASES_OF_THEIR_OWN = ("no-reweight", "window-from-the-end", "own-links-weighted-by-pi", "f64-upcast")


def test_a_mean_over_patterns_says_over_which(tmp_path):
    found = explained(Faulty(BY_ID["no-reweight"]), ["random-unbiased"], tmp_path, limit=NO_TIME)
    assert re.search(
        r"averaged over links that are kept with probability 0\.\d+ of that into step \d", found.first.reason
    )


@pytest.mark.parametrize("fault_id", some(WITH_CASES_OF_THEIR_OWN, *WITH_CASES_OF_THEIR_OWN[:2]))
def test_the_file_of_a_law_that_makes_its_case_fails_on_its_own(fault_id, tmp_path):
    fault = BY_ID[fault_id]
    found = explained(Faulty(fault), fault.caught_by[:1], tmp_path, target=f"fault:{fault_id}")
    assert not found.needs and on_its_own(found.files[0]).startswith("FAILED: ")
