"""Programs as implementations: the bytes of the protocol, and the ways in which a program may fail."""

from dataclasses import replace

import numpy as np
import pytest

from bpttcheck import LAWS, Cotangents, judge
from bpttcheck.adapters.messages import Malformed, decoded, encoded
from bpttcheck.adapters.program import TIMEOUT, Program, declared
from bpttcheck.measuring.calls import AdapterError
from bpttcheck.targets import TargetError, load
from bpttref import Links, Regular

from ..programs import alive, gone, problem, written

SECONDS = "2"  # enough for Python to start on a busy machine


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setenv(TIMEOUT, SECONDS)


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
def test_malformed_messages_are_reported(line, sentence):
    with pytest.raises(Malformed) as caught:
        decoded(line)
    assert sentence in str(caught.value)


def test_the_arrays_that_a_program_gets():
    """Its declarations decide, and the case does not."""
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
    "misspelt": ("read(); zeros(y, ['finale.h', [B, H]])",
                 "listed 'finale.h' in an answer that may have y, final.h"),
    "error": ("read(); say({'error': 'five is odd'}); sys.exit(1)", "five is odd"),
    "silent": ("os.close(1); time.sleep(60)", "closed its standard output without an answer"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_an_error_is_reported_and_the_next_case_is_answered(tmp_path, bad):
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


def test_a_program_that_keeps_hanging_is_given_up(tmp_path):
    subject = load(written(tmp_path, bad="time.sleep(60)"))
    subject._seconds = 0.05
    for _ in range(3):
        with pytest.raises(AdapterError, match="hung for 0.05 s"):
            subject.vjp(problem(5))
    with pytest.raises(AdapterError, match="has hung 3 times and is not asked again"):
        subject.vjp(problem(3))


def test_large_arrays_both_ways_at_once(tmp_path):
    """The program answers while it reads: a caller that writes all before reading would wait for ever."""
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
    """Neither a program that ignores the end of its input, nor a process that it has started."""
    begin = (
        "child = subprocess.Popen(['sleep', '60'], stdin=subprocess.DEVNULL)\n"
        "capabilities['name'] = f'{os.getpid()} {child.pid}'"
    )
    subject = load(written(tmp_path, begin, "time.sleep(60)"))
    pids = [int(pid) for pid in subject.name.split()]
    assert alive(pids[0]) and alive(pids[1])
    del subject
    assert all(gone(pid) for pid in pids)


def test_a_program_that_is_out_of_step_is_stopped_at_once(tmp_path):
    """Also while a reference keeps the error, and with it all objects that were alive when it was raised."""
    bad = "read(); print('loss = 3', flush=True); time.sleep(60)"
    subject = load(written(tmp_path, "capabilities['name'] = str(os.getpid())", bad))
    with pytest.raises(AdapterError) as caught:
        subject.vjp(problem(5))
    assert caught and gone(int(subject.name))


@pytest.mark.parametrize(("begin", "sentence"), [
    ("print('hello', flush=True)", "wrote 'hello' where the header of an answer was expected"),
    ("sys.exit('no licence')", "ended with exit status 1 without an answer; its standard error ends: no licence"),
    ("capabilities['cells'] = ['elman']", "declares the cell 'elman'; there are rnn-tanh"),
    ("capabilities['cells'] = [{'name': 'own', 'parameters': {'V': ['K']}, 'states': {}}]", "declares the cell {'name"),
    ("capabilities['cells'] = [{'name': 'own', 'parameters': {}, 'states': {}, 'stream': {}}]",
     "declares the cell {'name"),
    ("capabilities['cells'] = [{'name': 'own', 'parameters': {}, 'states': {}, 'domains': {'x': 'complex'}}]",
     "declares the cell {'name"),
    ("capabilities['cells'] = [{'name': 'own', 'parameters': {}, 'states': {}, 'domains': {'z': 3}}]",
     "domains of own names 'z', which is no parameter, state or stream"),
    ("capabilities['cells'] = 'lstm'", "declares for cells 'lstm'; expected a list"),
    ("del capabilities['cells']", "cells and dtypes must not be empty"),
    ("capabilities['bias'] = 1", "declares bias, which is no capability"),
    ("capabilities['biases'] = 3", "biases must be 0, 1 or 2"),
    ("capabilities['layers'] = 'two'", "layers must be a number from 1 to 64"),
    ("capabilities['sizes'] = ['T']", "sizes must be a mapping"),
    ("capabilities['inputs'] = ['sparse']", "inputs must be a collection of"),
    ("capabilities['truncations'] = ['window']", "declares the truncation 'window'; there are regular, links"),
    ("capabilities = {'error': 'no device'}", "no device"),
])  # fmt: skip
def test_a_program_that_cannot_be_tested(tmp_path, begin, sentence):
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
def test_incorrect_arrays_break_a_law(tmp_path, code, reason):
    target = written(tmp_path, "capabilities['sizes'] = {'T': [5], 'B': [2]}; capabilities['gradients'] = []", code)
    found = judged(target, "outputs-complete")["outputs-complete"]
    assert found.status == "failed" and reason in found.reason


def test_results_that_are_not_numbers_break_a_law(tmp_path):
    code = "read(); say({'arrays': [[n, 'float64', s] for n, s in (y, final)]}, b'\\xff' * 8 * (T + 1) * B * H)"
    target = written(tmp_path, "capabilities['sizes'] = {'T': [5]}; capabilities['gradients'] = []", code)
    found = judged(target, "forward-reference")["forward-reference"]
    assert found.status == "failed" and "is not finite" in found.reason


def test_a_cell_of_its_own(tmp_path):
    own = "{'name': 'own', 'parameters': {'V': ['H', 'D'], 'k': [2]}, 'states': {'h': ['H']}}"
    (cell,) = load(written(tmp_path, f"capabilities['cells'] = [{own}]")).capabilities().cells
    assert cell.name == "own" and cell.states(3, 7) == {"h": (7,)} and cell.parameters(3, 7) == {"V": (7, 3), "k": (2,)}
