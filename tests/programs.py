"""Programs for the tests: one that speaks the protocol and answers zeros, and requests to it and to others."""

import os
import shlex
import signal
import subprocess
import sys
import time
import warnings
from contextlib import chdir, contextmanager, suppress

import numpy as np
from click.testing import CliRunner

from bpttcheck import Case
from bpttcheck.command_line import main
from bpttref import RNN

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
"""  # answers zeros, except for five steps, where it runs the code of a test


def written(folder, begin="", bad="read(); zeros(y, final)"):
    """A target: the speaker with something of a test's own."""
    file = folder / "speaker.py"
    file.write_text(SPEAKER.replace("#BEGIN", begin).replace("pass #BAD", bad))
    return f"exec:{shlex.join([sys.executable, str(file)])}"


def problem(T, B=2, D=3, H=3):
    layer = {"W_hx": np.ones((H, D)), "W_hh": np.ones((H, H)), "b_hx": np.ones(H)}
    return Case(RNN("tanh"), "float64", ((layer,),), np.ones((T, B, D)), (({"h": np.ones((B, H))},),))


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


def command(*arguments, cwd=".", **environment):
    """A command in this process, which has imported all already; its targets have processes of their own as usual.

    That it runs in a process of its own, too, is for `started`, and for the tests of terminals, sockets, pages.
    """
    with chdir(cwd), warnings.catch_warnings():
        warnings.simplefilter("default")  # else targets would heed the filters of these tests
        done = CliRunner().invoke(main, arguments, prog_name="bpttcheck", env=environment)
    if not isinstance(done.exception, SystemExit | None):
        raise done.exception
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


@contextmanager
def started(*arguments, cwd, **options):
    """A command that heeds Ctrl-C, also where the tests run in the background; with the block its whole group ends."""
    heeds = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), "start_new_session": True}
    line = [sys.executable, "-m", "bpttcheck", *arguments]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=cwd, **heeds, **options) as running:
        try:
            yield running
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
