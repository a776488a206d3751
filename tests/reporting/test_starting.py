"""`init --from` existing code: the written file runs, and contains no question that a call of the code answers."""

import subprocess
import sys

import pytest

from bpttcheck.reporting.starting import start
from bpttcheck.targets import TargetError, load

from ..programs import command

ARRAYS = """
import numpy as np

def forward(p, x, h):
    hs = [h]
    for x_t in x:
        hs.append(p["w"] * hs[-1] + x_t)
    return np.array(hs[1:]), hs[-1], (p, hs)

def backward(dy, dh, cache):
    p, hs = cache
    dw, dx = 0 * p["w"], 0 * dy
    for t in reversed(range(len(dy))):
        dh = dh + dy[t]
        dx[t], dw = dh, dw + (dh * hs[t]).sum(axis=0)
        dh = p["w"] * dh
    return {"w": dw}, dx, dh

def run(p, x, h):
    y, end, cache = forward(p, x, h)
    return y, end, lambda dy, dh: backward(dy, dh, cache)

def step(p, x_t, h):
    after = p["w"] * h + x_t
    return after, after, (p, h)

def step_back(dy, dh, cache):
    (p, h), dh = cache, dy + dh
    return {"w": (dh * h).sum(axis=0)}, dh, p["w"] * dh

def loss(p):
    return float((p["w"] ** 2).sum()), {"w": 2 * p["w"]}

def attention(q, k, S):
    return q, S

def swapped(x, p):
    return x

def scaled(factor):
    return factor

p, x, h = {"w": np.zeros(3)}, np.zeros((5, 4, 3)), np.zeros((4, 3))
q, k, S = np.zeros((4, 5, 2)), np.zeros((4, 5, 2)), np.zeros((4, 2, 2))
"""


@pytest.fixture
def mine(tmp_path, monkeypatch, request):
    """A file of its own, with a name that no other test imports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    name = "mine" + str(abs(hash(request.node.name)))
    (tmp_path / f"{name}.py").write_text(ARRAYS)
    return name


@pytest.mark.parametrize(("name", "called"), [
    ("forward", "bpttcheck.check( forward, backward, parameters=p, x=x, states=h, time=0,"),
    ("run", "bpttcheck.check( run, parameters=p, x=x, states=h, time=0,"),
    ("step", "bpttcheck.check( step, step_back=step_back, parameters=p, x=x, states=h, time=0,"),
    ("loss", "bpttcheck.check( loss, parameters=p, )"),
    ("attention", 'bpttcheck.assert_op( attention, streams={"q": q, "k": k}, state={"S": S}, time=1,'),
])  # fmt: skip
def test_the_call_follows_from_the_code(mine, name, called):
    text, next_command = start(None, f"{mine}.py:{name}", "test_mine.py")
    assert called in " ".join(text.split()) and next_command == "python -m pytest test_mine.py"
    assert f"from {mine} import" in text


@pytest.mark.parametrize(("name", "sentence"), [
    ("swapped", "swapped takes x, p: check calls a function of (parameters, x, states)"),
    ("scaled", "scaled takes factor, and .* has no variable of that name: put an example there, such as factor = np"),
    ("p", "is a dict; expected a function, or a module of PyTorch"),
    ("missing", "has no attribute 'missing'"),
])  # fmt: skip
def test_code_that_says_too_little_is_one_sentence(mine, name, sentence):
    with pytest.raises((ValueError, TargetError), match=sentence.replace("(", r"\(").replace(")", r"\)")):
        start(None, f"{mine}.py:{name}", "test_mine.py")


def test_the_written_file_runs(mine, tmp_path):
    done = command("init", "test_run.py", "--from", f"{mine}:run", cwd=tmp_path)
    assert done.stdout == "written: test_run.py\nnext: python -m pytest test_run.py\n", done.stderr
    short = (tmp_path / "test_run.py").read_text().replace("time=0,", "time=0, examples=4, sizes={'T': range(1, 5)},")
    (tmp_path / "test_run.py").write_text(short)
    ran = subprocess.run([sys.executable, "-m", "pytest", "-q", "test_run.py"], capture_output=True, text=True)
    assert "1 passed" in ran.stdout, ran.stdout


@pytest.mark.parametrize(("body", "said"), [
    ("import time\ntime.sleep(100)", "the import of script.py did not return within 1 s: a file that trains when"),
    ("import os\nos._exit(3)", "a file that trains when it is imported needs that below `if __name__ == '__main__':`"),
    ("raise SystemExit(1)", "script.py:train cannot be loaded: SystemExit: 1"),
])  # fmt: skip
def test_a_script_that_trains_when_it_is_imported(tmp_path, monkeypatch, body, said):
    monkeypatch.setattr(sys.modules["bpttcheck.command_line.init"], "_SECONDS", 1.0)
    (tmp_path / "script.py").write_text(body)
    done = command("init", "test_script.py", "--from", "script.py:train", cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and not (tmp_path / "test_script.py").exists()


@pytest.mark.parametrize(("file", "source", "sentence"), [
    ("my_rnn.py", "tensorflow", "--from takes numpy, torch, jax, autograd, or code such as mine.py:forward"),
    ("tests/my_rnn.py", "mine.py:run", "tests/my_rnn.py imports mine.py: let both lie in one folder"),
    ("my_rnn.py", "nowhere.py:run", "there is no file nowhere.py"),
])  # fmt: skip
def test_an_unusable_source_is_one_sentence(tmp_path, file, source, sentence):
    done = command("init", file, "--from", source, cwd=tmp_path)
    assert done.returncode == 2 and sentence in done.stderr and len(done.stderr.splitlines()) == 1


NETWORK = """
import torch

