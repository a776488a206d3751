"""The comparison of strategies on a text: its statistics, its jobs, and the command as a user types it."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpttcheck.studies.jobs import run
from bpttcheck.studies.strategies.findings import Curves, root
from bpttcheck.studies.strategies.quality import Quality, compared, jackknife, mean_and_error
from bpttcheck.studies.strategies.report import cuts
from bpttcheck.studies.strategies.text import read_text
from bpttcheck.studies.strategies.training import Model, Training, strategy
from bpttcheck.workers import workers
from bpttref import CELLS, Full, Random, Regular, Window, weights

from ..clusters import cluster
from ..programs import command as here
from ..programs import started
from ..reference.problems import close

TINY = Model("gru-after", T=12, B=3, H=5)
COMMAND = ("strategies", "--steps", "6", "--seeds", "2", "--length", "12", "--batch", "4", "--units", "6",
           "--window", "3", "--minibatches", "4", "--little", "200")  # fmt: skip


def text(tmp_path, length=4000):
    words = np.random.default_rng(0).choice(["the", "cell", "state", "gate", "unrolls", "in", "time,"], length)
    (tmp_path / "text.txt").write_text(" ".join(words))
    return read_text(tmp_path / "text.txt", TINY.T)


def environment():
    return {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "120"}


def command(*arguments, cwd):
    line = [sys.executable, "-m", "bpttcheck", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, timeout=300, env=environment())


# Statistics


@given(st.integers(2, 9), st.integers(0, 10**6))
def test_the_jackknife_of_a_mean_is_its_standard_error(K, seed):
    samples = np.random.default_rng(seed).standard_normal(K)
    assert close(jackknife(lambda kept: float(samples[kept].mean()), K), mean_and_error(samples))


@given(st.integers(0, 10**6))
def test_squared_bias_is_estimated_without_bias(seed):
    """The mean over all equally likely samples of minibatches is the squared norm of the mean, not larger."""
    rng = np.random.default_rng(seed)
    possible, shift = rng.standard_normal((3, 4)), np.ones(4)
    samples = [np.array(sample) for sample in itertools.product(possible, repeat=3)]
    # ``full`` has a squared norm of one between any two minibatches, so that only the bias is seen
    full = np.tile([1.0, 0, 0, 0], (3, 1))
    seen = np.mean([compared(full, full + sample)["bias2"][0] for sample in samples])
    assert close(seen, np.sum(possible.mean(axis=0) ** 2))
    constant = compared(possible, possible + shift)
    scale = (np.sum(possible.sum(axis=0) ** 2) - np.sum(possible**2)) / 6
    assert close(constant["bias2"][0] * scale, 4.0, 10**4 * max(1, 1 / abs(scale)))
    assert close(constant["variance"][0], compared(possible, possible)["variance"][0], 10**4 * max(1, 1 / scale**2))


def test_the_root_of_a_square_with_its_error():
    assert root(np.array([4.0, 0.4])) == (2.0, 0.1)
    assert root(np.array([-1.0, 0.25])) == (0.0, 0.5)


def test_the_end_is_the_last_quarter():
    steps, times = np.arange(21.0), np.linspace(0, 10, 21)
    held_out = np.where(steps > 15, 1.0, 9.0)[None]
    curves = Curves(steps, times[None], held_out - 0.5, held_out)
    assert curves.end() == 1.0 and curves.overfitting() == 0.5
    assert curves.within(10.0) == 1.0 and curves.within(7.5) == 9.0


# Jobs


@given(st.sampled_from([Full(), Regular(3), Random(0.6, seed=2), Window(3)]))
def test_cuts_follow_the_strategy(by):
    expected = [] if isinstance(by, Window) else np.flatnonzero(by.links(12) == 0).tolist()
    assert cuts(weights(by, 12)) == expected


def test_text_is_learned_and_held_out_without_overlap(tmp_path):
    read = text(tmp_path)
    assert read.written(11) == (tmp_path / "text.txt").read_text()[:11]
    x, targets = read.sequences(np.random.default_rng(0), 12, 3)
    assert x.shape == targets.shape == (12, 3) and np.array_equal(x[1:], targets[:-1])
    stretches, _ = read.stretches(read.held_out, 12, 5)
    assert stretches.shape == (12, 5) and len({stretches[:, k].tobytes() for k in range(5)}) > 1
    assert abs(len(read.held_out) / (len(read.held_out) + len(read.training)) - 0.1) < 0.001


@pytest.mark.parametrize("cell", [cell.name for cell in CELLS if cell.name != "rnn-relu"])
def test_the_gradient_is_the_derivative_of_the_loss(cell, tmp_path):
    """Central differences of the loss along a random direction; their error is of the order of step^2 and eps/step."""
    model, read, rng = Model(cell, 8, 3, 5), text(tmp_path), np.random.default_rng(1)
    parameters = model.initial(len(read.characters), rng)
    x, targets = read.sequences(rng, 8, 3)
    direction = {name: rng.standard_normal(array.shape) for name, array in parameters.items()}
    step = 2.0**-14
    ahead, behind = (
        model.loss({name: array + sign * step * direction[name] for name, array in parameters.items()}, x, targets)
        for sign in (1, -1)
    )
    for by in (Full(), Window(8), Regular(8)):
        gradient = model.gradient(parameters, x, targets, by)
        slope = sum(float(np.vdot(gradient[name], direction[name])) for name in parameters)
        assert abs((ahead - behind) / (2 * step) - slope) < 100 * step**2 + 10 * 2.0**-52 / step


def test_training_learns_and_segments_as_long_as_the_sequence_are_full(tmp_path):
    read = text(tmp_path)
    full, whole, cut = (
        Training("job", TINY, read, kind, window, 0, 40, 2.0).run()
        for kind, window in (("full", 12), ("regular", 12), ("regular", 2))
    )
    assert full["held_out"][-1] < full["held_out"][0] - 0.3 and len(full["step"]) == 21
    assert np.array_equal(full["W_hh"], whole["W_hh"]) and not np.array_equal(full["W_hh"], cut["W_hh"])
    assert full["held_out"][0] == cut["held_out"][0]


def test_quality(tmp_path):
    """Full has no bias, random none beyond its error, a window ever less, and short segments need less memory."""
    read = text(tmp_path)
    model = Model("lstm", T=32, B=16, H=8)
    parameters = Training("job", model, read, "full", 32, 0, 60, 4.0).run()
    parameters = {name: array for name, array in parameters.items() if name.startswith(("W_", "b_"))}

    def quality(kind, window):
        return Quality("job", model, read, parameters, kind, window, 0, 30).run()

    full, regular, random = quality("full", 32), quality("regular", 4), quality("random", 4)
    assert full["bias2"][0] == 0 and abs(full["cosine_loss"][0]) < 1e-12
    assert regular["bias2"][0] > 5 * regular["bias2"][1]
    assert abs(random["bias2"][0]) < 5 * random["bias2"][1] and random["variance"][0] > full["variance"][0]
    assert regular["bytes"][0] < full["bytes"][0] and regular["bytes"][1] < random["bytes"][1]
    assert full["excess"][0] == 0 and random["excess"][0] > 3 * random["excess"][1]
    windows = [quality("window", window)["bias2"][0] for window in (1, 4, 32)]
    assert windows[0] > windows[1] > windows[2] and windows[2] < (1000 * 2.0**-53) ** 2


def test_an_unknown_strategy():
    with pytest.raises(ValueError, match="there is no strategy 'sliding'"):
        strategy("sliding", 4, 0)


# Running


class Never:
    """A job that must not be run again."""

    name = "job"

    def run(self):
        raise AssertionError("run again")


def test_jobs_on_file_are_not_run_again(tmp_path):
    jobs = [Training(f"job-{seed}", TINY, text(tmp_path), "full", 12, seed, 3, 1.0) for seed in range(3)]
    with workers(1) as (pool, _):
        first = run(jobs, tmp_path, pool)
    (tmp_path / "job-1.npz").write_bytes(b"half a file")
    (tmp_path / "job.npz").write_bytes((tmp_path / "job-0.npz").read_bytes())
    with workers(2) as (pool, _):
        again = run([*jobs, Never()], tmp_path, pool)
    for name, result in first.items():
        assert all(np.array_equal(result[key], again[name][key]) for key in result if key != "seconds")


def test_command(tmp_path):
    text(tmp_path)
    done = command(*COMMAND, "text.txt", "--output", "one", "-j", "1", "--panel", "steps-3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for file in ("cuts.png", "quality.png", "training.png", "steps-3.png"):
        assert (tmp_path / "one" / file).stat().st_size > 10_000
    assert "Does random truncation beat regular?" in done.stdout
    found = json.loads((tmp_path / "one" / "findings.json").read_text())
    assert set(found["curves"]) == {"full", "regular-3", "random-3"}
    pieces = done.stdout.splitlines()[2].split("|")[1:-1]
    assert {len(piece) for piece in pieces[:-1]} == {3} and len("".join(pieces)) == 32
    more = command(*COMMAND, "text.txt", "--output", "one", "--seeds", "3", cwd=tmp_path)
    assert more.returncode == 0 and "seeds 0 to 2" in more.stdout, more.stderr
    again = command(*COMMAND, "text.txt", "--output", "two", "-j", "2", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    other = json.loads((tmp_path / "two" / "findings.json").read_text())
    assert found["curves"]["random-3"]["held_out"] == other["curves"]["random-3"]["held_out"]


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--window", "12"], "a window must be shorter than the sequences of 12 steps"),
    (["--little", "99999999"], "--little must lie between"),
    (["--panel", "steps-4"], "there is no panel 'steps-4'; there are bias, variance,"),
    (["--rate", "nan"], "--rate must be a number, not nan"),
    (["absent.txt"], "absent.txt"),
    (["binary"], "is not a text in UTF-8"),
    (["short.txt"], "sequences of 12 steps need 130 at least"),
    (["--output", "short.txt/folder"], "short.txt"),
    (["--output", "other"], "holds a study with other settings, text or version"),
    (["--scheduler", "tcp://127.0.0.1:1"], "no Dask scheduler answers"),
])  # fmt: skip
def test_a_mistake_is_one_sentence_and_exit_status_2(arguments, sentence, tmp_path):
    text(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00" * 1000)
    (tmp_path / "short.txt").write_text("too short")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "study.json").write_text('{"steps": 1}')
    file = [] if arguments[0][0] != "-" else ["text.txt"]
    run = command if "--scheduler" in arguments else here  # Dask leaves threads behind
    done = run(*COMMAND, *file, *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert sentence in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_without_matplotlib_only_the_pictures_are_missing(tmp_path):
    text(tmp_path)
    hidden = "import sys; sys.modules['matplotlib'] = None; from bpttcheck.command_line import main; main()"
    line = [sys.executable, "-c", hidden, *COMMAND, "text.txt", "-j", "1"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, timeout=300, env=environment())
    assert done.returncode == 0, done.stderr
    assert "not drawn: pictures need matplotlib" in done.stdout and "Do short segments regularise?" in done.stdout


def test_interrupted_and_continued(tmp_path):
    text(tmp_path)
    line = (*COMMAND, "--steps", "80", "text.txt", "-j", "2")
    with started(*line, cwd=tmp_path, env=environment()) as running:
        for said in running.stdout:
            if said.startswith("2 of"):
                break
        running.send_signal(signal.SIGINT)
        rest, _ = running.communicate(timeout=60)
    assert running.returncode == 130 and "the same command goes on" in rest
    done = {file: file.stat().st_mtime_ns for file in tmp_path.glob("bpttcheck-strategies/*-seed-*.npz")}
    assert len(done) >= 2
    again = command(*line, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert all(file.stat().st_mtime_ns == when for file, when in done.items())


def test_workers_do_not_outlive_a_command_that_is_killed(tmp_path):
    text(tmp_path)
    line = [sys.executable, "-m", "bpttcheck", *COMMAND, "--steps", "100000", "text.txt", "-j", "2"]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, cwd=tmp_path, env=environment()) as running:
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        if not children.parent.exists():
            running.kill()
            pytest.skip("needs /proc")
        deadline = time.monotonic() + 60
        while len(children.read_text().split()) < 3:  # two workers and the tracker of resources
            assert time.monotonic() < deadline
            time.sleep(0.1)
        workers = [Path("/proc", process) for process in children.read_text().split()]
        time.sleep(3)
        running.kill()

    def runs(worker):
        try:
            return (worker / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    while any(runs(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.thorough
def test_a_cluster_that_loses_a_worker(tmp_path):
    """Two workers; one is killed once jobs are under way, and the study ends as it would have on this machine."""
    text(tmp_path)
    with cluster(tmp_path) as (address, (lost, _)):
        line = (*COMMAND, "--steps", "80", "text.txt", "--scheduler", address)
        with started(*line, cwd=tmp_path, env=environment()) as running:
            for said in running.stdout:
                if said.startswith("3 of"):
                    lost.kill()
                    break
            rest, _ = running.communicate(timeout=200)
        assert running.returncode == 0, rest
    found = json.loads((tmp_path / "bpttcheck-strategies" / "findings.json").read_text())
    here = command(*COMMAND, "--steps", "80", "text.txt", "--output", "here", cwd=tmp_path)
    assert here.returncode == 0
    expected = json.loads((tmp_path / "here" / "findings.json").read_text())
    assert found["curves"]["regular-3"]["held_out"] == expected["curves"]["regular-3"]["held_out"]
