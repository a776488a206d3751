"""The limit of the timed part of the gate fits the noise that was recorded."""

import random
import sys
from pathlib import Path

import pytest

ROOT = next(folder for folder in Path(__file__).parents if (folder / "tox.ini").is_file())
sys.path.append(str(ROOT / "asv_bench"))

pytest.importorskip("asv")
from limits import TIMED  # noqa: E402
from noise import bounds, false_alarms, fastest, named, ratios, recorded  # noqa: E402


def test_at_least_twenty_pairs_of_the_same_cells():
    pairs = recorded()
    assert len(pairs) >= 20
    assert {len(pair) for pair in pairs} == {36} and len({tuple(pair) for pair in pairs}) == 1


def test_one_gate_in_fifty_is_mistaken_at_most():
    assert false_alarms(recorded(), TIMED.ratio).high <= 1 / 50


def test_a_change_of_1_15_is_named_in_nine_of_ten():
    assert named(recorded(), TIMED.ratio, 1.15) >= 0.9


def test_disturbances_of_some_runs_do_not_count():
    assert fastest([1.0, 1.0, 9.0, 9.0, 9.0, 9.0]) == 1.0
    assert ratios({"a": [[1.0, 2.0, 2.0], [3.0, 1.5, 2.0], [1.0]]}) == {"a": 1.5}


def test_an_alarm_needs_the_same_cell_twice():
    looks = [{"a": 1.2, "b": 1.0}, {"a": 1.0, "b": 1.2}, {"a": 1.2, "b": 1.0}]
    assert false_alarms(looks, 1.1).share == pytest.approx(2 / 24)
    assert false_alarms(looks[:2], 1.1).share == 0
    assert false_alarms(looks, 1.3).low == 0 < false_alarms(looks, 1.3).high


def test_the_bounds_hold_the_truth_as_often_as_they_say():
    rng = random.Random(1)
    held = 0
    for _ in range(400):
        low, high = bounds(sum(rng.random() < 0.1 for _ in range(40)), 40)
        held += low <= 0.1 <= high
    assert held >= 0.95 * 400
    assert bounds(0, 24) == (0, pytest.approx(1 - 0.025 ** (1 / 24)))
    assert bounds(24, 24) == (pytest.approx(0.025 ** (1 / 24)), 1)
