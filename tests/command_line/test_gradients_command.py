"""``bpttcheck gradients`` as a user types it."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bpttcheck.adapters.reference import Reference
from bpttcheck.studies.gradients import Setting, problem
from bpttref import RNN

from ..programs import command

README = Path(__file__).parents[2] / "README.md"
SMALL = ("--length", "24", "--units", "3", "--inputs", "2")
LEAKY = """
import numpy as np
from bpttcheck import Capabilities, CustomCell, Gradients, Outputs

class Leaky:
    name = "leaky"
    outputs = ("y", "final")

    def capabilities(self):
        cell = CustomCell("leaky", lambda D, H: {"V": (H, D)}, lambda H: {"h": (H,)})
        return Capabilities(cells=(cell,), outputs=self.outputs)

    def vjp(self, case):
        V, h = case.parameters[0][0]["V"], case.initial[0][0]["h"]
        g = np.tanh(case.x @ V.T)
        y = np.empty_like(g)
        for t in range(len(g)):
            h = y[t] = h / 2 + g[t]

        def pullback(cotangents):
            dh, da = cotangents.final[0][0]["h"], np.empty_like(g)
            for t in reversed(range(len(g))):
                da[t], dh = dh * (1 - g[t] ** 2), dh / 2
            return Gradients(da @ V, (({"V": np.einsum("tbh,tbd->hd", da, case.x)},),), (({"h": dh},),))

        return Outputs(y, (({"h": y[-1]},),)), pullback

class Hidden(Leaky):
    outputs = ("y",)

class Forgetful(Leaky):
    def vjp(self, case):
        outputs, pullback = super().vjp(case)
        return outputs, lambda cotangents: pullback(cotangents)._replace(initial=None)
"""


def gradients(*arguments, cwd=None):
    line = [sys.executable, "-W", "error::RuntimeWarning", "-m", "bpttcheck", "gradients", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, timeout=300)


def row(done, label):
    """The numbers of a row of the table."""
    (line,) = [line for line in done.stdout.splitlines() if line.strip().startswith(label)]
    return line.replace("~ ", "~").split(label)[1].split()


@pytest.mark.thorough
def test_by_default_the_plain_rnn_forgets_first(tmp_path):
    pytest.importorskip("matplotlib")
    done = gradients("--png", "g.png", "--svg", "g.svg", cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "rnn-tanh" in done.stdout and "gru-after" in done.stdout and "seed 0" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    plain, lstm, gru = (int(lag.strip("~")) for lag in row(done, "memory horizon"))
    assert 5 * plain < lstm < gru
    assert (tmp_path / "g.png").stat().st_size > 10000 and "<svg" in (tmp_path / "g.svg").read_text()


def test_gates_that_are_half_closed_do_not_help():
    done = gradients("--gate-bias", "0", "--cell", "lstm", "--cell", "rnn-tanh", "--length", "96")
    lstm, plain = (int(lag.strip("~")) for lag in row(done, "memory horizon"))
    assert lstm < 2 * plain


def test_json_holds_the_numbers_of_the_equations(tmp_path):
    done = gradients("--cell", "rnn-tanh", *SMALL, "--seed", "5", "--json", "g.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "g.json").read_text())
    (cell,) = written["cells"]
    case = problem(Reference(), RNN("tanh"), Setting(**written["setting"]))
    p, h, J = case.parameters[0][0], case.initial[0][0]["h"][0], []
    for x in case.x[:, 0]:
        h = np.tanh(p["W_hx"] @ x + p["b_hx"] + p["W_hh"] @ h + p["b_hh"])
        J.append((1 - h**2)[:, None] * p["W_hh"])
    assert np.allclose(cell["singular_values"], [np.linalg.svd(step)[1] for step in J])
    three = [np.linalg.norm(J[s + 3] @ J[s + 2] @ J[s + 1], 2) for s in range(21)]
    lowest, median, highest = (np.exp2(curve[3]) for curve in cell["log2_norms"])
    assert np.allclose([lowest, median, highest], [min(three), np.median(three), max(three)])
    assert np.isclose(cell["bound"], np.linalg.norm(p["W_hh"], 2)) and cell["gate"] is None
    assert cell["horizon"].keys() == {"steps", "measured"} and written["setting"]["seed"] == 5
    product = np.linalg.multi_dot(J[::-1])
    assert np.isclose(np.exp2(cell["log2_singular_values_of_products"][-1][0]), np.linalg.norm(product, 2))


def test_explosion_is_predicted_and_measured():
    told = gradients("--cell", "rnn-identity", "--scale", "2", "--length", "64")
    measured = gradients("--cell", "rnn-identity", "--scale", "2", "--length", "128")
    (before,), (after,) = (row(done, "dh_t/dh_s overflows at") for done in (told, measured))
    assert before.startswith("~") and abs(int(before[1:]) - int(after)) <= 2
    assert row(told, "memory horizon") == ["never"]


def test_torch_has_the_numbers_of_the_reference():
    if not importlib.util.find_spec("torch"):
        pytest.skip("torch is not installed")
    ours, theirs = (gradients(target, "--cell", "lstm", "--cell", "gru-after", *SMALL) for target in
                    ("reference", "torch"))  # fmt: skip
    assert theirs.returncode == 0, theirs.stderr
    assert ours.stdout.splitlines()[1:] == theirs.stdout.splitlines()[1:]


def test_the_adapter_of_the_readme(tmp_path):
    (tmp_path / "my_rnn.py").write_text(README.read_text().split("```python\n")[2].split("```")[0])
    done = gradients("my_rnn.py:MyRNN", *SMALL, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("my-rnn, float64"), done.stderr
    assert len(row(done, "fitted to dh_t/dh_s")) == 1


def test_a_custom_cell_has_no_bound_and_no_gates(tmp_path):
    (tmp_path / "leaky.py").write_text(LEAKY)
    done = gradients("leaky.py:Leaky", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert row(done, "fitted to dh_t/dh_s") == ["0.5000"] and row(done, "smallest singular value") == ["0.5"]
    assert "bound" not in done.stdout and "gates only" not in done.stdout


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["nonsense"], "neither a name of"),
    (["--cell", "unheard-of"], "reference has no cell 'unheard-of'; there are rnn-tanh, "),
    (["leaky.py:Hidden"], "leaky cannot be analysed: it is declared not to return the final states"),
    (["leaky.py:Forgetful"], "initial.h is missing"),
    (["--length", "7"], "length must lie between 8 and 1000, not 7"),
    (["--units", "0"], "at least one unit"),
    (["--scale", "nan"], "scale must be above 0"),
    (["--gate-bias", "inf"], "gate bias must lie between"),
    (["--units", "2000"], "choose a smaller length or fewer units"),
    (["--cell", "rnn-identity", "--scale", "900"], "rnn-identity leaves float64 at step"),
    (["--png", "missing/folder/g.png"], "missing/folder/g.png"),
    (["--json", "missing/folder/g.json"], "missing/folder/g.json"),
])  # fmt: skip
def test_a_mistake_is_one_sentence_and_exit_status_2(tmp_path, arguments, sentence):
    (tmp_path / "leaky.py").write_text(LEAKY)
    done = command("gradients", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and not done.stdout
    assert sentence in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_without_matplotlib_a_picture_is_refused_before_the_work(tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ImportError('absent')")
    done = gradients("--png", "g.png", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("bpttcheck: pictures need matplotlib") and not done.stdout
    assert not (tmp_path / "g.png").exists()
