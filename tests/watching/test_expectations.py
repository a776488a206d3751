"""Expectations as tests: passes, failures, and the output of a failure."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: tox -e torch")

from bpttcheck.torch import assert_reach, watch  # noqa: E402
from bpttref import Blocks, Full, Regular, Window  # noqa: E402

from .loops import B, D, H, Model, detach, keep, train, zeros  # noqa: E402


def seen_of(name, cut, **more):
    torch.manual_seed(0)
    model = Model(name)
    with watch(model) as seen:
        train(model, cut, **more)
    return seen


@pytest.mark.parametrize("name", ["LSTM", "GRUCell"])
@pytest.mark.parametrize(("cut", "retain", "rule"), [
    (detach, False, Regular(6)),
    (keep, True, Full()),
    (zeros, False, Full()),
])  # fmt: skip
def test_the_rule_of_a_loop_passes_and_others_do_not(name, cut, retain, rule):
    seen = seen_of(name, cut, retain=retain)
    assert_reach(seen, rule)
    for other in (Regular(3), Regular(6), Full(), Blocks(6, 9), Window(2)):
        assert seen.shows(other) == (rule == other or (cut is zeros and other in (Regular(6), Blocks(6, 9))))


def test_losses_that_go_back_over_more_steps_are_blocks():
    torch.manual_seed(0)
    cell, states = torch.nn.GRUCell(D, H), [(None, torch.zeros(B, H))]
    with watch(cell) as seen:
        for t in range(12):
            given = states[-1][1].detach().requires_grad_()
            states = [*states, (given, cell(torch.randn(B, D), given))][-5:]
            if t % 2:
                states[-1][1].sum().backward(retain_graph=True)
                for (_, earlier), (later, _) in list(zip(states, states[1:], strict=False))[::-1]:
                    if earlier.requires_grad:
                        earlier.backward(later.grad, retain_graph=True)
    assert_reach(seen, Blocks(2, 5))
    assert not seen.shows(Blocks(2, 4)) and not seen.shows(Regular(2))


def test_a_failure_prints_both_triangles():
    with pytest.raises(AssertionError) as raised:
        assert_reach(seen_of("LSTM", detach), Regular(3))
    said = str(raised.value)
    assert said.startswith(
        "this is not Regular(tau=3)\n\n"
        "expected:\n"
        "call  steps 0 to 17\n"
        "         |  |  |  |  | the state is cut\n"
        "   1  ######\n"
        "   2  ......######\n"
        "   3  ............######\n\n"
        "seen:\n"
        "call  steps 0 to 17\n"
        "            |     | the state is cut\n"
        "   1  ######\n"
        "   2  ......######\n"
        "   3  ............######\n"
    )
    assert said.endswith(str(seen_of("LSTM", detach)))


def test_gradients_that_underflow_are_no_cut_and_a_mask_is_one():
    torch.manual_seed(0)
    rnn = torch.nn.RNN(D, H)
    with torch.no_grad():
        rnn.weight_hh_l0.mul_(0.001)
    with watch(rnn) as seen:
        rnn(torch.randn(40, B, D))[0][-1].sum().backward()
    assert (seen.record.backwards[0].reached["RNN"].norms == 0).any()
    assert_reach(seen, Full())
    with watch(rnn) as seen:
        rnn(torch.randn(6, B, D))[0][:4].sum().backward()
    assert not seen.shows(Full())


def test_an_expectation_that_cannot_be_tested_raises():
    lstm = torch.nn.LSTM(D, H)
    with watch(lstm) as seen:
        pass
    for judged in (lambda: seen.is_blocks(3), lambda: assert_reach(seen, Full()), lambda: seen.png("none.png")):
        with pytest.raises(ValueError, match="no call of backward was seen"):
            judged()
    with watch(torch.nn.ModuleDict({"a": lstm, "b": torch.nn.GRU(D, H)})) as seen:
        lstm(torch.randn(6, B, D))[0].sum().backward()
    assert seen.is_blocks(6, module="a")
    with pytest.raises(ValueError, match="say which module: those that were seen are a, b"):
        seen.is_blocks(6)
    with pytest.raises(ValueError, match="no module 'c' was seen"):
        seen.is_blocks(6, module="c")


def test_a_sequence_of_thousands_of_steps_is_refused():
    rnn = torch.nn.RNN(D, H)
    with watch(rnn) as seen:
        rnn(torch.randn(5000, 1, D))[0].sum().backward()
    with pytest.raises(ValueError, match="a sequence of 5000 steps is too long to check: watch fewer calls"):
        seen.is_blocks(5000)


def test_a_long_loop_is_drawn_and_described_in_few_lines(tmp_path):
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(D, H)
    with watch(lstm, calls=50) as seen:
        state = None
        for _ in range(60):
            y, state = lstm(torch.randn(20, B, D), state and tuple(map(detach, state)))
            y.sum().backward()
    assert len(seen.record.backwards) == 50 and seen.is_blocks(20)
    assert str(seen).splitlines()[-3:] == [
        "The input of LSTM needs no gradient; it was made to need one while watched.",
        "",
        "The watch ended after 50 calls of backward.",
    ]
    assert "        ... 38 more calls" in str(seen).splitlines()
    assert max(map(len, str(seen).splitlines())) < 100
    for file in ("reach.png", "reach.svg"):
        seen.png(tmp_path / file)
    assert (tmp_path / "reach.png").read_bytes().startswith(b"\x89PNG") and (tmp_path / "reach.svg").exists()
