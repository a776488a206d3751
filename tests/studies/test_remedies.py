"""The remedies: their effect on a gradient or a matrix, the explosion of the problem, and the command."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import numpy as np
import pytest

from bpttcheck.studies import remedies_report
from bpttcheck.studies.explosive import (
    RADIUS,
    T,
    explosive,
    losses,
    losses_and_gradients,
    named,
    orthogonal,
    reach,
    sequences,
    start,
)
from bpttcheck.studies.pictures import COLOURS, new_panels
from bpttcheck.studies.remedies import (
    BOUND,
    ENTRY_BOUND,
    RATES,
    REMEDIES,
    Remedy,
    Run,
    best_rate,
    clipped_by_norm,
    clipped_by_value,
    measure,
    norms,
    spectrally_normalised,
    train,
)
from bpttcheck.studies.remedies_report import draw_remedies, summary
from bpttcheck.workers import workers
from bpttref import GRU, LSTM, RNN, Full

from ..programs import command as here
from ..programs import started
from ..thorough import some

NAMED = {remedy.name: remedy for remedy in REMEDIES}


def generator(seed=0):
    return np.random.default_rng(seed)


def angles(a, b):
    return (a * b).sum(axis=1) / (norms(a) * norms(b))


@pytest.mark.parametrize("cell", [RNN("tanh"), LSTM(), GRU()], ids=lambda cell: cell.name)
def test_the_gradient_is_the_derivative_of_the_loss(cell):
    theta, data = np.tile(start(cell, orthogonal, generator()), (2, 1)), sequences(generator(), 3)
    direction = generator(1).standard_normal(theta.shape)
    loss, gradients = losses_and_gradients(cell, theta, data, Full())
    moved = [losses(cell, theta + step * direction, data) for step in (1e-6, -1e-6)]
    np.testing.assert_allclose((gradients * direction).sum(axis=1), (moved[0] - moved[1]) / 2e-6, rtol=1e-6)
    np.testing.assert_array_equal(loss, losses(cell, theta, data))


def test_the_reach_of_a_linear_network_is_a_power_of_its_matrix():
    cell = RNN("identity")
    theta = start(cell, explosive, generator())
    power = np.linalg.matrix_power(named(cell, theta)["W_hh"], T)
    assert reach(cell, theta, sequences(generator(), 1).x) == pytest.approx(np.linalg.norm(power, 2), rel=1e-6)


def test_always_predicting_0_costs_a_sixth():
    cell = RNN("tanh")
    theta = np.zeros_like(start(cell, explosive, generator()))
    assert losses(cell, theta, sequences(generator(), 4000)) == pytest.approx(1 / 6, rel=0.05)


def test_starts():
    assert np.abs(np.linalg.eigvals(explosive(generator()))).max() == pytest.approx(RADIUS)
    v, Q = generator(1).standard_normal((32, 5)), orthogonal(generator())
    np.testing.assert_allclose(np.linalg.norm(Q @ v, axis=0), np.linalg.norm(v, axis=0))
    assert not np.allclose(np.abs(Q), np.eye(32))


def test_clipping_by_norm_keeps_the_direction_and_bounds_the_norm():
    gradients = generator().standard_normal((4, 50)) * np.array([[1e-3], [0.1], [10], [1e9]])
    clipped = clipped_by_norm(gradients)
    np.testing.assert_allclose(angles(gradients, clipped), 1)
    np.testing.assert_allclose(norms(clipped), np.minimum(norms(gradients), BOUND))
    np.testing.assert_array_equal(clipped[:2], gradients[:2])


def test_clipping_by_value_bounds_each_entry_and_turns_the_gradient():
    gradients = generator().standard_normal((2, 50)) * np.array([[1e-3], [1e9]])
    clipped = clipped_by_value(gradients)
    assert np.abs(clipped).max() == ENTRY_BOUND
    np.testing.assert_array_equal(clipped[0], gradients[0])
    assert 0.5 < angles(gradients, clipped)[1] < 0.95
    run = train(NAMED["clip-value"], seed=1, number=0, steps=1)
    assert 0 < run.cosine < 0.9 and run.used < 1.1 and run.gradient > 1e3
    assert train(NAMED["clip-norm"], seed=1, number=0, steps=1).cosine == pytest.approx(1)


def test_spectral_normalisation_gives_norm_1_at_the_start_and_after_each_step():
    matrices = np.stack([explosive(generator(seed)) for seed in range(3)])
    np.testing.assert_allclose(np.linalg.norm(spectrally_normalised(matrices), 2, axis=(1, 2)), 1)
    seen = []
    train(Remedy("watched", "function", projected=lambda W_hh: seen.append(W_hh.copy()) or W_hh), 1, 0, steps=3)
    assert len(seen) == 4 and not np.allclose(seen[1], seen[2])
    assert train(NAMED["spectral-norm"], seed=1, number=0, steps=1).reach <= 1


@pytest.mark.parametrize("number", range(3))
def test_the_problem_explodes_and_an_orthogonal_start_does_not(number):
    run = train(NAMED["none"], seed=1, number=number, steps=1)
    assert run.reach > 1e3 and run.gradient > 1e3
    run = train(NAMED["orthogonal"], seed=1, number=number, steps=1)
    assert run.reach <= 1 and run.gradient < 10


@pytest.mark.parametrize("number", range(3))
def test_a_regularly_truncated_gradient_is_bounded_where_the_true_one_explodes(number):
    run = train(NAMED["regular"], seed=1, number=number, steps=1)
    assert run.gradient > 1e3 and run.used < 100
    np.testing.assert_allclose(run.norms[0], run.norms[0, 0])


def test_scaling_is_the_learning_rate_of_another_run():
    """Bit by bit: all of it are powers of 2."""
    none, scaled = (train(NAMED[name], seed=1, number=0, steps=6) for name in ("none", "scaling"))
    np.testing.assert_array_equal(scaled.curve[:, :-2], none.curve[:, 2:])
    assert scaled.cosine == pytest.approx(1)


def test_a_run_stops_at_the_first_number_that_is_not_finite():
    too_far = Remedy("too-far", "step", used=lambda gradients: 1e200 * gradients)
    run = train(too_far, seed=1, number=0, steps=4)
    assert (run.stopped > 0).all() and (run.stopped < 4).all()
    assert np.isinf(run.curve[-1]).all() and np.isinf(run.validation).all()
    for rate, step in enumerate(run.stopped):
        assert np.isfinite(run.norms[:step, rate]).all() and np.isnan(run.norms[step:, rate]).all()


def test_all_remedies_meet_the_same_sequences():
    none, clipped = (train(NAMED[name], seed=1, number=0, steps=2) for name in ("none", "clip-norm"))
    np.testing.assert_array_equal(none.curve[0], clipped.curve[0])
    other = train(NAMED["none"], seed=1, number=1, steps=2)
    assert other.gradient != none.gradient
    assert not np.allclose(none.validation, none.curve[-1])


def test_the_rate_is_chosen_on_the_validation_set():
    run = train(NAMED["orthogonal"], seed=1, number=0, steps=1)
    run.validation[:] = [3, 1, 2, np.inf, 1]
    run.curve[-1] = [7, 8, 1, 1, 1]
    assert best_rate([run]) == 1
    assert summary([run])["rate"] == RATES[1] and summary([run])["loss_at_end"] == (8, 0)


def test_the_same_seed_gives_the_same_numbers_in_any_number_of_processes():
    def runs(jobs):
        with workers(jobs) as (pool, _):
            done = list(measure(["none", "random"], seed=1, seeds=2, steps=3, pool=pool))
        return [asdict(run) for run in sorted(done, key=lambda run: (run.remedy, run.number))]

    np.testing.assert_equal(runs(1), runs(2))


def test_lines_of_a_panel_differ_in_colour_and_in_style(monkeypatch):
    """Readers who cannot distinguish the colours can distinguish the styles."""
    figures, rates = [], np.ones((2, len(RATES)))
    monkeypatch.setattr(remedies_report, "new_panels", lambda *given: figures.append(new_panels(*given)) or figures[0])
    draw_remedies([], [
        Run(remedy.name, 0, 1, 1, 1, 1, rates, np.arange(2), rates, rates[0], rates[0] - 2) for remedy in REMEDIES
    ])  # fmt: skip
    for axes in figures[0][0].axes:
        lines = [line for line in axes.lines if "1/" in line.get_label() and "none" not in line.get_label()]
        assert 2 <= len(lines) == len({line.get_linestyle() for line in lines})
        assert len(lines) == len({line.get_color() for line in lines} & {*COLOURS})


def run(*arguments, cwd, **environment):
    command = [sys.executable, "-m", "bpttcheck", *arguments]
    environment = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, env=environment)


def test_the_command(tmp_path):
    done = run("remedies", "--remedy", "none", "--remedy", "lstm", "--seeds", "2", "--steps", "3", "--seed", "7",
               "-j", "2", "--json", "r.json", "--png", "r.png", "--svg", "r.svg", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.startswith("seed 7, ") and "lstm" in done.stdout and "gru" not in done.stdout
    written = json.loads((tmp_path / "r.json").read_text())
    assert written["seed"] == 7 and list(written["remedies"]) == ["none", "lstm"]
    of_none = written["remedies"]["none"]
    assert of_none["summary"]["log10_gradient"][0] > 3 and [r["number"] for r in of_none["runs"]] == [0, 1]
    assert (tmp_path / "r.png").stat().st_size > 1000 and "<svg" in (tmp_path / "r.svg").read_text()


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--remedy", "prayer"], "there is no remedy 'prayer'"),
    (["--json", "missing/folder/r.json"], "r.json"),
    (["--png", "missing/folder/r.png"], "r.png"),
])  # fmt: skip
def test_a_mistake_is_one_sentence_before_the_work(arguments, sentence, tmp_path):
    done = here("remedies", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and sentence in done.stderr and not done.stdout
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("command", [["remedies", "--svg", "r.svg"], ["xray", "reference", "--svg", "r.svg"]])
def test_without_matplotlib_a_picture_is_refused(command, tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ImportError('absent')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = run(*command, cwd=tmp_path, PYTHONPATH=path)
    assert done.returncode == 2
    assert done.stderr.strip() == "bpttcheck: pictures need matplotlib: python -m pip install 'bpttcheck[plots]'"
    assert "seed" not in done.stdout


@pytest.mark.parametrize("seconds", some([0.2, 1.2, 6], 1.2))  # while processes start, import, train
def test_interrupt_prints_the_results_so_far(seconds, tmp_path):
    """Ctrl-C reaches the workers, too: the signal goes to the whole group."""
    command = ("remedies", "--remedy", "none", "--seeds", "10000", "--steps", "2", "--json", "r.json",
               "--svg", "r.svg", "-j", "2")  # fmt: skip
    with started(*command, cwd=tmp_path, stderr=subprocess.PIPE) as running:
        assert running.stdout.readline().startswith("seed")
        time.sleep(seconds)
        os.killpg(running.pid, signal.SIGINT)
        said, errors = running.communicate(timeout=60)
    assert running.returncode == 130 and not errors, errors
    done = int(said.split("interrupted: ")[1].split(" of 10000 runs")[0])
    remedies = json.loads((tmp_path / "r.json").read_text())["remedies"]
    assert done == sum(len(of_one["runs"]) for of_one in remedies.values())
    assert ("none" in said) == bool(done) and "dh_T/ds_0" in said
