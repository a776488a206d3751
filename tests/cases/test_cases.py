"""Drawn cases: interesting ones turn up often enough, in every kind, and shrink to ones that can be worked by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import find

from bpttcheck import Capabilities
from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.changes import only_y
from bpttcheck.cases.drawing import KINDS, draw_case
from bpttcheck.cases.kinks import near_kink
from bpttcheck.cases.realising import realise
from bpttcheck.cases.smaller import smaller_draws
from bpttcheck.cases.truncations import DRAWN
from bpttcheck.measuring.comparisons import compare
from bpttcheck.measuring.scales import measure
from bpttref import CELLS, LSTM, RNN, Blocks, Last, Window

ALL = Reference().capabilities()
DRAWS = [draw_case(np.random.default_rng([5, k]), ALL, k) for k in range(400)]


def share(condition):
    return sum(map(condition, DRAWS)) / len(DRAWS)


@pytest.mark.parametrize(("what", "least", "condition"), [
    ("distinct sizes above 1", 0.6, lambda d: len({d.T, d.B, d.D, d.H}) == 4 and min(d.T, d.B, d.D, d.H) > 1),
    ("a size of 1", 0.08, lambda d: 1 in (d.T, d.B, d.D, d.H)),
    ("equal sizes", 0.1, lambda d: d.T == d.B == d.D == d.H > 1),
    ("a long sequence", 0.03, lambda d: d.T > 40),
    ("a wide state", 0.01, lambda d: d.H > 24),
    ("a stack", 0.2, lambda d: d.layers > 1),
    ("three layers", 0.05, lambda d: d.layers > 2),
    ("two directions", 0.15, lambda d: d.bidirectional),
    ("rows of different lengths", 0.15, lambda d: d.ragged),
    ("both", 0.05, lambda d: d.ragged and d.bidirectional),
    ("tokens", 0.2, lambda d: d.tokens),
    ("vanishing", 0.1, lambda d: d.weight_scale < 0.01),
    ("saturated or exploding", 0.1, lambda d: d.weight_scale > 4),
])  # fmt: skip
def test_interesting_cases_turn_up(what, least, condition):
    assert share(condition) >= least


@pytest.mark.parametrize("seed", [0, 7, 12345])
def test_three_seeds_meet_each_edge_from_both_sides(seed):
    met = {name: set() for name in "TBDH"}
    for one in (seed, seed + 1, seed + 2):
        for k in range(40):
            draw = draw_case(np.random.default_rng([one, k]), ALL, k, one)
            for name, sizes in met.items():
                sizes.add(getattr(draw, name))
    around = {edge + offset for edge in (16, 32, 64, 128) for offset in (-1, 0, 1)}
    assert all(around <= sizes for sizes in met.values())


@pytest.mark.parametrize(("name", "least"), [("T", 61), ("B", 26), ("D", 26), ("H", 26)])
def test_each_size_is_large_within_the_first_16_cases(name, least):
    assert any(getattr(draw, name) >= least for draw in DRAWS[:16])


@pytest.mark.parametrize(("what", "least", "condition"), [
    ("padding that no row fills", 0.2, lambda case: case.lengths.max() < len(case.x)),
    ("a single row with padding", 0.01, lambda case: len(case.lengths) == 1 and case.lengths[0] < len(case.x)),
    ("a row without steps beside others", 0.15, lambda case: case.lengths.min() == 0 < case.lengths.max()),
])  # fmt: skip
def test_padding_of_each_kind_turns_up(what, least, condition):
    ragged = [realise(draw, RNN("tanh"), "float64", ALL)[0] for draw in DRAWS if draw.ragged]
    assert np.mean([condition(case) for case in ragged]) >= least


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_cases_remember(cell, dtype):
    """The loss at the last step is felt at nearly every step before it, above its rounding."""
    alive = []
    for draw in [draw for draw in DRAWS[:100] if draw.remembers][:4]:
        case, cotangents = realise(replace(draw, tokens=False), cell, dtype, ALL)
        if near_kink(case):
            continue
        last = only_y(cotangents, slice(len(case.x) - 1, len(case.x)))
        (measured,) = measure(case, last)
        own = {"x": measured.values["x"]}
        alive += [comparison.alive for comparison in compare(case, own, own, measured)]
    assert np.mean(alive) > 0.9


def test_two_directions_come_without_stacks_and_lengths():
    """`reverse-is-flipped` can say something of each of them."""
    draws = DRAWS[KINDS.index("two directions") :: len(KINDS)]
    assert all(d.bidirectional and d.layers == 1 and not d.ragged for d in draws)


def test_gradients_are_alive():
    """In most cases every block of every gradient is far above its rounding."""
    alive = []
    for draw in DRAWS[:40]:
        case, cotangents = realise(draw, LSTM(), "float64", ALL)
        (measured,) = measure(case, cotangents)
        alive += [
            float(np.abs(value).max()) > 1e3 * float(measured.spread[name].max())
            for name, value in measured.values.items()
            if value.size
        ]
    assert np.mean(alive) > 0.95


def test_no_state_or_cotangent_is_zero_nor_a_bias_unless_all_are():
    for draw in [replace(draw, unbiased=False) for draw in DRAWS[:40]]:
        case, cotangents = realise(draw, RNN("tanh"), "float32", ALL)
        leaf, state = case.parameters[0][0], case.initial[0][0]
        for array in (leaf["b_hx"], leaf["b_hh"], state["h"], cotangents.y, cotangents.final[0][0]["h"]):
            assert np.all(array != 0)


def test_a_failure_of_all_cases_shrinks_to_round_numbers():
    smallest = find(smaller_draws(DRAWS[6], ALL), lambda draw: True)
    assert (smallest.T, smallest.B, smallest.D, smallest.H, smallest.layers) == (1, 1, 1, 1, 1)
    case, _ = realise(smallest, RNN("tanh"), "float64", ALL)
    assert smallest.rounded and np.all(8 * case.parameters[0][0]["W_hh"] % 1 == 0)


def test_a_long_sequence_shrinks_to_where_it_fails():
    large = next(draw for draw in DRAWS if draw.T > 30)
    smallest = find(smaller_draws(large, ALL), lambda draw: draw.T > 16)
    assert smallest.T == 17 and smallest.B == 1


def test_declared_sizes_are_kept_to():
    declared = Capabilities(cells=(LSTM(),), sizes={"T": (4, 9), "B": (2,), "H": (8,)})
    for k in range(5 * len(KINDS)):
        draw = draw_case(np.random.default_rng(k), declared, k)
        assert draw.T in (4, 9) and draw.B == 2 and draw.H == 8
        assert not (draw.tokens or draw.ragged or draw.bidirectional) and draw.layers == 1


def test_no_truncation_is_drawn_that_ends_at_the_initial_state():
    """Libraries differ in whether a window of T steps reaches it."""
    rng = np.random.default_rng(1)
    for T in range(2, 12):
        for _ in range(50):
            assert DRAWN[Last](rng, T).k < T
            assert DRAWN[Window](rng, T).tau != T
            assert DRAWN[Blocks](rng, T).k2 != T
