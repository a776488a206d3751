"""One example of a user's arrays shows layouts, names and gradients; where it shows too little there is one
sentence."""

from collections import namedtuple

import numpy as np
import pytest

import bpttcheck
from bpttcheck.adapters.own_arrays.arguments import Arguments
from bpttcheck.adapters.own_arrays.layout import Layout
from bpttcheck.adapters.own_arrays.names import gradients, leaves, rebuilt

ZEROS = np.zeros
CALLED = {"p": "p", "state": "h"}


@pytest.mark.parametrize(("example", "time", "rows", "said"), [
    (ZEROS((5, 4, 3)), 0, 1, "(T, B, 3)"),
    (ZEROS((4, 5, 3)), 1, 0, "(B, T, 3)"),
    (ZEROS((3, 4, 5)), -1, 1, "(3, B, T)"),
    (ZEROS((5, 3)), 0, None, "(T, 3)"),
    (ZEROS(5), 0, None, "(T,)"),
    (ZEROS((2, 5, 3, 4)), 1, -1, "(2, T, 3, B)"),
    ([ZEROS((3, 1))] * 5, 0, None, "a list of T arrays (3, 1)"),
    ([ZEROS((3, 4))] * 5, 0, 2, "a list of T arrays (3, B)"),
], ids=str)  # fmt: skip
def test_arrays_are_given_as_they_lie(example, time, rows, said):
    layout = Layout.of("x", example, time, rows)
    assert str(layout) == said
    B = 1 if rows is None else 4
    canonical = np.arange(5 * B * np.prod(layout.shape, dtype=int)).reshape(5, B, *layout.shape)
    given = layout.given(canonical)
    assert np.shape(given) == np.shape(example) and isinstance(given, list) == isinstance(example, list)
    np.testing.assert_array_equal(layout.taken(given), canonical)
    np.testing.assert_array_equal(layout.given(canonical.reshape(5, B, -1)), given)


def test_views_stay_views():
    layout = Layout.of("x", ZEROS((4, 5, 3)), 1, 0)
    array = ZEROS((5, 4, 3))
    assert np.shares_memory(layout.given(array), array) and np.shares_memory(layout.taken(layout.given(array)), array)


def test_leaves_have_names_and_trees_are_rebuilt():
    tree = {"cell": {"W": 1, "b": [2, 3]}, "out": 4}
    assert dict(leaves(tree)) == {"cell/W": 1, "cell/b0": 2, "cell/b1": 3, "out": 4}
    assert rebuilt(tree, iter("abcd")) == {"cell": {"W": "a", "b": ["b", "c"]}, "out": "d"}
    Pair = namedtuple("Pair", "W b")
    assert rebuilt(Pair(1, 2), iter("ab")) == Pair("a", "b")


ARGUMENTS = {"p": {"W": None, "b": None}, "x": {"x": None}, "state": {"h": None}}
EXPECTED = {"p": {"W": 1, "b": 2}, "x": {"x": 3}, "state": {"h": 4}}


@pytest.mark.parametrize("answer", [
    {"dW": 1, "db": 2, "dx": 3, "dh0": 4},
    {"W": 1, "b": 2, "x": 3, "h": 4},
    {"grad_W": 1, "b_grad": 2, "gx": 3, "dh_prev": 4, "W": 0},
    ({"W": 1, "db": 2}, 3, 4),
    ((1, 2), 3, 4),
    namedtuple("Answer", "dW db dx dh")(1, 2, 3, 4),
], ids=str)  # fmt: skip
def test_gradients_are_known_by_their_names_or_their_order(answer):
    assert gradients(answer, ARGUMENTS) == EXPECTED


def test_gradients_that_are_not_returned_are_left_out():
    assert gradients({"dW": 1}, ARGUMENTS) == {"p": {"W": 1}, "x": {}, "state": {}}
    assert gradients((7,), {"p": {"p": None}}) == {"p": {"p": 7}}
    assert gradients([7, 8], {"p": {"layers": [{"W": None}, {"W": None}]}}) == {"p": {}}
    assert gradients([{"W": 7}, {"dW": 8}], {"p": {"p": [{"W": None}, {"W": None}]}})["p"] == {"p0/W": 7, "p1/W": 8}
    assert gradients({"cell": {"dW": 5}}, {"p": {"cell": {"W": None}}}) == {"p": {"cell/W": 5}}


def rnn(p, x, h):
    """(T, B, D)"""
    hs = [h]
    for x_t in x:
        hs.append(np.tanh(x_t @ p["U"] + hs[-1] @ p["W"]))

    def pullback(dy, dh):
        dU, dW, dx = ZEROS(p["U"].shape), ZEROS(p["W"].shape), ZEROS(x.shape)
        for t in reversed(range(len(x))):
            da = (dy[t] + dh) * (1 - hs[t + 1] ** 2)
            dU, dW, dx[t], dh = dU + x[t].T @ da, dW + hs[t].T @ da, da @ p["U"].T, da @ p["W"].T
        return {"dU": dU, "dW": dW, "dx": dx, "dh": dh}

    return np.array(hs[1:]), hs[-1], pullback


