"""The numbers: norms are taken of the gradients of the inputs, a row for each call, whatever else the loop does."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: tox -e torch")

from torch import nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from bpttcheck.torch import watch  # noqa: E402

from .loops import B, D, H, Scan, Tanh, detach  # noqa: E402


def of(seen, call=0, trace=0):
    """The steps and norms of a call of backward."""
    name = seen.record.traces[trace].name
    return tuple(array.tolist() for array in seen.record.backwards[call].reached[name])


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_norms_equal_the_gradient_of_the_input(dtype, batch_first):
    torch.manual_seed(0)
    lstm = nn.LSTM(D, H, batch_first=batch_first, dtype=dtype)
    x = torch.randn(6, B, D, dtype=dtype, requires_grad=True)
    with watch(lstm) as seen:
        y, _ = lstm(x.transpose(0, 1) if batch_first else x)
        (y.transpose(0, 1) if batch_first else y)[4].sum().backward()
    steps, norms = of(seen)
    assert steps == list(range(6)) and norms[5] == 0
    np.testing.assert_allclose(norms, x.grad.double().flatten(1).norm(dim=1), rtol=1e-6)


@pytest.mark.parametrize("loss", ["h", "c", "both"])
@pytest.mark.parametrize("given", ["unbound", "indexed", "computed", "data"])
def test_norms_of_steps_that_are_called_one_by_one(given, loss):
    """Twice in one graph, which is retained; an input that is used twice is two steps."""
    torch.manual_seed(0)
    cell, x = nn.LSTMCell(D, H), torch.randn(5, B, D, requires_grad=True)
    inputs = {"unbound": x.unbind(), "indexed": [x[t] for t in range(5)], "computed": [x[t] * 1 for t in range(5)]}
    steps = inputs.get(given, x.detach().unbind())
    with watch(cell) as seen:
        state = None
        for step in [*steps, steps[-1].detach()]:
            state = cell(step, state)
        for _ in range(2):
            sum(part.sum() for name, part in zip("hc", state, strict=True) if loss in (name, "both")).backward(
                retain_graph=True
            )
    state, leaves = None, [step.detach().requires_grad_() for step in [*x, x[-1]]]
    for leaf in leaves:
        state = cell(leaf, state)
    sum(part.sum() for name, part in zip("hc", state, strict=True) if loss in (name, "both")).backward()
    for call in range(2):
        assert of(seen, call)[0] == list(range(6))
        np.testing.assert_allclose(of(seen, call)[1], [leaf.grad.double().norm() for leaf in leaves], rtol=1e-6)


def test_an_input_without_a_batch_and_one_given_by_keyword():
    torch.manual_seed(0)
    lstm, x = nn.LSTM(D, H, batch_first=True), torch.randn(6, D, requires_grad=True)
    with watch(lstm) as seen:
        lstm(input=x * 1, hx=(torch.zeros(1, H), torch.ones(1, H)))[0].sum().backward()
    np.testing.assert_allclose(of(seen)[1], x.grad.norm(dim=1), rtol=1e-6)
    assert [kind.value for kind in seen.record.traces[0].calls[0].state.kinds] == ["zero", "replaced"]


def test_packed_rows_that_have_ended_count_nothing():
    torch.manual_seed(0)
    gru, x = nn.GRU(D, H), torch.randn(6, B, D, requires_grad=True)
    with watch(gru) as seen:
        gru(pack_padded_sequence(x, torch.tensor([6, 2, 4]), enforce_sorted=False))[0].data.sum().backward()
    np.testing.assert_allclose(of(seen)[1], x.grad.flatten(1).norm(dim=1), rtol=1e-6)


def test_gradients_that_almost_vanish_are_no_zeros():
    """Their squares would be, in float32 and in float64."""
    for dtype, factor in ((torch.float32, 1e-30), (torch.float64, 1e-250)):
        rnn = nn.RNN(D, H, dtype=dtype)
        with watch(rnn) as seen:
            (rnn(torch.randn(4, B, D, dtype=dtype))[0].sum() * factor).backward()
        assert all(0 < norm < 1e3 * factor for norm in of(seen)[1])


def test_each_call_is_a_row_of_autograd_grad_too():
    torch.manual_seed(0)
    cell, x = nn.GRUCell(D, H), torch.randn(4, B, D)
    with watch(cell) as seen:
        state = None
        for step in x:
            state = cell(step, state)
        first = torch.autograd.grad(state.sum(), list(cell.parameters()), create_graph=True)
        sum(g.square().sum() for g in first).backward()
    assert len(seen.record.backwards) == 2
    assert of(seen, 0)[0] == [0, 1, 2, 3]
    assert np.isnan(of(seen, 0)[1]).all()  # no gradient of the inputs was requested
    assert of(seen, 1)[0] == [0, 1, 2]  # the last output enters its own gradient only through the gates
    assert "no gradient of the input was computed" in str(seen)


def test_a_step_is_reached_through_its_outputs_and_not_because_its_input_is_used_elsewhere():
    cell, x = Tanh(), torch.randn(B, D, requires_grad=True)
    with watch(cell, module=cell, time_axis=None) as seen:
        context = x * 2  # the same at each step
        state = cell(context, cell(context).detach())
        (state.sum() + context.sum()).backward()
    assert of(seen)[0] == [1]


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputed_forward_calls_are_no_steps(reentrant):
    torch.manual_seed(0)
    lstm = nn.LSTM(D, H)
    with watch(lstm) as seen:
        for _ in range(2):
            x = torch.randn(6, B, D, requires_grad=True)
            checkpoint(lstm, x, use_reentrant=reentrant)[0].sum().backward()
    if reentrant:
        assert "inside a reentrant checkpoint none can be. Pass use_reentrant=False to checkpoint." in str(seen)
    else:
        assert seen.record.traces[0].steps == 12 and of(seen, 1)[0] == list(range(6, 12))


def test_mixed_precision_with_a_scaler():
    torch.manual_seed(0)
    lstm = nn.LSTM(D, H)
    optimizer, scaler, state = torch.optim.SGD(lstm.parameters(), 0.1), torch.amp.GradScaler("cpu"), None
    with watch(lstm) as seen:
        for _ in range(2):
            with torch.autocast("cpu", torch.bfloat16):
                y, state = lstm(torch.randn(6, B, D), state and tuple(map(detach, state)))
            scaler.scale(y.float().sum()).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(lstm.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
    assert seen.is_blocks(6) and of(seen)[1][0] > 100


def test_a_frozen_embedding_and_a_model_without_anything_to_train():
    torch.manual_seed(0)
    model = nn.ModuleDict({"embedding": nn.Embedding(7, D), "gru": nn.GRU(D, H)})
    model["embedding"].requires_grad_(False)
    tokens = torch.randint(7, (6, B))
    with watch(model) as seen:
        model["gru"](model["embedding"](tokens))[0].sum().backward()
    assert "The input of gru needs no gradient; it was made to need one while watched." in str(seen)
    model.requires_grad_(False)
    with watch(model) as seen:
        assert not model["gru"](model["embedding"](tokens))[0].requires_grad
    assert not seen.record.traces[0].calls


@pytest.mark.parametrize("unit", [lambda: nn.LSTM(D, H), lambda: nn.LSTMCell(D, H)], ids=["layer", "cell"])
def test_compiled_after_the_watch_begins_or_before(unit):
    torch._dynamo.reset()
    model = unit()
    x = torch.randn(*([4] if isinstance(model, nn.LSTM) else []), B, D)

    def loop(run):
        for _ in range(2):
            run(x)[0].sum().backward()

    with watch(model) as seen:
        compiled = torch.compile(lambda x: model(x), backend="eager")
        loop(compiled)
    assert len(seen.record.backwards) == 2
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: model(x), backend="eager")
    loop(compiled)
    with watch(model) as seen:
        loop(compiled)
    said = "No step was seen: it was not called, or it ran compiled before the watch began."
    assert seen.record.backwards or said in str(seen)


def test_inside_torch_func_nothing_is_watched_and_that_is_said():
    cell = nn.GRUCell(D, H)
    with watch(cell) as seen:
        torch.func.grad(lambda x: cell(x).sum())(torch.randn(B, D))
    assert "1 forward call ran inside a transformation of torch.func, which cannot be watched" in str(seen)


def test_a_tensor_is_watched():
    x = torch.randn(B, 6, D, dtype=torch.float64)
    scan = Scan().double()
    with watch(x, time_axis=1) as seen:
        scan(x.transpose(0, 1))[0][3].sum().backward()
    assert of(seen)[0] == list(range(6)) and [norm > 0 for norm in of(seen)[1]] == [True] * 4 + [False] * 2
    assert "truncated" not in str(seen)


def test_a_state_that_was_not_detached_explains_the_error():
    lstm = nn.LSTM(D, H)
    optimizer = torch.optim.SGD(lstm.parameters(), 0.1)
    for retain in (False, True):  # "a second time", and "modified by an inplace operation"
        with pytest.raises(RuntimeError) as raised, watch(lstm) as seen:
            state = None
            for _ in range(2):
                y, state = lstm(torch.randn(6, B, D), state)
                y.sum().backward(retain_graph=retain)
                optimizer.step()
        assert "the state of LSTM comes from before the last call of backward" in raised.value.__notes__[0]
        assert "Call 2 reaches steps of call 1, and ended there with an error: the state was not detached." in str(seen)
    with pytest.raises(RuntimeError) as raised, watch(lstm):
        loss = lstm(torch.randn(6, B, D))[0].sum()
        loss.backward()
        loss.backward()
    assert not hasattr(raised.value, "__notes__")


def test_several_layers_of_cells_are_distinguished():
    torch.manual_seed(0)
    cells = nn.ModuleList([nn.GRUCell(D, D), nn.GRUCell(D, D)])
    with watch(cells) as seen:
        states = [None, None]
        for x in torch.randn(5, B, D):
            for layer, cell in enumerate(cells):
                x = states[layer] = cell(x, states[layer])
        x.sum().backward()
    assert [trace.name for trace in seen.record.traces] == ["0", "1"]
    assert str(seen).startswith("0, 1 (GRUCell): 5 steps in 5 forward calls, 1 call of backward")


@pytest.mark.parametrize(("watched", "chosen", "said"), [
    (lambda: nn.Linear(2, 2), {}, "Linear has no recurrent module of torch.nn: name your own with module=model.cell"),
    (Tanh, {"module": Tanh()}, "Tanh does not say where time is: give time_axis=0 or 1"),
    (lambda: torch.zeros(3, dtype=torch.int64), {"time_axis": 0}, "torch.int64 has no gradient: watch what is"),
    (lambda: torch.zeros(3, 5, D), {}, r"\(3, 5, 4\) does not say where time is"),
    (lambda: torch.zeros(3, 5), {"time_axis": 2}, "does not say where time is"),
])  # fmt: skip
def test_a_module_that_cannot_be_watched_is_one_sentence(watched, chosen, said):
    with pytest.raises(ValueError, match=said), watch(watched(), **chosen):
        pass


def test_an_input_of_whole_numbers_or_without_time_is_one_sentence():
    embedding = nn.Embedding(7, D)
    with watch(embedding, module=embedding, time_axis=0), pytest.raises(ValueError, match="torch.int64, which has no"):
        embedding(torch.tensor([1, 2]))
    linear = nn.Linear(D, D)
    with watch(linear, module=linear, time_axis=2), pytest.raises(ValueError, match="has no axis 2 of time"):
        linear(torch.zeros(3, D))
