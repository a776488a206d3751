"""Users' own sizes, weights, and correct implementations."""

from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from click.testing import CliRunner

from bpttcheck import LAWS, Capabilities, Case, Cotangents, CustomCell, judge
from bpttcheck.adapters.step_function import StepFunction
from bpttcheck.cases.blocks import case_arrays, named
from bpttcheck.cases.case_file import CaseFile
from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.realising import realise
from bpttcheck.command_line import main
from bpttcheck.measuring.black_box import measure_right
from bpttcheck.measuring.tolerance import FACTOR
from bpttcheck.running.own import Own
from bpttcheck.targets import load
from bpttref import CELLS, LSTM, RNN, vjp

ALL = {"cells": CELLS, "layers": 3, "bidirectional": True, "inputs": ("dense", "tokens", "initial", "lengths")}

LEAKY = dedent("""
    import numpy as np
    from bpttcheck import Capabilities, CustomCell, Gradients, Outputs
    from bpttcheck.adapters.step_function import StepFunction

    def leaky(parameters, x, states):
        h = DECAY * states["h"] + np.tanh(x @ parameters["V"])
        return h, {"h": h}

    class Leaky:
        name = "leaky"
        decay = 0.5

        def capabilities(self):
            return Capabilities(cells=(CustomCell("leaky", lambda D, H: {"V": (D, H)}, lambda H: {"h": (H,)}),))

        def vjp(self, case):
            V, h, y = case.parameters[0][0]["V"], case.initial[0][0]["h"], []
            n = np.tanh(case.x @ V)
            for t in range(len(n)):
                h = self.decay * h + n[t]
                y.append(h)

            def pullback(cotangents):
                dh = np.zeros_like(h) if cotangents.final is None else cotangents.final[0][0]["h"]
                da = np.empty_like(n)
                for t in reversed(range(len(n))):
                    dh = dh if cotangents.y is None else dh + cotangents.y[t]
                    da[t] = dh * (1 - n[t] ** 2)
                    dh = self.decay * dh
                dV = np.einsum("tbd,tbh->dh", case.x, da)
                return Gradients(da @ V.T, (({"V": dV.astype(V.dtype)},),), (({"h": dh},),))

            return Outputs(np.stack(y), (({"h": h},),)), pullback

    class AnotherLeaky(Leaky):
        decay = 0.25  # its gradients are those of its own forward pass

    right = StepFunction(leaky, parameters=lambda D, H: {"V": (D, H)})
""").replace("DECAY", "0.5")


@pytest.fixture
def leaky(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("leaky.py").write_text(LEAKY)
    return "leaky.py"


def invoke(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])


COMPARING = [law for law in LAWS if law.id.endswith("-reference")]


def statuses(subject, laws=LAWS, **options):
    return {(r.law, r.status) for r in judge(subject, laws, seed=1, shrink=False, **options)}


class Watched:
    """An implementation that notes the sizes of its cases."""

    name = "watched"

    def __init__(self):
        self.seen = set()

    def capabilities(self):
        return Capabilities(cells=(RNN("tanh"),), dtypes=("float64",))

    def vjp(self, case):
        self.seen.add(tuple(case.sizes.values()))
        return vjp(case.cell, case.parameters, case.x, case.initial)


def test_users_own_sizes():
    subject = Watched()
    laws = [law for law in LAWS if law.id == "pullback-reference"]
    assert statuses(subject, laws, own=Own({"T": (9,), "B": (3,), "H": (5,)}), examples=16) == {
        ("pullback-reference", "passed")
    }
    assert {(T, B, H) for T, B, _, H in subject.seen} == {(9, 3, 5)} and len({D for _, _, D, _ in subject.seen}) > 1


def test_several_of_the_users_own_sizes():
    subject = Watched()
    laws = [law for law in LAWS if law.id == "pullback-reference"]
    statuses(subject, laws, own=Own({"T": (31, 32, 33), "H": (5, 8)}), examples=24)
    assert {T for T, *_ in subject.seen} == {31, 32, 33} and {H for *_, H in subject.seen} == {5, 8}


def test_the_smallest_visible_error_is_reported_and_seen():
    """Of each array; three times that in one array fails, though a case decides with more replicates."""

    class Off(Watched):
        factor = 1.0

        def vjp(self, case):
            outputs, pullback = super().vjp(case)

            def scaled(cotangents):
                found = pullback(cotangents)
                found.parameters[0][0]["W_hh"][...] *= self.factor
                return found

            return outputs, scaled

    subject, laws = Off(), [law for law in LAWS if law.id == "pullback-reference"]
    asked = {"examples": 16, "seed": 3, "own": Own({"T": (20,), "H": (12,)}), "shrink": False}
    (result,) = judge(subject, laws, **asked)
    seen = dict(reversed(part.split(" in ")) for part in result.sees.split(", "))
    assert {"x", "W_hx", "W_hh", "b_hx", "b_hh"} <= seen.keys() and result.in_part
    subject.factor = 1 + 3 * float(seen["W_hh"])
    (result,) = judge(subject, laws, **asked)
    assert result.status == "failed" and "W_hh" in result.reason
    (usual,) = judge(Watched(), laws, examples=4, seed=3)
    assert not usual.sees