RNN = {"parameters": {"U": ZEROS((2, 3)), "W": ZEROS((3, 3))}, "x": ZEROS((5, 4, 2)), "states": ZEROS((4, 3))}


def test_facts_that_calls_show():
    declared = bpttcheck.own_arrays(rnn, **RNN).capabilities()
    assert declared.conventions == {"x": "(T, B, 2)", "h": "(B, 3)", "y": "(T, B, 3)"}
    assert declared.gradients == ("parameters", "x", "initial") and declared.outputs == ("y", "final")
    assert declared.sizes == {"D": (2,), "H": (3,)} and declared.dtypes == ("float64",)
    assert declared.default_initial == "none"


def test_states_with_as_many_units_as_rows():
    """Which of two equal axes holds the rows is found by a call."""
    square = RNN | {"x": ZEROS((5, 3, 2)), "states": ZEROS((3, 3))}
    assert bpttcheck.own_arrays(rnn, **square).capabilities().conventions["h"] == "(B, 3)"
    in_columns = {"parameters": {"W": ZEROS((3, 3))}, "x": ZEROS((5, 3, 3)), "states": ZEROS((3, 3)), "batch": 2}

    def columns(p, x, h):
        ys = [h := np.tanh(p["W"] @ h + x_t) for x_t in x]
        return np.array(ys), h

    assert bpttcheck.own_arrays(columns, **in_columns).capabilities().conventions["y"] == "(T, 3, B)"


def test_an_axis_that_outputs_do_not_follow_holds_no_rows():
    """One of size 1 is broadcast to as many as there were."""

    def scaled(W, x):
        return W * x, lambda dy: ((dy * x).sum(axis=(0, 1)), W * dy)

    subject = bpttcheck.own_arrays(scaled, parameters=ZEROS(2), x=ZEROS((5, 4, 2)))
    assert subject.capabilities().conventions["x"] == "(T, B, 2)"


def test_the_pullback_of_the_example_is_called_before_the_next_call():
    """Some code keeps only the tape of its last call."""
    kept = {}

    def run(x):
        kept["x"] = x
        return x**2, lambda dy: 2 * kept["x"] * dy

    assert bpttcheck.own_arrays(run, x=ZEROS((5, 4)), batch=1).capabilities().gradients == ("x",)


def test_a_sequence_without_rows_and_tokens():
    one = bpttcheck.own_arrays(lambda x: np.cumsum(x, axis=0), x=ZEROS((5, 2)), batch=None).capabilities()
    assert one.sizes["B"] == (1,) and one.conventions["y"] == "(T, 2)" and one.gradients == ()
    table = np.arange(14.0).reshape(7, 2)
    tokens = bpttcheck.own_arrays(lambda p, x: p[x], parameters=table, x=np.full((5, 4), 6)).capabilities()
    (cell,) = tokens.cells
    assert cell.shapes(1, 1) == {"parameters": {"p": (7, 2)}, "states": {}, "streams": {"x_": ()}}
    assert cell.domains == {"x_": range(7)}


def test_arguments_of_no_array_of_numbers():
    with pytest.raises(ValueError, match="n holds numbers of type int64, of which there is no gradient"):
        Arguments.of(CALLED, {}, {"W": ZEROS(3), "n": 3}, None, None, 0).example(None)


def last(p, x):
    return 2 * x[-1]


