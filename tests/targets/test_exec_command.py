"""Programs as targets of the commands."""

import json
import os
import signal

import pytest

from ..programs import alive, becomes_true, command, gone, started, written


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


def test_an_invalid_timeout():
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
    with started("verify", target, cwd=tmp_path, env=os.environ | {"BPTTCHECK_TIMEOUT": "60"}) as running:
        assert becomes_true((tmp_path / "asked").exists, 60)
        pid = int((tmp_path / "pid").read_text())
        assert alive(pid)
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=30)
        assert running.returncode == 130 and "interrupted" in said and gone(pid)
