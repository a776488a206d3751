"""Single outputs: how far they reach, and whether sequences and rows leak into each other."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: tox -e torch")

from torch import nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence  # noqa: E402

from bpttcheck.torch import watch  # noqa: E402

from .loops import UNITS, B, D, H, Model, Tanh, detach, options, train  # noqa: E402


@pytest.mark.parametrize("name", UNITS)
def test_parameters_and_the_triangle_are_those_without_probing(name):
    found = []
    for probe in (0, 3):
        torch.manual_seed(0)
        model = Model(name)
        with watch(model, module=model.unit if options(name) else None, probe=probe, **options(name)) as seen:
            train(model, detach)
        found.append((seen, [p.detach() for p in model.parameters()]))
    (plain, before), (probed, after) = found
    assert all(map(torch.equal, before, after))
    assert len(probed.record.probed) == 6 and not plain.record.probed
    for a, b in zip(plain.record.backwards, probed.record.backwards, strict=True):
        assert [r.norms.tolist() for r in a.reached.values()] == [r.norms.tolist() for r in b.reached.values()]


def test_norms_of_single_outputs_equal_autograd():
    torch.manual_seed(0)
    lstm, x = nn.LSTM(D, H), torch.randn(7, B, D, requires_grad=True)
    with watch(lstm, probe=1) as seen:
        y, _ = lstm(x * 1)
        y.sum().backward()
    (one,) = seen.record.probed
    assert (one.step, one.row, one.norms.shape) == (6, 0, (7, B))
    y, _ = lstm(x)
    along = torch.randn(H, generator=torch.Generator().manual_seed(0))
    (expected,) = torch.autograd.grad(y[6, 0] @ along, x)
    np.testing.assert_allclose(one.norms, expected.norm(dim=2), rtol=1e-5)
    assert "1 gradient of single outputs was taken in the first calls of backward" in str(seen)


def test_the_decay_is_reported():
    """Each step halves the gradient of an identity in a half: 24 halvings are 2^-24."""
    torch.manual_seed(0)
    rnn = nn.RNN(D, H, dtype=torch.float64, nonlinearity="relu")
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(0.5 * torch.eye(H))
        rnn.bias_hh_l0.fill_(10.0)
    with watch(rnn, probe=1) as seen:
        rnn(torch.randn(40, B, D, dtype=torch.float64))[0].sum().backward()
    assert (
        "Of the gradient of output 39, half of the norm comes from its own step; "
        "each step beyond the last 25 has less than 2^-24 of the largest."
    ) in str(seen)


@pytest.mark.parametrize("resets", [True, False])
def test_documents_that_are_packed_into_one_row(resets):
    torch.manual_seed(0)
    starts = np.zeros((12, B), bool)
    starts[0] = starts[7, 0] = starts[4, 1] = True
    cell = nn.GRUCell(D, H)
    with watch(cell, probe=6, starts=starts) as seen:
        state = torch.zeros(B, H)
        for t in range(12):
            kept = torch.as_tensor(~starts[t, :, None], dtype=torch.float32) if resets else 1
            state = cell(torch.randn(B, D), state * kept)
        state.sum().backward()
    if resets:
        assert "Outputs that reach across a boundary: none of 6." in str(seen)
    else:
        assert (
            "Output 11 of row 0, whose sequence begins at step 7, reaches back to step 0. "
            "Outputs that reach across a boundary: 2 of 6."
        ) in str(seen)


def test_rows_that_leak_into_each_other():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.norm = Tanh(), nn.BatchNorm1d(H)

        def forward(self, x, state=None):
            return self.norm(self.cell(x, state))

    torch.manual_seed(0)
    for cell, leaks in ((Normed(), True), (Tanh(), False)):
        with watch(cell, module=cell, time_axis=None, probe=2) as seen:
            state = None
            for _ in range(4):
                state = cell(torch.randn(B, D), state)
            state.square().sum().backward()
        assert ("Output 3 of row 0 reaches inputs of other rows (1, 2): rows of the batch leak" in str(seen)) == leaks


def test_states_that_change_rows_inside_a_graph():
    torch.manual_seed(0)
    cell = nn.GRUCell(D, H)
    with watch(cell, probe=1) as seen:
        state = torch.zeros(B, H)
        for _ in range(4):
            state = cell(torch.randn(B, D), state[[1, 2, 0]])
        state.sum().backward()
    assert "Output 3 of row 0 reaches inputs of other rows (1, 2)" in str(seen)


def test_a_packed_sequence_and_an_input_without_a_batch():
    torch.manual_seed(0)
    gru = nn.GRU(D, H)
    with watch(gru, probe=2) as seen:
        gru(pack_padded_sequence(torch.randn(6, B, D), torch.tensor([6, 4, 2])))[0].data.sum().backward()
        gru(torch.randn(5, D))[0].sum().backward()
    assert [one.norms.shape for one in seen.record.probed] == [(6, 1), (6, 1), (5, 1), (5, 1)]
    assert all(one.norms[one.steps <= one.step].all() for one in seen.record.probed)


@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's own, of its compiler
def test_compiled_modules_are_not_probed():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.compile(Tanh(), backend="aot_eager")

        def forward(self, x, state=None):
            return self.inner(x, state)

    torch._dynamo.reset()
    cell = Outer()
    cell(torch.randn(B, D)).sum().backward()
    with watch(cell, module=cell, time_axis=None, probe=2) as seen:
        cell(torch.randn(B, D)).sum().backward()
    assert len(seen.record.backwards) == 1 and not seen.record.probed
    assert "The outputs of Outer ran compiled, and were not probed." in str(seen)


@pytest.mark.parametrize("chosen", [{"starts": np.zeros((5, 2))}, {"starts": np.zeros(5), "probe": 2}])
def test_starts_are_flags_and_need_outputs_to_probe(chosen):
    with pytest.raises(ValueError, match=r"starts are flags \(steps, rows\), and need probe=4"):
        with watch(nn.GRU(D, H), **chosen):
            pass