@pytest.mark.parametrize(("function", "how", "said"), [
    (rnn, {"parameters": None, "x": None}, "pass an example of the arguments"),
    (rnn, {"x": ZEROS((1, 4, 2))}, "the example has one step: give it two or more"),
    (rnn, {"x": ZEROS((5, 4, 3))}, "rnn raised ValueError: matmul: .*, when it was called with the example"),
    (rnn, {"time": 3}, r"x has shape \(5, 4, 2\), in which there is no axis time=3"),
    (rnn, {"time": 1, "batch": 1}, "time and batch are the same axis of x"),
    (rnn, {"states": ZEROS((2, 3)), "batch": 1}, r"the state h has shape \(2, 3\), in which no axis has 4 rows"),
    (rnn, {"domains": {"V": "positive"}}, "domains of rnn names 'V'"),
    (rnn, {"clip": 5.0}, "clip, rate and loss_weights belong to a loss"),
    (rnn, {"x": [ZEROS((4, 2))] * 5, "time": 1}, "x is a list, which is one of steps: time must be 0"),
    (rnn, {"x": [ZEROS((4, 2)), ZEROS((3, 2))]}, "the steps of x do not have the same shape"),
    (rnn, {"x": {"a": ZEROS((5, 4)), "b": ZEROS((6, 4))}}, "differ in their steps or rows: a has 5 steps"),
    (lambda p, x, h: (x, h, h, lambda dy: dy), {}, "it returned a tuple of 4; expected y, pullback"),
    (lambda p, x, h: (x, lambda dy: {"da": dy}), {}, "returned no gradient of its parameters but da: .* of U, W, x, h"),
    (lambda p, x, h: (x, lambda dy: dy["a"]), {}, "the pullback of lambda raised IndexError"),
    (lambda p, x, h: x * h.sum(), {"x": ZEROS((5, 4, 4)), "states": ZEROS((4, 4))}, "several axes"),
])  # fmt: skip
def test_too_little_is_one_sentence(function, how, said):
    with pytest.raises(ValueError, match=said):
        bpttcheck.own_arrays(function, **{**RNN, **how})


def test_code_for_one_number_of_rows():
    """It is not silently read as one sequence."""

    def rigid(p, x, h):
        return x.reshape(5, 4, 2) @ p["U"], lambda dy: p

    with pytest.raises(ValueError, match="rigid raises with one row less .*: pass batch=None if x"):
        bpttcheck.own_arrays(rigid, **RNN)
    sizes = {"T": (5,), "B": (4,)}
    declared = bpttcheck.own_arrays(rigid, **RNN, batch=1, sizes=sizes).capabilities()
    assert declared.conventions["y"] == "(T, B, 3)"


def test_code_for_one_number_of_steps():
    def rigid(p, x, h):
        return x.reshape(5, -1, 2) @ p["U"]

    with pytest.raises(ValueError, match=r"with 4 steps of the example \(sizes={'T': \(5,\)} says"):
        bpttcheck.own_arrays(rigid, **RNN)
    assert bpttcheck.own_arrays(rigid, **RNN, sizes={"T": (5,)}).capabilities().sizes["T"] == (5,)


def test_the_example_stays_as_it_is():
    def greedy(p, x, h):
        p["U"] += 1
        h += 1
        x += 1
        return x @ p["U"], h, lambda dy, dh: p

    arrays = {"parameters": {"U": ZEROS((2, 3))}, "x": ZEROS((5, 4, 2)), "states": ZEROS((4, 3))}
    bpttcheck.own_arrays(greedy, **arrays)
    assert not any(array.any() for array in (arrays["parameters"]["U"], arrays["x"], arrays["states"]))


def test_the_example_is_put_into_its_domains():
    def run(decay, x):
        assert np.all(decay > 0) and np.all(x["k"] > 0)
        return x["v"] / x["k"] * np.log(decay)

    x = {"k": ZEROS((5, 4, 3)), "v": ZEROS((5, 4, 3))}
    domains = {"decay": "(0, 1)", "k": "positive"}
    bpttcheck.own_arrays(run, parameters=ZEROS(3), x=x, domains=domains)
    with pytest.raises(ValueError, match="the domain of k must be 'positive', .* it is 'between'"):
        bpttcheck.own_arrays(run, parameters=ZEROS(3), x=x, domains={"k": "between"})


def test_properties_of_a_cell_are_passed_on():
    def run(x, h):
        y = h * np.exp(x).cumprod(axis=0)
        return y, y[-1]

    example = {"x": ZEROS((5, 4, 3)), "states": ZEROS((4, 3)), "batch": 1, "examples": 6, "raises": False}
    found = bpttcheck.check(run, affine={"h": ("h", "y")}, smooth=True, saturates=("x",), **example)
    statuses = {result.law: result.status for result in found.results}
    assert statuses["affine-in-a-state"] == "passed" and statuses["saturated-is-finite"] == "failed"


def test_functions_that_do_not_go_together():
    with pytest.raises(ValueError, match="pass one of them"):
        bpttcheck.own_arrays(rnn, last, step_back=last, **RNN)
    with pytest.raises(ValueError, match="a step needs an example of the state"):
        bpttcheck.own_arrays(last, step_back=last, parameters=ZEROS(3), x=ZEROS((5, 3)))
    with pytest.raises(ValueError, match="a run over a sequence needs an example of it"):
        bpttcheck.own_arrays(last, last, parameters=ZEROS(3))
    with pytest.raises(ValueError, match="a step knows nothing of them"):
        bpttcheck.own_arrays(last, step_back=last, **RNN, lengths="lengths")
    with pytest.raises(ValueError, match="a loss takes no lengths and no resets"):
        bpttcheck.own_arrays(lambda p: (1.0, p), parameters=ZEROS(3), resets="resets")
