"""``bpttcheck watch``: a script is run unmodified, and ends with words or with a sentence."""

import re
import sys

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch is not installed: tox -e torch")

from bpttcheck.command_line import main  # noqa: E402

from ..docs.pages import ROOT, run, save_programs, shown  # noqa: E402

PAGE = ROOT / "docs" / "watch.md"
LOOP = """
import sys
from pathlib import Path

import torch

lstm, state, done = torch.nn.LSTM(3, 4), None, 0
while True:
    try:
        y, state = lstm(torch.randn(5, 2, 3), state and tuple(part.detach() for part in state))
        y.sum().backward()
        done += 1
    except Exception:
        print("swallowed")
    finally:
        Path("done").write_text(f"{done} {sys.argv[1:]} {__name__}")
"""


def watched(folder, monkeypatch, script, *arguments):
    monkeypatch.chdir(folder)
    (folder / "script.py").write_text(script)
    return CliRunner().invoke(main, ["watch", "script.py", *arguments])


def test_a_script_ends_after_the_number_of_calls_whatever_it_swallows(tmp_path, monkeypatch):
    done = watched(tmp_path, monkeypatch, LOOP, "--calls", "3", "--png", "reach.png", "--", "--epochs", "1")
    assert done.exit_code == 0 and "swallowed" not in done.output
    assert "lstm" not in done.output and done.output.startswith(
        "LSTM: 15 steps in 3 forward calls, 3 calls of backward"
    )
    assert "truncated to blocks of 5" in done.output and "The watch ended after 3 calls of backward." in done.output
    assert (tmp_path / "done").read_text() == "3 ['--epochs', '1'] __main__"
    assert (tmp_path / "reach.png").exists() and "drawn: reach.png" in done.output


@pytest.mark.parametrize(("script", "said"), [
    ("print('hello')", "script.py calls no recurrent module of torch.nn; for a cell of your own use bpttcheck.torch"),
    ("import torch\ntorch.nn.GRU(2, 2)(torch.ones(3, 1, 2))", "no call of backward reaches a recurrent module of"),
    ("x = 1\nx / 0", "script.py failed at line 2: ZeroDivisionError: division by zero"),
    ("import sys\nsys.exit('no data')", "script.py ended with exit status no data"),
    ("def f(:", "script.py failed: SyntaxError: "),
])  # fmt: skip
def test_a_script_that_shows_nothing_ends_with_a_sentence(script, said, tmp_path, monkeypatch):
    done = watched(tmp_path, monkeypatch, script)
    assert done.exit_code == 2
    assert re.search(f"bpttcheck: .*{re.escape(said)}", done.output) and "Traceback" not in done.output


def test_a_state_that_is_not_detached_is_reported_with_the_error(tmp_path, monkeypatch):
    script = LOOP.replace("except Exception", "except KeyError").replace("part.detach()", "part")
    done = watched(tmp_path, monkeypatch, script)
    assert done.exit_code == 2 and "Call 2 reaches steps of call 1, and ended there with an error" in done.output
    assert "bpttcheck: the state of LSTM comes from before the last call of backward" in done.output


def test_neighbours_of_a_script_are_imported_and_nothing_stays(tmp_path, monkeypatch):
    (tmp_path / "beside_the_script.py").write_text(LOOP)
    before = list(sys.argv), list(sys.path)
    assert watched(tmp_path, monkeypatch, "import beside_the_script", "--calls", "1").exit_code == 0
    assert before == (sys.argv, sys.path)


def test_the_programs_of_the_page_print_the_text_below_them(capsys):
    parts = re.split(r"^```(?:python)?$", PAGE.read_text(), flags=re.MULTILINE)
    programs = [(code, below) for code, below in zip(parts[1::2], parts[2::2], strict=True) if "print(" in code]
    assert len(programs) == 3
    for code, below in programs:
        if "import jax" in code:
            pytest.importorskip("jax")
        exec(code, {})
        printed = {line.strip() for line in capsys.readouterr().out.splitlines()}
        assert printed and printed <= {line.strip() for line in below.splitlines()}


def test_the_page_shows_the_output_of_its_commands(tmp_path, monkeypatch):
    """In this process, because importing PyTorch takes longer than all of them."""
    monkeypatch.chdir(tmp_path)
    save_programs(PAGE, tmp_path)
    sessions = shown(PAGE)
    assert len(sessions) == 8
    for command, output in sessions:
        name, *arguments = command.split()
        if name != "bpttcheck":
            assert run(["bash", "-c", command], tmp_path).returncode == 0
            continue
        done = CliRunner().invoke(main, arguments)
        assert done.output.split() == " ".join(output).split(), f"{command}\n\n{done.output}"
    for picture in re.findall(r"\]\((\S+\.png)\)", PAGE.read_text()):
        assert (tmp_path / picture).exists() and (PAGE.parent / picture).exists()
