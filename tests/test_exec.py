"""Programs of any language: the protocol, what may go wrong with a program, and the examples in the docs."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bpttcheck import LAWS, Case, Cotangents, judge
from bpttcheck.adapters import TargetError, load
from bpttcheck.adapters.messages import Malformed, decoded, encoded
from bpttcheck.adapters.program import TIMEOUT, Program, declared
from bpttcheck.trial import AdapterError
from bpttref import RNN, Links, Regular

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
SECONDS = "2"  # enough for Python to start on a busy machine

SPEAKER = """
import json, math, os, signal, subprocess, sys, time
stdin, stdout = sys.stdin.buffer, sys.stdout.buffer

def say(header, rest=b""):
    stdout.write(json.dumps(header).encode() + b"\\n" + rest)
    stdout.flush()

def zeros(*listed):
    say({"arrays": [[n, "float64", s] for n, s in listed]}, bytes(8 * sum(math.prod(s) for _, s in listed)))

def read():
    stdin.read(8 * sum(math.prod(shape) for _, _, shape in request["arrays"]))

capabilities = {"name": "zeros", "cells": ["rnn-tanh"], "dtypes": ["float64"], "biases": 1}
#BEGIN
while line := stdin.readline():
    request = json.loads(line)
    if request["ask"] == "capabilities":
        say(capabilities)
        continue
    T, B, H = (request[size] for size in "TBH")
    y, final = ["y", [T, B, H]], ["final.h", [B, H]]
    if T == 5:
        pass #BAD
    else:
        read()
        given = [[name, shape] for name, _, shape in request["arrays"] if not name.startswith("cotangent")]
        zeros(*(given if request["ask"] == "pullback" else [y, final]))
"""  # answers zeros, but for five steps, where it does what a test puts in


def written(folder, begin="", bad="read(); zeros(y, final)"):
    """A target: the speaker with something of a test's own."""
    file = folder / "speaker.py"
    file.write_text(SPEAKER.replace("#BEGIN", begin).replace("pass #BAD", bad))
    return f"exec:{shlex.join([sys.executable, str(file)])}"


def problem(T, B=2, D=3, H=3):
    layer = {"W_hx": np.ones((H, D)), "W_hh": np.ones((H, H)), "b_hx": np.ones(H)}
    return Case(RNN("tanh"), "float64", ((layer,),), np.ones((T, B, D)), (({"h": np.ones((B, H))},),))


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setenv(TIMEOUT, SECONDS)


