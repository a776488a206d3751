"""The proposals of the shell."""

import shutil
import subprocess
import sys

import pytest

from ..programs import command
from ..test_packaging import LIBRARIES

COMPLETE = """
import sys
from click.shell_completion import BashComplete
from bpttcheck.command_line import main
shell = BashComplete(main, {}, "bpttcheck", "_BPTTCHECK_COMPLETE")
for line in sys.argv[1:]:
    *words, typed = line.split()
    print(*(item.value for item in shell.get_completions(words, typed)))
print(*sys.modules)
"""
PROPOSED = {
    "ver": {"verify"},
    "verify ref": {"reference"},
    "verify my_rnn": {"my_rnn"},
    "verify --law pullback-ref": {"pullback-reference"},
    "verify --cell gru": {"gru-after", "gru-before"},
    "verify --dtype float": {"float16", "float32", "float64", "float8_e4m3"},
    "verify --against ref": {"reference"},
    "verify --qui": {"--quiet"},
    "laws causal": {"causality"},
    "xray ref": {"reference"},
    "xray reference --strategy re": {"regular"},
    "gradients --cell ls": {"lstm"},
    "remedies --remedy clip-n": {"clip-norm"},
}


def test_names_are_proposed_and_no_library_is_imported():
    done = subprocess.run([sys.executable, "-c", COMPLETE, *PROPOSED], capture_output=True, text=True, timeout=60)
    *proposed, modules = done.stdout.splitlines()
    assert dict(zip(PROPOSED, (set(names.split()) for names in proposed), strict=True)) == PROPOSED
    assert not LIBRARIES & set(modules.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_takes_it():
    source = command(_BPTTCHECK_COMPLETE="bash_source").stdout
    asked = f"{source}\ncomplete -p bpttcheck"
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=60)
    assert "_bpttcheck_completion bpttcheck" in done.stdout, done.stderr