def test_laws_may_go_beyond_the_users_own_sizes():
    """Single rows and shorter sequences belong to the laws, not to the drawing."""
    found = statuses(Watched(), own=Own({"T": (4,), "B": (3,)}), examples=16)
    assert {("batch-independence", "passed"), ("split-resume-pullback", "passed")} <= found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sizes", "T=0"], "some may be left out"),
        (["--sizes", "T=4,Q=3"], "some may be left out"),
        (["--sizes", "T=4,B"], "some may be left out"),
        (["--sizes", "T=4,T=5"], "each once"),
        (["--sizes", "T=4,5,T=6"], "each once"),
        (["--sizes", "T=4,,5"], "some may be left out"),
        (["--budget", "10x"], "write 90, 90s, 10m or 2h"),
        (["--budget", "0m"], "is not in the range x>0"),
        (["--sizes", ""], "some may be left out"),
        (["--case", "array.npy"], "is not an .npz file of arrays"),
        (["--case", "nan.npz"], "W_hh in"),
        (["--sizes", "T=4", "--case", "own.npz"], "leave out --sizes"),
        (["--case", "text.npz"], "is not an .npz file of arrays"),
        (["--case", "odd.npz"], "does not hold W_hx, W_hh, b_hx, b_hh in shapes that fit rnn-tanh and x of 3 features"),
        (["--case", "no_x.npz"], "must hold x, (T, B, D) or tokens (T, B)"),
        (["--case", "more.npz", "--cell", "lstm"], "has b_ho, which lstm does not have"),
        (["--case", "short.npz", "--cell", "lstm"], "has no initial.c, which lstm with H = 4 needs in shape (2, 4)"),
        (["--case", "wide.npz", "--cell", "lstm"], "initial.c in"),
        (["--against", "nothing"], "'nothing' is neither"),
        (["--against", "leaky.py:right"], "which others are compared with, has no cell rnn-tanh"),
    ],
)
def test_input_that_does_not_fit_is_one_sentence_and_nothing_is_tested(leaky, arguments, said):
    own = {"x": np.zeros((5, 2, 3)), "W_hx": np.ones((16, 3)), "W_hh": np.ones((16, 4)), "b_hx": np.ones(16)}
    whole = {**own, "b_hh": np.ones(16)}
    states = {"initial.h": np.zeros((2, 4)), "initial.c": np.zeros((2, 5))}
    np.savez("own.npz", **whole)
    np.savez("odd.npz", **own)
    np.savez("no_x.npz", **{n: a for n, a in whole.items() if n != "x"})
    np.savez("more.npz", **whole, b_ho=np.ones(16))
    np.savez("short.npz", **whole, **{"initial.h": states["initial.h"]})
    np.savez("wide.npz", **whole, **states)
    np.savez("nan.npz", **{n: np.full_like(a, np.nan) if n == "W_hh" else a for n, a in whole.items()})
    np.save("array.npy", whole["x"])
    Path("text.npz").write_text("text")
    result = invoke("verify", "reference", *arguments)
    assert result.exit_code == 2 and said in result.output and "worst error" not in result.output


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize("tokens", [False, True], ids=["dense", "tokens"])
def test_a_file_holds_the_saved_case(tmp_path, cell, tokens):
    draw = Draw(5, 2, 3, 4, 2, True, True, tokens, False, 0.5, 7)
    case, cotangents = realise(draw, cell, "float32", Capabilities(**ALL))
    arrays = {"x": case.x, "lengths": case.lengths} | case_arrays(case)
    np.savez(tmp_path / "case.npz", **arrays, **{f"cotangent.{n}": a for n, a in named(cotangents).items()})
    held = CaseFile(tmp_path / "case.npz").holds(cell, "float32", Capabilities(**ALL))
    assert held.H == 4
    for before, after in ((case_arrays(case), case_arrays(held.case)), (named(cotangents), named(held.cotangents))):
        assert list(before) == list(after)
        assert all(np.array_equal(before[n], after[n]) and before[n].dtype == after[n].dtype for n in before)
    assert np.array_equal(held.case.x, case.x) and np.array_equal(held.case.lengths, case.lengths)
    with pytest.raises(ValueError, match="has 2 layers, which the target does not declare"):
        CaseFile(tmp_path / "case.npz").holds(cell, "float32", Capabilities(**{**ALL, "layers": 1}))


