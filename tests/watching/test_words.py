"""Loops whose truncation is known: the words describe it, whatever the unit and the layout."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: tox -e torch")

from bpttcheck.torch import watch  # noqa: E402

from .loops import UNITS, B, D, H, Hidden, Model, Tanh, detach, each, keep, options, train, zeros  # noqa: E402

EACH_UNIT = pytest.mark.parametrize("name", UNITS)
CELLS = [name for name in UNITS if "ell" in name]


def seen_of(model, *arguments, **more):
    torch.manual_seed(0)
    with watch(model, module=model.unit if options(model.name) else None, **options(model.name)) as seen:
        train(model, *arguments, **more)
    return seen


def said(seen):
    return [line.strip() for line in str(seen).splitlines() if line.endswith(".")]


@EACH_UNIT
def test_a_state_that_is_detached_between_chunks(name):
    seen = seen_of(Model(name), detach)
    assert said(seen) == [
        "Each call of backward reaches the 6 steps of its own chunk.",
        "The state is carried in value and detached: truncated to blocks of 6.",
    ]
    assert seen.is_blocks(6) and not seen.is_blocks(3)


@EACH_UNIT
def test_a_state_that_starts_from_zeros(name):
    seen = seen_of(Model(name), zeros, accumulate=2)
    assert said(seen) == [
        "Each call of backward reaches the 6 steps of its own chunk.",
        "The state starts from zeros: separate sequences.",
    ]


@EACH_UNIT
def test_a_graph_that_is_retained(name):
    seen = seen_of(Model(name), keep, retain=True)
    assert said(seen) == [
        "Each call of backward reaches the 6 steps of its own chunk.",
        "Call 2 reaches steps of call 1: the graph is retained, and memory grows. "
        "2 of 3 calls reach steps of earlier ones.",
        "The state is carried with its graph from chunk to chunk.",
    ]


@pytest.mark.parametrize("name", CELLS)
def test_a_state_that_is_detached_at_every_step(name):
    model = Model(name)
    model.between = detach
    seen = seen_of(model, detach)
    assert said(seen)[-1] == (
        "The state is detached at every step: truncated to blocks of 1, no gradient passes to the step before."
    )
    assert seen.is_blocks(1) and not seen.is_blocks(6)


@pytest.mark.parametrize("name", CELLS)
def test_rows_that_start_anew_inside(name):
    model = Model(name)
    ends = torch.tensor([[1.0], [0.0], [1.0]])
    model.between = lambda state: state * ends
    seen = seen_of(model, detach)
    assert "In 15 forward calls some rows of the state start from zeros: episodes or sequences begin." in said(seen)
    assert seen.is_blocks(6)


@EACH_UNIT
def test_rows_that_change_places(name):
    turned = [1, 2, 0]
    batch = 0 if "ell" in name or name == "own layer" else 1
    seen = seen_of(Model(name), lambda state: state.detach().index_select(batch, torch.tensor(turned)))
    assert (
        "In 2 forward calls rows of the state were other rows of the batch before (3 of them at step 6): "
        "sequences go on in the state of others."
    ) in said(seen)


@EACH_UNIT
def test_a_state_that_is_copied_or_changed_in_place_is_still_carried(name):
    def copied(state):
        state = state.detach().clone()
        state.select(0 if state.ndim == 2 else 1, 1).zero_()
        return state

    seen = seen_of(Model(name), copied)
    assert "truncated to blocks of 6" in str(seen) and "In 2 forward calls some rows" in str(seen)
    in_place = seen_of(Model(name), lambda state: state.detach().mul_(1.0))
    assert "truncated to blocks of 6" in str(in_place)


@pytest.mark.parametrize("name", ["LSTM", "LSTMCell"])
def test_a_cell_state_that_is_not_detached(name):
    torch.manual_seed(0)
    model = Model(name)
    state = None
    with watch(model) as seen:
        for _ in range(3):
            tokens = torch.randint(7, (6, B))
            y, state = model(tokens, None if state is None else (state[0].detach(), state[1]))
            y.sum().backward(retain_graph=True)
    assert "At the start of chunks the parts of the state differ (h detached, c carried)." in said(seen)
    assert "Call 2 reaches steps of call 1: the graph is retained, and memory grows." in str(seen)


def test_a_state_from_elsewhere():
    torch.manual_seed(0)
    encoder, decoder = torch.nn.GRU(D, H), torch.nn.GRUCell(D, H)
    model = torch.nn.ModuleDict({"encoder": encoder, "decoder": decoder})
    learned = torch.nn.Parameter(torch.randn(B, H))
    for start, expected in {
        "encoder": "At the start of chunks the state is the last one of encoder, with its graph.",
        "warm-up": "At the start of chunks the state is the last one of encoder, detached.",
        "learned": "At the start of chunks the state has other values, computed or learned, with a graph.",
        "drawn": "At the start of chunks the state is replaced by values without a graph.",
    }.items():
        with watch(model) as seen:
            for _ in range(3):
                with torch.set_grad_enabled(start != "warm-up"):
                    final = encoder(torch.randn(6, B, D))[1][0]
                state = {"learned": learned * 1, "drawn": torch.randn(B, H)}.get(start, final)
                for _ in range(4):
                    state = decoder(torch.randn(B, D), state)
                state.sum().backward()
        assert expected in said(seen)


def test_steps_without_gradients_before_a_chunk():
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(D, H)
    with watch(lstm) as seen:
        for _ in range(3):
            with torch.no_grad():
                _, state = lstm(torch.randn(5, B, D))
            lstm(torch.randn(6, B, D), state)[0].sum().backward()
    assert "the state comes from steps that ran without gradients, and is cut there" in str(seen)
    assert "3 forward calls ran without gradients, and are not counted." in said(seen)


def test_evaluations_are_no_part_of_a_chunk():
    torch.manual_seed(0)
    model = Model("LSTM")
    with watch(model) as seen:
        for gradients in (True, False):
            train(model, detach)
            with torch.set_grad_enabled(gradients):
                model(torch.randint(7, (50, B)), None)
    assert said(seen)[0] == "Each call of backward reaches the 6 steps of its own chunk."
    assert "1 forward call is reached by no backward, as in an evaluation." in said(seen)
    assert "1 forward call ran without gradients, and is not counted." in said(seen)
    assert "in separate sequences" in str(seen) and seen.is_blocks(6)


def test_chunks_of_different_lengths_and_evaluations_in_inference_mode():
    torch.manual_seed(0)
    lstm, state = torch.nn.LSTM(D, H), None
    with watch(lstm) as seen:
        for length in (6, 3, 6, 4):
            y, state = lstm(torch.randn(length, B, D), each(detach, state))
            y.sum().backward()
            with torch.inference_mode():
                lstm(torch.randn(9, B, D), each(detach, state))
    assert said(seen)[:2] == [
        "Each call of backward reaches all steps (3 to 6) of its own chunk.",
        "The state is carried in value and detached: truncated to blocks of at most 6.",
    ]
    assert "4 forward calls ran without gradients, and are not counted." in said(seen)


def test_several_sequences_in_one_call():
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(D, H)
    with watch(lstm) as seen:
        for _ in range(2):
            sum(lstm(torch.randn(6, B, D))[0].sum() for _ in range(3)).backward()
    assert said(seen)[:2] == [
        "Each call of backward reaches the 18 steps of its own chunk.",
        "The state starts from zeros: separate sequences.",
    ]


def test_where_the_state_is_not_seen_nothing_is_called_truncated():
    torch.manual_seed(0)
    cell = Hidden()
    with watch(cell, module=cell, time_axis=None) as seen:
        for _ in range(3):
            cell.state = each(detach, cell.state)
            sum(cell(torch.randn(B, D)).sum() for _ in range(4)).backward()
    assert said(seen)[:2] == [
        "Each call of backward reaches the 4 steps of its own chunk.",
        "Its state was not seen, so nothing is said of where it is cut.",
    ]
    assert "truncated" not in str(seen)
    with pytest.raises(ValueError, match="the state of Hidden was not seen"):
        seen.is_blocks(4)


def test_losses_that_go_back_over_more_steps_than_are_new():
    """The loop with a list of states, and a backward for each step."""
    torch.manual_seed(0)
    cell, states = Tanh(), [(None, torch.zeros(B, H))]
    with watch(cell, module=cell, time_axis=None) as seen:
        for t in range(12):
            given = states[-1][1].detach().requires_grad_()
            states = [*states, (given, cell(torch.randn(B, D), given))][-5:]
            if t % 2:
                states[-1][1].sum().backward(retain_graph=True)
                for (_, earlier), (later, _) in list(zip(states, states[1:], strict=False))[::-1]:
                    if earlier.requires_grad:
                        earlier.backward(later.grad, retain_graph=True)
    assert said(seen)[:3] == [
        "Calls of backward with no forward call between them count as one here.",
        "Each call of backward reaches the 2 steps of its own chunk.",
        "Call 3 reaches steps of call 1: the graph is retained. Call 22 reaches 5 steps, 2 of its own chunk.",
    ]


def test_padding_and_losses_of_a_few_steps():
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(D, H)
    with watch(lstm) as seen:
        for _ in range(2):
            lstm(torch.randn(6, B, D))[0][:4].sum().backward()
    assert said(seen)[:2] == [
        "Each call of backward reaches only 4 of the 6 steps of its own chunk.",
        "4 of the gradients are exactly zero (cut, masked or underflow).",
    ]
