"""From nothing to a verdict on your own code: init, entry points, targets."""

import subprocess
import sys
from importlib.resources import files

import pytest

from bpttcheck.adapters import BUILT_IN
from bpttcheck.command_line import main

from ..programs import command

LIBRARIES = ("numpy", "torch", "jax", "autograd")


def run(*arguments, cwd):
    """The command, in a folder that is on the path, too."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(cwd)
        return command(*arguments, cwd=cwd)


def edited(folder, library, *changes):
    """A template with pieces of its text replaced; each must be there."""
    text = (files("bpttcheck") / "templates" / f"{library}.py").read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (folder / "mine.py").write_text(text)


def verdict(folder, file, *arguments):
    return run("verify", f"{file}:MyRNN", "--examples", "12", "--seed", "1", *arguments, cwd=folder)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_new_adapter_passes_as_it_stands(tmp_path, library):
    pytest.importorskip(library)
    done = run("init", "my_rnn.py", "--from", library, cwd=tmp_path)
    assert done.returncode == 0 and "next: bpttcheck verify my_rnn.py:MyRNN" in done.stdout, done.stderr
    done = verdict(tmp_path, "my_rnn.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_template_is_short_and_marks_the_parts_to_replace(library):
    lines = (files("bpttcheck") / "templates" / f"{library}.py").read_text().splitlines()
    assert len(lines) < 80
    assert sum("# Yours: " in line for line in lines) >= 6


def test_a_file_is_never_overwritten(tmp_path):
    (tmp_path / "my_rnn.py").write_text("mine")
    done = run("init", "my_rnn.py", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr == "bpttcheck: my_rnn.py is there already, and stays as it is\n"
    assert (tmp_path / "my_rnn.py").read_text() == "mine"


@pytest.mark.parametrize(("file", "sentence"), [
    ("my_rnn", "an adapter is a Python file, such as my_rnn.py"),
    ("nowhere/my_rnn.py", "nowhere/my_rnn.py"),
])  # fmt: skip
def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path, file, sentence):
    done = run("init", file, cwd=tmp_path)
    assert done.returncode == 2 and sentence in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


FORWARD = (('gradients=("x", "parameters", "initial")', "gradients=()"),)
DECLARED = (
    ('gradients=("x",', 'truncations=(Regular, Links), gradients=("x",'),
    ("import RNN", "import RNN, Links, Regular"),
)
XI = "xi = case.truncation.links(len(case.x)).astype(case.dtype)"
TRUNCATED = {
    "numpy": (
        ('dh = da @ p["W_hh"]', 'dh = (da @ p["W_hh"]) * xi[t]'),
        ("        p, y =", f"        {XI}\n        p, y ="),
    ),
    "torch": (
        ("for x_t in x:", "for t, x_t in enumerate(x):\n            h = h.detach() + xi[t] * (h - h.detach())"),
        ("        h, y = h0, []", f"        {XI}.tolist()\n        h, y = h0, []"),
    ),
    "autograd": (
        ("for x_t in x:", "for t, x_t in enumerate(x):\n                h = getval(h) + xi[t] * (h - getval(h))"),
        ("            y = []", f"            from autograd.tracer import getval\n            {XI}\n            y = []"),
    ),
    "jax": (
        ("def network(parameters, x, initial)", "def network(parameters, x, initial, xi)"),
        ("def step(h, x_t):", "def step(h, x_t):\n        x_t, xi_t = x_t\n        stop = jax.lax.stop_gradient\n"
                              "        h = stop(h) + xi_t * (h - stop(h))"),
        ("scan(step, h, x)", "scan(step, h, (x, xi))"),
        ('case.initial[0][0]["h"]}\n', f'case.initial[0][0]["h"], "xi": {XI.removeprefix("xi = ")}}}\n'),
    ),
}  # fmt: skip


def test_the_step_forward_only(tmp_path):
    edited(tmp_path, "numpy", *FORWARD, (",),)), pullback", ",),)), None"))
    done = verdict(tmp_path, "mine.py")
    assert done.returncode == 0 and "the verdict says nothing about gradients" in done.stdout, done.stdout


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_step_truncation(tmp_path, library):
    pytest.importorskip(library)
    laws = ("--law", "xray-regular", "--law", "pullback-reference")
    edited(tmp_path, library, *DECLARED)
    assert verdict(tmp_path, "mine.py", *laws).returncode == 1, "declared, but not done"
    edited(tmp_path, library, *DECLARED, *TRUNCATED[library])
    done = verdict(tmp_path, "mine.py", *laws)
    assert done.returncode == 0 and "skipped" not in done.stdout, done.stdout


def test_the_step_lengths(tmp_path):
    declared = ('("dense", "initial")', '("dense", "initial", "lengths")')
    done_so = (
        ("        p, y =", "        T, B, _ = case.x.shape\n"
         "        lengths = np.full(B, T) if case.lengths is None else case.lengths\n"
         "        live = np.arange(T)[:, None, None] < lengths[:, None]\n"
         "        p, y ="),
        ("for x in case.x:", "for t, x in enumerate(case.x):"),
        ("h.append(y[-1])", "h.append(np.where(live[t], y[-1], h[-1]))\n            y[-1] = y[-1] * live[t]"),
        ("* (dh + dy[t])", "* (dh + dy[t]) * live[t]"),
        ('dh = da @ p["W_hh"]', 'dh = da @ p["W_hh"] + dh * ~live[t]'),
    )  # fmt: skip
    edited(tmp_path, "numpy", declared)
    assert verdict(tmp_path, "mine.py", "--law", "pullback-reference").returncode == 1, "declared, but not done"
    edited(tmp_path, "numpy", declared, *done_so)
    done = verdict(tmp_path, "mine.py")
    assert done.returncode == 0 and "rows of different lengths" not in done.stdout, done.stdout


WRONG = ('dp["W_hh"] += da.T @ h[t]', 'dp["W_hh"] += 2 * da.T @ h[t]')


def test_two_targets_of_one_name_are_distinguished(tmp_path):
    """Ann and Bob began from the same template; Ann's mistake is not lost behind Bob's correct code."""
    for person, changes in {"ann": (WRONG,), "bob": (), "eve": (WRONG,)}.items():
        (tmp_path / person).mkdir()
        edited(tmp_path / person, "numpy", *changes)
    targets = [f"{person}/mine.py:MyRNN" for person in ("ann", "bob", "eve")]
    law = ("--law", "pullback-reference", "--examples", "8", "--seed", "1")
    done = run("verify", *targets, *law, "--html", "v.html", "--junit", "v.xml", cwd=tmp_path)
    assert done.returncode == 1
    files = {name: (tmp_path / name).read_text() for name in ("v.html", "v.xml")}
    for target, good in zip(targets, (False, True, False), strict=True):
        name = f"my-rnn ({target})"
        assert f"{name}, float64: worst" in done.stdout
        assert (f"FAILED pullback-reference of {name} on rnn-tanh" in done.stdout) == (not good)
        assert f"<caption>{name}" in files["v.html"] and f'testsuite name="{name}"' in files["v.xml"]
    folders = [folder.name for folder in (tmp_path / "bpttcheck-failures").iterdir()]
    assert sorted(name.split("_rnn_tanh")[0] for name in folders) == 2 * ["my_rnn_ann_mine_py_MyRNN"] + 2 * [
        "my_rnn_eve_mine_py_MyRNN"
    ]


def without_the_folder(*arguments, cwd):
    """As the installed command runs, which does not look for modules where it is called."""
    line = [sys.executable, "-P", "-m", "bpttcheck", *arguments]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_an_adapter_imports_the_network_next_to_it(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        edited(tmp_path / folder, "numpy")
        (tmp_path / folder / "mine.py").write_text("import net\n" + (tmp_path / folder / "mine.py").read_text())
        (tmp_path / folder / "net.py").write_text("")
    law = ("--law", "causality", "--examples", "2")
    assert without_the_folder("verify", "mine:MyRNN", *law, "-j", "2", cwd=tmp_path / "one").returncode == 0
    words = "verify", "one/mine.py:MyRNN", "two/mine.py:MyRNN", *law
    assert command(*words, cwd=tmp_path).returncode == 0  # each has a process of its own
    both = without_the_folder(*words, "--in-process", cwd=tmp_path)
    assert both.returncode == 2 and "are both called net: test them in two commands" in both.stderr


@pytest.fixture
def offering(tmp_path):
    """A folder in which a library is installed that offers implementations, some of them not well."""
    edited(tmp_path, "numpy")
    (tmp_path / "broken.py").write_text("raise RuntimeError('no driver')")
    for name, offers in {
        "good": "theirs = mine:MyRNN\nreference = mine:MyRNN\ntwice = mine:MyRNN\n",
        "bad": "broken = broken:Thing\nplaceless = mine\ntwice = mine:Other\n",
    }.items():
        folder = tmp_path / f"{name}-1.2.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (folder / "entry_points.txt").write_text(f"[bpttcheck.implementations]\n{offers}")
    return tmp_path


def test_an_entry_point_is_a_target(offering):
    done = run("verify", "theirs", "--law", "causality", "--examples", "5", cwd=offering)
    assert done.returncode == 0 and "my-rnn, float64" in done.stdout, done.stderr


def test_a_built_in_name_is_not_taken(offering):
    done = run("verify", "reference", "--law", "causality", "--examples", "5", cwd=offering)
    assert done.returncode == 0 and "reference, float64" in done.stdout and "my-rnn" not in done.stdout


@pytest.mark.parametrize(("name", "sentence"), [
    ("broken", "broken cannot be loaded: RuntimeError: no driver"),
    ("placeless", "'mine' is neither a name of"),
    ("twice", "twice is offered by several libraries; name one of mine:MyRNN, mine:Other"),
])  # fmt: skip
def test_a_broken_entry_point_is_one_sentence(offering, name, sentence):
    done = run("verify", name, cwd=offering)
    assert done.returncode == 2 and sentence in done.stderr and len(done.stderr.splitlines()) == 1


def test_targets(offering):
    done = run("targets", cwd=offering)
    assert done.returncode == 0, done.stderr
    paragraphs = {p.split(":")[0].strip(): p for p in done.stdout.split("\n\n")}
    assert {*BUILT_IN, "theirs", "broken", "twice", "placeless"} <= paragraphs.keys()
    assert "gru-before" in paragraphs["reference"] or "not available: the built-in" in paragraphs["reference"]
    assert "the built-in reference has that name" in done.stdout
    assert "good 1.2, mine:MyRNN" in paragraphs["theirs"] and "rnn-tanh" in paragraphs["theirs"]
    assert "RuntimeError: no driver" in paragraphs["broken"]
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_targets_name_the_extra_that_installs_them(monkeypatch, capsys):
    monkeypatch.delitem(BUILT_IN, "torch")  # not to load it
    monkeypatch.setitem(BUILT_IN, "martian", ("bpttcheck.adapters.martian", "Martian", "martian"))
    main(["targets"], standalone_mode=False)
    assert "martian: not installed: python -m pip install 'bpttcheck[martian]'" in capsys.readouterr().out