def test_users_own_weights(leaky):
    """A fault that shows only at these weights: no drawn case has such large ones."""

    class Clipping(Watched):
        def vjp(self, case):
            case = Case(**{**vars(case), "x": np.clip(case.x, -50, 50)})
            return super().vjp(case)

    rng = np.random.default_rng(1)
    own = {"W_hx": 1e-2 * rng.standard_normal((4, 3)), "W_hh": rng.standard_normal((4, 4)) / 4}
    np.savez("own.npz", x=90 * rng.standard_normal((6, 2, 3)), **own, b_hx=np.zeros(4), b_hh=np.zeros(4))
    laws = [law for law in LAWS if law.id == "forward-reference"]
    assert statuses(Clipping(), laws, examples=16) == {("forward-reference", "passed")}
    found = list(judge(Clipping(), laws, own=Own(case=CaseFile(Path("own.npz"))), examples=4))
    assert [r.status for r in found] == ["failed"] and str(found[0].case).startswith("own.npz (seed ")


def test_a_users_own_case_on_the_command_line(leaky):
    rng = np.random.default_rng(1)
    shapes = {"x": (5, 2, 3), "W_hx": (16, 3), "W_hh": (16, 4), "b_hx": (16,), "b_hh": (16,)}
    np.savez("own.npz", **{name: rng.standard_normal(shape) for name, shape in shapes.items()})
    asked = "verify fault:di-uses-i reference --case own.npz --seed 3 --examples 4 --law pullback-reference".split()
    ends = [invoke(*asked, "--failures", f"jobs-{jobs}", "-j", jobs) for jobs in (1, 2)]
    assert [end.exit_code for end in ends] == [1, 1]
    assert ends[0].output == ends[1].output.replace("jobs-2", "jobs-1")
    assert f"4 examples per cell and dtype, case {Path('own.npz').resolve()}" in ends[0].output.replace("\n", "")
    assert "planted fault di-uses-i" in ends[0].output and "rnn" not in ends[0].output
    replayed = next(Path("jobs-2").glob("*float64*"))
    assert invoke("replay", replayed).exit_code == 1
    with np.load(replayed / "case.npz") as arrays:  # a failure leaves such a case on file
        again = invoke("verify", "reference", "--case", replayed / "case.npz", "--cell", "lstm", "--examples", 2)
        assert arrays["x"].shape == (5, 2, 3) and again.exit_code == 0


def test_a_users_own_cell_is_compared_with_a_step(leaky):
    right = load("leaky.py:right")
    found = statuses(load("leaky.py:Leaky"), COMPARING, own=Own(against=right), examples=16)
    assert not {f for f in found if f[1] in ("failed", "error", "unsure")}
    assert {("forward-reference", "passed"), ("pullback-reference", "passed")} <= found
    other = statuses(load("leaky.py:AnotherLeaky"), COMPARING, own=Own(against=right), examples=16)
    assert {law for law, status in other if status == "failed"} == {"forward-reference", "pullback-reference"}
    alone = statuses(load("leaky.py:AnotherLeaky"), examples=16)
    assert not {f for f in alone if f[1] == "failed"} and ("forward-reference", "skipped") in alone


def test_against_on_the_command_line(leaky):
    options = ["--against", "leaky.py:right", "--seed", 1, "--examples", 8, "--dtype", "float64"]
    options += ["--law", "forward-reference", "--law", "pullback-reference"]
    good = invoke("verify", "leaky.py:Leaky", *options)
    bad, two = (
        invoke("verify", "leaky.py:AnotherLeaky", *options, "--failures", f"jobs-{jobs}", "-j", jobs) for jobs in (1, 2)
    )
    assert good.exit_code == 0 and "examples per cell and dtype, against the step leaky" in good.output
    assert bad.exit_code == 1 and "initial.h (half as large); correct: V, x" in " ".join(bad.output.split())
    assert (two.exit_code, two.output.replace("jobs-2", "jobs-1")) == (bad.exit_code, bad.output)
    replays = sorted(Path("jobs-1").iterdir())
    assert [invoke("replay", folder).output[:6] for folder in replays] == ["FAILED"] * 2
    options = ["--seed", 1, "--examples", 2, "--law", "causality", "--failures", "jobs-1"]
    alone = invoke("verify", "leaky.py:AnotherLeaky", *options)
    assert alone.exit_code == 0 and "FAILED" not in alone.output  # the failures on file belong to another question
    changed = Path("leaky.py").read_text().replace("decay = 0.25", "decay = 0.5")
    Path("leaky.py").write_text(changed)
    assert [invoke("replay", folder).output for folder in replays] == ["FIXED\n"] * 2