def becomes_true(condition, patience=5.0):
    end = time.monotonic() + patience
    while not (held := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return held


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(pid):
    return becomes_true(lambda: not alive(pid))


def test_a_message_in_bytes():
    arrays = {"xi": np.array([1.0, 0.5]), "lengths": np.array([[2], [3]], np.int64)}
    line, _, rest = encoded({"ask": "forward", "T": 2}, arrays).partition(b"\n")
    assert line == b'{"ask": "forward", "T": 2, "arrays": [["xi", "float64", [2]], ["lengths", "int64", [2, 1]]]}'
    assert rest.hex() == "000000000000f03f000000000000e03f02000000000000000300000000000000"
    fields, listed = decoded(line)
    assert fields == {"ask": "forward", "T": 2} and [a.size for a in listed] == [16, 16]
    np.testing.assert_array_equal(listed[1].holding(rest[16:]), arrays["lengths"])


@pytest.mark.parametrize("order", [np.asfortranarray, lambda a: a[::2], lambda a: a.astype(">f4")])
def test_bytes_are_in_c_order_and_little_endian(order):
    array = order(np.arange(24, dtype=np.float32).reshape(4, 6))
    data = encoded({}, {"x": array}).partition(b"\n")[2]
    assert data == np.ascontiguousarray(array, "<f4").tobytes()


@pytest.mark.parametrize(("line", "sentence"), [
    (b"hello", "wrote 'hello' where the header of an answer was expected"),
    (b"3", "wrote '3' where"),
    (b"[" * 50000, "where the header of an answer was expected"),
    (b'{"arrays": 3}', "listed as arrays 3"),
    (b'{"arrays": [["y", "float64"]]}', "listed the array"),
    (b'{"arrays": [["y", "float64", [-1]]]}', "listed the array"),
    (b'{"arrays": [["y", "float80", [1]]]}', "listed y with the dtype 'float80'; there are float16"),
    (b'{"arrays": [["y", "float64", [1000000, 1000000]]]}', "more than 1073741824 bytes"),
])  # fmt: skip
def test_what_is_no_message_is_said(line, sentence):
    with pytest.raises(Malformed) as caught:
        decoded(line)
    assert sentence in str(caught.value)


def test_what_a_program_is_given():
    """What it declares decides, and the case does not."""
    case = problem(3)

    class Declared(Program):
        def __init__(self, **fields):
            self._capabilities = declared({"cells": ["rnn-tanh"], **fields})

    plain, more = Declared(), Declared(inputs=["dense", "initial", "lengths"], truncations=["regular", "links"])
    assert list(plain._given(case)) == ["x", "W_hx", "W_hh", "b_hx", "initial.h"]
    given = more._given(case)
    assert list(given)[5:] == ["lengths", "xi"]
    assert given["lengths"].tolist() == [3, 3] and given["xi"].tolist() == [1, 1, 1]
    assert more._given(replace(case, truncation=Regular(2)))["xi"].tolist() == [1, 1, 0]
    assert more._given(replace(case, truncation=Links((1, 0.5, 2))))["xi"].tolist() == [1, 0.5, 2]


BAD = {
    "crash": ("read(); print('one\\n\\nno memory', file=sys.stderr); sys.exit(3)",
              "ended with exit status 3 without an answer; its standard error ends: one | no memory"),
    "signal": ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV without an answer"),
    "crash-inside": ("read(); say({'arrays': [['y', 'float64', [T, B, H]]]}, bytes(12)); os._exit(0)",
                     "ended with exit status 0 after 12 of the 240 bytes of y"),
    "crash-in-header": ("read(); stdout.write(b'{\"arr'); stdout.flush(); os._exit(1)",
                        "ended with exit status 1 after 5 bytes of a header"),
    "hang": ("read(); time.sleep(60)", "the program hung for 2 s without an answer"),
    "half": ("read(); say({'arrays': [['y', 'float64', [T, B, H]]]}, bytes(12)); stdin.read()",
             "hung for 2 s after 12 of the 240 bytes of y"),
    "loud-hang": ("\n        while True: print('still here', file=sys.stderr)", "hung for 2 s without an answer; its"),
    "garbage": ("read(); print('loss = 3', flush=True)", "wrote 'loss = 3' where the header of an answer was expected"),
    "endless": ("\n        while True: stdout.write(b'x' * 1000)", "bytes without an end of line where a header was"),
    "too-much": ("read(); say({'arrays': [['y', 'float64', [1]]]}, bytes(8) + b'abc')",
                 "wrote more than its answer announced: 'abc'"),
    "error": ("read(); say({'error': 'five is odd'}); sys.exit(1)", "five is odd"),
    "silent": ("os.close(1); time.sleep(60)", "closed its standard output without an answer"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_what_goes_wrong_is_said_and_the_next_case_is_answered(tmp_path, bad):
    code, sentence = BAD[bad]
    subject = load(written(tmp_path, bad=code))
    with pytest.raises(AdapterError) as caught:
        subject.vjp(problem(5))
    assert sentence in str(caught.value)
    outputs, pullback = subject.vjp(problem(3))
    assert outputs.y.shape == (3, 2, 3) and pullback(Cotangents()).initial[0][0]["h"].shape == (2, 3)


@pytest.mark.parametrize(("code", "sentence"), [
    ("os.close(0); time.sleep(60)", "closed its standard input and hung for 2 s without an answer"),
    ("zeros(y, final); time.sleep(60)", "hung for 2 s after an answer, with a part of the request unread"),
    ("say({'error': 'too many rows'}); sys.exit(1)", "too many rows"),
])  # fmt: skip
def test_a_request_that_is_not_read(tmp_path, code, sentence):
    subject = load(written(tmp_path, bad=code))
    with pytest.raises(AdapterError) as caught:
        subject.vjp(problem(5, B=20000))
    assert sentence in str(caught.value)
    assert subject.vjp(problem(3))[0].y.shape == (3, 2, 3)


def test_a_program_that_keeps_hanging_is_given_up(tmp_path, monkeypatch):
    subject = load(written(tmp_path, bad="time.sleep(60)"))
    subject._seconds = 0.05
    for _ in range(3):
        with pytest.raises(AdapterError, match="hung for 0.05 s"):
            subject.vjp(problem(5))
    with pytest.raises(AdapterError, match="has hung 3 times and is not asked again"):
        subject.vjp(problem(3))


def test_large_arrays_both_ways_at_once(tmp_path):
    """The program answers while it reads: who writes all before reading would wait for ever."""
    copy = """
        say({"arrays": [["y", "float64", [T, B, H]], ["final.h", "float64", [B, H]]]})
        for _ in range(T * B): stdout.write(stdin.read(8 * H))
        rest = stdin.read(8 * (2 * H * H + H + B * H))
        stdout.write(rest[-8 * B * H:]); stdout.flush()"""
    subject = load(written(tmp_path, bad=copy))
    case = problem(5, B=30000)
    case.x[...] = np.random.default_rng(0).standard_normal(case.x.shape)
    outputs, _ = subject.vjp(case)
    np.testing.assert_array_equal(outputs.y, case.x)
    np.testing.assert_array_equal(outputs.final[0][0]["h"], case.initial[0][0]["h"])


def test_a_program_that_says_much_on_standard_error(tmp_path):
    subject = load(written(tmp_path, bad="read(); print('x' * 10**6, file=sys.stderr); zeros(y, final)"))
    assert subject.vjp(problem(5))[0].y.shape == (5, 2, 3)


def test_nothing_is_left_behind(tmp_path):
    """Neither a program that hears no end of input nor what it has started."""
    begin = (
        "child = subprocess.Popen(['sleep', '60'], stdin=subprocess.DEVNULL)\n"
        "capabilities['name'] = f'{os.getpid()} {child.pid}'"
    )
    subject = load(written(tmp_path, begin, "time.sleep(60)"))
    pids = [int(pid) for pid in subject.name.split()]
    assert alive(pids[0]) and alive(pids[1])
    del subject
    assert all(gone(pid) for pid in pids)


def test_the_name_of_a_restarted_program_stays(tmp_path):
    subject = load(written(tmp_path, "capabilities['name'] = str(os.getpid())", BAD["crash"][0]))
    before = subject.name
    with pytest.raises(AdapterError):
        subject.vjp(problem(5))
    assert subject.vjp(problem(3)) and subject.name == before and gone(int(before))


@pytest.mark.parametrize(("begin", "sentence"), [
    ("print('hello', flush=True)", "wrote 'hello' where the header of an answer was expected"),
    ("sys.exit('no licence')", "ended with exit status 1 without an answer; its standard error ends: no licence"),
    ("capabilities['cells'] = ['elman']", "declares the cell 'elman'; there are rnn-tanh"),
    ("capabilities['cells'] = [{'name': 'own', 'parameters': {'V': ['K']}, 'states': {}}]", "declares the cell {'name"),
    ("capabilities['cells'] = [{'name': 'own', 'parameters': {}, 'states': {'s': ['D']}}]", "declares the cell {'name"),
    ("capabilities['cells'] = 'lstm'", "declares for cells 'lstm'; expected a list"),
    ("del capabilities['cells']", "cells and dtypes must hold at least one each"),
    ("capabilities['bias'] = 1", "declares bias, which no capability is called"),
    ("capabilities['biases'] = 3", "biases must be 0, 1 or 2"),
    ("capabilities['layers'] = 'two'", "layers must be a number of at least 1"),
    ("capabilities['sizes'] = ['T']", "sizes must map names to sizes"),
    ("capabilities['inputs'] = ['sparse']", "inputs must be a collection of"),
    ("capabilities['truncations'] = ['window']", "declares the truncation 'window'; there are regular, links"),
    ("capabilities = {'error': 'no device'}", "no device"),
])  # fmt: skip
def test_a_program_that_cannot_be_judged(tmp_path, begin, sentence):
    with pytest.raises(TargetError) as caught:
        load(written(tmp_path, begin))
    assert sentence in str(caught.value)


def judged(target, *laws, examples=12):
    return {r.law: r for r in judge(load(target), [law for law in LAWS if law.id in laws], examples=examples, seed=1)}


@pytest.mark.parametrize(("code", "reason"), [
    ("read(); zeros(['y', [T, B]], final)", "the output y has shape (5, 2)"),
    ("read(); zeros(y)", "the output final.h is missing"),
    ("read(); say({'arrays': [['y', 'float32', y[1]], ['final.h', 'float32', final[1]]]}, bytes(4 * (T + 1) * B * H))",
     "has dtype float32; expected float64"),
])  # fmt: skip
def test_wrong_arrays_break_a_law(tmp_path, code, reason):
    target = written(tmp_path, "capabilities['sizes'] = {'T': [5], 'B': [2]}; capabilities['gradients'] = []", code)
    found = judged(target, "outputs-complete")["outputs-complete"]
    assert found.status == "failed" and reason in found.reason


def test_numbers_that_are_none_break_a_law(tmp_path):
    code = "read(); say({'arrays': [[n, 'float64', s] for n, s in (y, final)]}, b'\\xff' * 8 * (T + 1) * B * H)"
    target = written(tmp_path, "capabilities['sizes'] = {'T': [5]}; capabilities['gradients'] = []", code)
    found = judged(target, "forward-reference")["forward-reference"]
    assert found.status == "failed" and "nan" in found.reason


def test_a_cell_of_its_own(tmp_path):
    own = "{'name': 'own', 'parameters': {'V': ['H', 'D'], 'k': [2]}, 'states': {'h': ['H']}}"
    (cell,) = load(written(tmp_path, f"capabilities['cells'] = [{own}]")).capabilities().cells
    assert cell.name == "own" and cell.states(7) == {"h": (7,)} and cell.parameters(3, 7) == {"V": (7, 3), "k": (2,)}


def command(*arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "bpttcheck", *arguments],
        capture_output=True, text=True, cwd=cwd, timeout=120, env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "target", "sentence"), [
    ("verify", "exec:./nothing", "exec:./nothing: the program cannot be started: No such file or directory: ./nothing"),
    ("xray", "exec:./text", "the program cannot be started: Permission denied: ./text"),
    ("verify", "exec:", "names no program"),
    ("verify", "exec:a 'b", "No closing quotation"),
    ("gradients", "exec:true", "ended with exit status 0 without an answer"),
])  # fmt: skip
def test_a_program_that_cannot_be_started_is_one_sentence(tmp_path, name, target, sentence):
    (tmp_path / "text").write_text("no program")
    done = command(name, target, cwd=tmp_path)
    assert done.returncode == 2 and sentence in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_timeout_that_is_none():
    done = command("verify", "exec:cat", BPTTCHECK_TIMEOUT="soon")
    assert done.returncode == 2 and "BPTTCHECK_TIMEOUT must be a number of seconds, not 'soon'" in done.stderr


def test_a_run_with_crashes_goes_on_and_ends(tmp_path):
    target = written(tmp_path, bad="print('no memory', file=sys.stderr); sys.exit(3)")
    done = command("verify", target, "--law", "outputs-complete", "--law", "nothing-overwritten", "--seed", "1",
                   "--json", "v.json", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 2 and done.stderr == ""
    assert "exit status 3 without an answer; its standard error ends: no memory" in " ".join(done.stdout.split())
    results = {r["law"]: r for r in json.loads((tmp_path / "v.json").read_text())["results"]}
    assert results["outputs-complete"]["status"] == "error"
    assert results["nothing-overwritten"]["examples"] > 10


def test_interrupt_leaves_nothing_behind(tmp_path):
    """Neither SIGINT nor the end of its input ends this program."""
    begin = "signal.signal(signal.SIGINT, signal.SIG_IGN); open('pid', 'w').write(str(os.getpid()))"
    target = written(tmp_path, begin + "; capabilities['sizes'] = {'T': [5]}", "open('asked', 'w'); time.sleep(60)")
    heeds = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    running = subprocess.Popen(
        [sys.executable, "-m", "bpttcheck", "verify", target], stdout=subprocess.PIPE, text=True, cwd=tmp_path,
        env=os.environ | {TIMEOUT: "60"}, **heeds,
    )  # fmt: skip
    with running:
        assert becomes_true((tmp_path / "asked").exists, 60)
        pid = int((tmp_path / "pid").read_text())
        assert alive(pid)
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=30)
    assert running.returncode == 130 and "interrupted" in said and gone(pid)


def needs(*tools):
    missing = [tool for tool in tools if not shutil.which(tool)]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed")


def built(folder, name, before="", after=""):
    """The target of an example, with one planted bug."""
    source = (EXAMPLES / name).read_text()
    assert before in source
    (folder / name).write_text(source.replace(before, after, 1) if before else source)
    if name.endswith(".mjs"):
        return f"exec:node {name}"
    subprocess.run(["cc", "-O2", "-Wall", "-Werror", name, "-o", "rnn", "-lm"], cwd=folder, check=True)
    return "exec:./rnn"


BUGS = {
    "rnn.c": ("dh[b * H + j] += da[i] * W_hh[i * H + j];", "", "planted fault rnn-no-carry"),
    "lstm.mjs": ("* f * (1 - f)", "* f", "planted fault sigmoid-prime-missing"),
}
EXAMPLE = pytest.mark.parametrize("name", [
    pytest.param("rnn.c", marks=needs("cc")), pytest.param("lstm.mjs", marks=needs("node")),
])  # fmt: skip


@EXAMPLE
def test_the_examples_are_right(tmp_path, name):
    done = command("verify", built(tmp_path, name), "--seed", "2", "--examples", "24", "--json", "v.json",
                   cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout
    results = json.loads((tmp_path / "v.json").read_text())["results"]
    assert {r["dtype"] for r in results} == {"float32", "float64"}
    assert {r["status"] for r in results} == {"passed", "skipped"}
    assert all(r["status"] == "passed" for r in results if r["law"] in ("pullback-reference", "empty-sequence"))


@EXAMPLE
def test_a_bug_in_an_example_is_named_and_replayed_from_anywhere(tmp_path, name):
    before, after, diagnosis = BUGS[name]
    target = built(tmp_path, name, before, after)
    done = command("verify", target, "--law", "pullback-reference", "--seed", "2", cwd=tmp_path)
    assert done.returncode == 1 and diagnosis in " ".join(done.stdout.split())
    replay = next((tmp_path / "bpttcheck-failures").glob("*float64*/replay.py"))
    assert command("replay", str(replay), cwd="/").stdout.startswith("FAILED")
    built(tmp_path, name)
    assert command("replay", str(replay), cwd="/").stdout.startswith("FIXED")


@needs("cc", "tee")
def test_the_exchange_in_the_docs(tmp_path):
    """What the page shows is what is sent, and what the example answers."""
    page = (EXAMPLES.parent / "any-language.md").read_text()
    shown = {">": b"", "<": b""}
    for line in page.splitlines():
        if line.startswith(("    > ", "    < ")):
            text = line[6:]
            shown[line[4]] += text.encode() + b"\n" if text.startswith("{") else bytes.fromhex(text.split("    ")[0])
    built(tmp_path, "rnn.c")
    subject = load("exec:sh -c 'tee sent | ./rnn | tee answered'", tmp_path)

    def array(number, axes):
        return np.full((1,) * axes, number, np.float32)

    layer = {"W_hx": array(0.5, 2), "W_hh": array(2, 2), "b_hx": array(0.25, 1)}
    _, pullback = subject.vjp(Case(RNN("tanh"), "float32", ((layer,),), array(1, 3), (({"h": array(-0.5, 2)},),)))
    pullback(Cotangents(array(1, 3)))
    assert becomes_true(lambda: (tmp_path / "sent").read_bytes() == shown[">"] != b"")
    assert becomes_true(lambda: (tmp_path / "answered").read_bytes() == shown["<"] != b"")


@needs("node")
def test_an_xray_of_an_example(tmp_path):
    target = built(tmp_path, "lstm.mjs")
    done = command("xray", target, "--tau", "3", "--length", "7", cwd=tmp_path)
    assert done.returncode == 0 and "through inputs: blocks of 3" in done.stdout
    target = built(tmp_path, "lstm.mjs", "times(xi[t], down * f)", "down * f")
    done = command("xray", target, "--tau", "3", "--length", "7", cwd=tmp_path)
    assert done.returncode == 1 and "the cell state is not cut" in done.stdout


@needs("cc")
def test_gradients_of_an_example(tmp_path):
    done = command("gradients", built(tmp_path, "rnn.c"), "--length", "12", cwd=tmp_path)
    assert done.returncode == 0 and "rnn-tanh" in done.stdout
