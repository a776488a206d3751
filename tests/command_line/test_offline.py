"""Nothing is fetched when a command runs: all of them work without a socket."""

import subprocess
import sys

import pytest

FEW = ("--law", "pullback-reference", "--law", "causality", "--cell", "lstm", "--examples", "4", "--seed", "1")
OFFLINE = """
import socket

class Refused(socket.socket):
    def __new__(cls, *arguments, **options):
        raise AssertionError("a socket was opened")

def refuse(*arguments, **options):
    raise AssertionError("a name was looked up")

socket.socket, socket.getaddrinfo, socket.create_connection = Refused, refuse, refuse
from bpttcheck.command_line import main
main(prog_name="bpttcheck")
"""


def offline(*arguments, cwd=None):
    command = [sys.executable, "-c", OFFLINE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


@pytest.mark.parametrize("arguments", [
    ("verify", "reference", *FEW),
    ("verify", "reference", *FEW, "--json", "v.json", "--junit", "v.xml"),
    ("laws",),
    ("faults",),
    ("targets",),
    ("xray", "reference"),
    ("gradients", "reference", "--cell", "lstm", "--length", "24"),
    ("init", "my_rnn.py"),
], ids=lambda arguments: arguments[0])  # fmt: skip
def test_a_command_opens_no_socket(arguments, tmp_path):
    done = offline(*arguments, cwd=tmp_path)
    assert done.returncode == 0 and "a socket was opened" not in done.stdout + done.stderr, done.stdout + done.stderr


def test_a_failure_is_diagnosed_and_drawn_on_a_page_without_a_socket(tmp_path):
    pytest.importorskip("jinja2", reason="jinja2 is not installed: python -m pip install '.[html]'")
    done = offline("verify", "fault:di-uses-i", *FEW, "--html", "v.html", cwd=tmp_path)
    assert done.returncode == 1 and "planted fault di-uses-i" in done.stdout, done.stderr
    assert "di-uses-i" in (tmp_path / "v.html").read_text(encoding="utf-8")


def test_the_socket_is_really_blocked():
    asked = OFFLINE.replace('from bpttcheck.command_line import main\nmain(prog_name="bpttcheck")', "socket.socket()")
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60)
    assert "a socket was opened" in done.stderr