def test_a_truncation_is_compared_with_one_that_follows_it(leaky):
    """The reference under another name, as the correct implementation, gives the same results as the reference."""
    reference = load("reference")
    chosen = {"cells": ["lstm"], "dtypes": ["float64"], "examples": 16}
    found = statuses(load("fault:di-uses-i"), COMPARING, own=Own(against=reference), **chosen)
    assert ("pullback-reference", "failed") in found
    found = statuses(reference, COMPARING, own=Own(against=reference), **chosen)
    assert {("regular-reference", "passed"), ("links-reference", "passed")} <= found
    unable = load("leaky.py:right").__class__(lambda p, x, s: (x, s), cell=LSTM())
    skipped = statuses(reference, COMPARING, own=Own(against=unable),
                       cells=["lstm"], dtypes=["float64"], examples=1)  # fmt: skip
    assert ("regular-reference", "skipped") in skipped


def test_an_error_of_the_correct_implementation_is_reported(leaky):
    def odd(parameters, x, states):
        raise OSError("no such weights")

    found = list(judge(load("leaky.py:Leaky"), COMPARING, own=Own(against=StepFunction(odd, cell="leaky")), examples=2))
    assert any(
        r.status == "error" and "the step odd, which others are compared with: vjp raised OSError" in r.reason
        for r in found
    )


def test_a_step_agrees_with_the_reference():
    def lstm(p, x, s):
        def sigmoid(a):
            return (1 + np.tanh(a / 2)) / 2

        i, f, g, o = np.split(x @ p["W_hx"].T + s["h"] @ p["W_hh"].T + p["b_hx"] + p["b_hh"], 4, axis=-1)
        c = sigmoid(f) * s["c"] + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        return h, {"h": h, "c": c}

    small = {"T": (1, 3), "B": (2,), "D": (3,), "H": (2,)}
    found = statuses(StepFunction(lstm, cell=LSTM(), dtypes=("float64",), sizes=small), examples=8)
    assert not {f for f in found if f[1] in ("failed", "error", "unsure")}
    assert ("pullback-reference", "passed") in found


@pytest.mark.parametrize(("step", "sentence"), [
    (lambda p, x, s: (np.abs(x), {"h": np.abs(x)}), r"such as np\.abs"),
    (lambda p, x, s: (x - s["h"].mean(axis=0), {"h": x * s["h"].sum(axis=0)}), "and on no other"),
])  # fmt: skip
def test_a_step_with_which_derivatives_would_be_incorrect(step, sentence):
    right = StepFunction(step, cell="own")
    draw = Draw(3, 2, 4, 4, 1, False, False, False, False, 0.5, 7)
    case, cotangents = realise(draw, right.capabilities().cells[0], "float64", right.capabilities())
    with pytest.raises(ValueError, match=sentence):
        right.vjp(case)[1](Cotangents(cotangents.y))


def test_saturated_units_err_by_the_roundoff_of_their_value():
    """1 - y^2 in single precision is off by as much as it is large; weights and cotangents multiply that."""
    cell = CustomCell("squash", parameters=lambda D, H: {"V": (H, D)}, states=lambda H: {})
    x, V, dy = (np.full((1, 1, 1), n, np.float32) for n in (0.01, 900, 1e6))
    case = Case(cell, "float32", (({"V": V[0]},),), x)

    def run(dtype):
        def results(case, cotangents):
            V, dy = case.parameters[0][0]["V"].astype(dtype), cotangents.y.astype(dtype)
            y = np.tanh(case.x.astype(dtype) @ V.T)
            da = (1 - y * y) * dy
            return {"y": y, "x": da @ V, "V": da[0].T @ case.x[0].astype(dtype)}

        return results

    measured = measure_right(run(np.float64), case, Cotangents(dy))
    got = run(np.float32)(case, Cotangents(dy))
    for name, true in measured.values.items():
        assert np.all(np.abs(got[name] - true) <= FACTOR * (measured.spread[name] + 1e-7 * np.abs(true))), name
    assert np.abs(got["x"] - measured.values["x"]) > 0.5 * np.abs(measured.values["x"])


def test_saturated_units_whose_difference_is_all_that_is_left():
    """In single precision both are 1."""
    cell = CustomCell("apart", parameters=lambda D, H: {"V": (H, D)}, states=lambda H: {})
    case = Case(cell, "float32", (({"V": np.full((1, 1), 10, np.float32)},),), np.ones((1, 1, 1), np.float32))

    def run(dtype):
        def results(case, cotangents):
            a = case.x.astype(dtype) @ case.parameters[0][0]["V"].astype(dtype).T
            return {"y": np.tanh(a) - np.tanh(a + 1)}

        return results

    measured, got = measure_right(run(np.float64), case, Cotangents()), run(np.float32)(case, Cotangents())
    assert measured.values["y"] < -2e-9 and got["y"] == 0
    assert np.abs(measured.values["y"]) <= FACTOR * measured.spread["y"]