class Network(torch.nn.Module):
    def __init__(self, D, H):
        super().__init__()
        self.cell = torch.nn.RNNCell(D, H)

    def forward(self, x, states=None):
        h = x.new_zeros(x.shape[1], self.cell.hidden_size) if states is None else states["h"]
        y = []
        for x_t in x:
            h = self.cell(x_t, h)
            y.append(h)
        return torch.stack(y), {"h": h}

made, lstm = Network(4, 3), torch.nn.LSTM(4, 3)
q, states = torch.zeros(5, 4, 3), {"S": torch.zeros(4, 3, 2)}

def attention(q, states):
    return torch.einsum("tbd,bdh->tbh", q, states["S"]), states

def alone(x, states):
    return attention(x, states)

x = q

def nested(p, q):
    return q

def single(q, h):
    return q, h

h = torch.zeros(4, 3)
p = {"cell": {"W": q}}
"""


@pytest.mark.parametrize("name", ["Network", "made", "attention", "alone"])
def test_modules_and_functions_of_tensors_have_an_adapter_that_loads(mine, tmp_path, name):
    pytest.importorskip("torch")
    (tmp_path / f"{mine}.py").write_text(NETWORK)
    text, next_command = start(None, f"{mine}.py:{name}", "my_net.py")
    (tmp_path / "my_net.py").write_text(text)
    declared = load("my_net.py:subject").capabilities()
    shapes = declared.cells[0].shapes(4, 3)
    of_function = name in ("attention", "alone")
    expected = {"S": (3, 2)} if of_function else {"h": (3,)}
    assert next_command == "bpttcheck verify my_net.py:subject" and shapes["states"] == expected
    assert name != "Network" or declared.cells[0].shapes(2, 7)["states"] == {"h": (7,)}
    assert not of_function or declared.cells[0].outputs(4, 3) == 2
    assert name != "alone" or declared.sizes == {"D": (3,)}


@pytest.mark.parametrize(("name", "sentence"), [
    ("lstm", "lstm returns its states as a tuple: TorchModule takes y and a mapping"),
    ("nested", "TorchFunction hands nested a mapping of parameters, streams .* and a mapping `states`"),
    ("single", "TorchFunction hands single a mapping of parameters, streams .* and a mapping `states`"),
])  # fmt: skip
def test_code_that_no_adapter_takes_is_one_sentence(mine, tmp_path, name, sentence):
    pytest.importorskip("torch")
    (tmp_path / f"{mine}.py").write_text(NETWORK)
    with pytest.raises(ValueError, match=sentence):
        start(None, f"{mine}.py:{name}", "my_net.py")
