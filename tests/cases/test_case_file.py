"""A user's own file that makes no sense gives one sentence about the file, and no law fails."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from bpttcheck.adapters.reference import Reference
from bpttcheck.cases.case_file import CaseFile
from bpttcheck.command_line import main
from bpttref import CELLS

T, B, D, H = 5, 3, 4, 2


def arrays(cell, tokens=False):
    rows, rng = len(cell.gates) * H, np.random.default_rng(1)
    shapes = {"W_hx": (rows, D), "W_hh": (rows, H), "b_hx": (rows,), "b_hh": (rows,)}
    found = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    return found | {"x": rng.integers(0, D, (T, B)) if tokens else rng.standard_normal((T, B, D))}


def held(tmp_path, cell, dtype="float64", changes=(), *, tokens=False, **declared):
    path = tmp_path / ("tokens-own.npz" if tokens else "own.npz")  # a file is read once
    np.savez(path, **arrays(cell, tokens) | dict(changes))
    return CaseFile(path).holds(cell, dtype, replace(Reference().capabilities(), **declared))


LENGTHS = [
    ([6, 5, 5], "must lie between 0 and 5, the steps of x"),
    ([5, -1, 5], "must lie between 0 and 5, the steps of x"),
    ([5, 2.5, 5], "must be whole numbers of steps"),
    ([True, True, False], "must be whole numbers of steps"),
    ([5, 4], "have shape (2,); x has 3 rows, so it must be (3,)"),
    ([[5, 4, 3]], "have shape (1, 3); x has 3 rows, so it must be (3,)"),
    (5, "have shape (); x has 3 rows, so it must be (3,)"),
    ([5] * T, "have shape (5,); x has 3 rows"),
]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize(("lengths", "said"), LENGTHS)
def test_lengths(tmp_path, cell, lengths, said):
    with pytest.raises(ValueError) as raised:
        held(tmp_path, cell, changes={"lengths": np.array(lengths)})
    assert said in str(raised.value) and "lengths in " in str(raised.value) and "own.npz" in str(raised.value)


@pytest.mark.parametrize("lengths", [[5, 3, 1], [4, 4, 2], [5.0, 3.0, 1.0], np.array([5, 0, 2], np.uint8)])
def test_lengths_that_make_sense_are_whole_numbers(tmp_path, lengths):
    found = held(tmp_path, CELLS[0], changes={"lengths": np.array(lengths)}).case.lengths
    assert found.dtype == np.int64 and found.tolist() == [int(n) for n in lengths]


def test_a_row_without_steps_must_be_declared(tmp_path):
    with pytest.raises(ValueError, match="must lie between 1 and 5"):
        held(tmp_path, CELLS[0], changes={"lengths": np.array([5, 0, 5])}, empty=False)


def test_lengths_must_be_declared(tmp_path):
    with pytest.raises(ValueError, match="has rows of different lengths, which the target does not declare"):
        held(tmp_path, CELLS[0], changes={"lengths": np.array([5, 3, 5])}, inputs=("dense", "initial"))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize(("token", "said"), [(D, "has the token 4; W_hx has columns for 0 to 3"), (-1, "the token -1")])
@pytest.mark.parametrize("place", [(0, 0), (T - 1, B - 1)])
def test_tokens(tmp_path, cell, token, said, place):
    x = arrays(cell, tokens=True)["x"]
    x[place] = token
    with pytest.raises(ValueError, match=said):
        held(tmp_path, cell, changes={"x": x})
    assert held(tmp_path, cell, tokens=True).case.x.shape == (T, B)


@pytest.mark.parametrize(("x", "said"), [
    (np.ones((T, B, D), np.int64), r"has shape \(5, 3, 4\) and holds int64"),
    (np.ones((T, B, D), np.uint8), "holds uint8"),
    (np.ones((T, B, D), bool), "holds bool"),
    (np.ones((T, B)), r"has shape \(5, 3\) and holds float64"),
    (np.ones((T, B), bool), "holds bool"),
    (np.ones((T, B, D), complex), "x in .* must hold real numbers"),
    (np.full((T, B, D), "a"), "x in .* must hold real numbers"),
    (np.ones(T), r"it has x of shape \(5,\)"),
    (np.ones((1, T, B, D)), r"it has x of shape \(1, 5, 3, 4\)"),
    (np.ones((0, B, D)), "there is nothing in it"),
    (np.ones((T, 0, D)), "there is nothing in it"),
    (np.ones((0, B), int), "there is nothing in it"),
])  # fmt: skip
def test_x(tmp_path, x, said):
    with pytest.raises(ValueError, match=said):
        held(tmp_path, CELLS[0], changes={"x": x})


@pytest.mark.parametrize("name", ["x", "W_hh", "b_hx"])
@pytest.mark.parametrize(("dtype", "number"), [("float16", 1e5), ("float32", 1e39), ("bfloat16", -1e39)])
def test_numbers_that_a_dtype_cannot_hold(tmp_path, name, dtype, number):
    changed = arrays(CELLS[0])[name]
    changed.flat[0] = number
    with pytest.raises(ValueError, match=f"{name} in .* has numbers that {dtype} cannot hold"):
        held(tmp_path, CELLS[0], dtype, {name: changed})
    assert held(tmp_path, CELLS[0], "float64", {name: changed})


@pytest.mark.parametrize("changes", [
    {"lengths": np.array([6, 5, 5])}, {"lengths": np.array([2.5, 5, 5])}, {"lengths": np.array([5])},
    {"x": np.ones((T, B, D), int)}, {"x": np.full((T, B), D)}, {"W_hh": arrays(CELLS[0])["W_hh"] * 1j},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("target", ["reference", "fault:rnn-no-carry"])
def test_on_the_command_line_it_is_one_sentence(tmp_path, changes, target):
    np.savez(tmp_path / "own.npz", **arrays(CELLS[0]) | changes)
    words = ["verify", target, "--case", str(tmp_path / "own.npz"), "--cell", "rnn-tanh", "--examples", "2"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2 and "own.npz" in result.output and "FAILED" not in result.output
    assert len(result.output.strip().splitlines()) == 1 and result.output.startswith("bpttcheck: ")
