"""PyTorch's layers and cells pass every law, and so does a correct module; adapters with mistakes do not."""

import pytest

from bpttcheck import LAWS, judge
from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.realising import realise
from bpttcheck.targets import TargetError, load

torch = pytest.importorskip("torch", reason="torch is not installed: python -m pip install '.[torch]', or tox -e torch")

NEEDED = {"own-forward-derivative", "forward-mode-duality", "own-loss-derivative", "xray-regular", "xray-links"}
OF_KNOWN_CELLS = {"pullback-reference", "regular-reference", "links-reference", "objective-gradient-reference"}
OF_LENGTHS = {"ragged-row-alone", "padding-ignored", "reverse-is-flipped"}


def layers(**options):
    from bpttcheck.adapters.torch import TorchLayers

    return TorchLayers(**options)


def cells():
    from bpttcheck.adapters.torch_cells import TorchCells

    return TorchCells()


def statuses(subject, laws, examples=8, **chosen):
    laws = [law for law in LAWS if law.id in laws]
    results = list(judge(subject, laws, examples=examples, seed=2, shrink=False, **chosen))
    assert not [w for r in results for w in r.warnings if "graph does not lead to initial" not in w]
    return {(r.cell, r.law): r.status for r in results}


def failed(subject, cell, *laws):
    """Which of some laws fail; all others pass."""
    found = statuses(subject, laws, examples=32, cells=[cell], dtypes=["float64"])
    assert set(found.values()) <= {"passed", "failed"} and len(found) == len(laws), found
    return {law for (_, law), status in found.items() if status == "failed"}


@pytest.mark.parametrize(("target", "laws"), [
    ("torch", NEEDED | OF_KNOWN_CELLS | OF_LENGTHS),
    pytest.param("torch-batch-first", OF_KNOWN_CELLS | OF_LENGTHS, marks=pytest.mark.thorough),
    ("torch-cells", NEEDED | OF_KNOWN_CELLS),
])  # fmt: skip
def test_the_laws_that_matter_run_and_pass(target, laws):
    found = statuses(load(target), laws, examples=24, dtypes=["float64"])
    others = {place for place, status in found.items() if status != "passed"}
    assert others == {place for place in found if place[0] == "lstm-projected" and place[1] in OF_KNOWN_CELLS}


def test_forward_mode_where_the_layer_has_none():
    """In float32 the LSTM is one kernel of oneDNN."""
    found = statuses(layers(), {"forward-mode-duality"}, cells=["lstm"], dtypes=["float32"])
    assert set(found.values()) == {"passed"}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_16_bits(dtype):
    subject = load("torch-16-bits")
    found = statuses(subject, {"forward-reference", "pullback-reference"}, cells=["lstm"], dtypes=[dtype])
    assert set(found.values()) == {"passed"}


def test_the_laws_that_run_on_a_projected_lstm():
    case, cotangents = realise(Draw(3, 2, 5, 6, 2, True, False, False, False, 0.5, 0), *projected())
    assert case.parameters[1][0]["weight_ih"].shape == (24, 6) and cotangents.y.shape == (3, 2, 6)
    assert {name: state.shape for name, state in case.initial[1][1].items()} == {"h": (2, 3), "c": (2, 6)}


def projected():
    from bpttcheck.adapters.torch import PROJECTED

    return PROJECTED, "float64", layers().capabilities()


def test_biases_that_change_places():
    """Only in the GRU they differ, because its reset gate stands between them."""
    subject = layers()
    right = subject.parameters

    def parameters(module, case):
        return tuple(tuple({**p, "b_hx": p["b_hh"], "b_hh": p["b_hx"]} for p in layer) for layer in right(module, case))

    subject.parameters = parameters
    laws = "forward-reference", "pullback-reference", "own-forward-derivative"
    assert failed(subject, "gru-after", *laws) == {"forward-reference", "pullback-reference"}
    assert not failed(subject, "lstm", *laws)


def without_history(unroll):
    """States that are carried into a segment, also the initial ones, no longer have a gradient."""

    def cut(cell, module, x, initial, lengths):
        initial = tuple(tuple({n: s.detach() for n, s in p.items()} for p in k) for k in initial)
        return unroll(cell, module, x, initial, lengths)

    return cut


@pytest.mark.parametrize(("subject", "cell"), [(layers, "lstm"), (layers, "lstm-projected"), (cells, "gru-after")])
def test_initial_states_without_a_gradient(subject, cell):
    subject = subject()
    subject.unroll = without_history(subject.unroll)
    broken = {"own-forward-derivative", "split-resume-pullback"}
    assert failed(subject, cell, *broken, "split-resume-states") == broken


@pytest.mark.parametrize(("subject", "cell"), [(layers, "rnn-tanh"), (layers, "lstm-projected"), (cells, "lstm")])
def test_a_cut_that_is_not_made(subject, cell, monkeypatch):
    monkeypatch.setattr("bpttcheck.adapters.torch_subject.linked", lambda state, xi: state)
    broken = {"tau-one-has-no-temporal-term", "xray-regular", "xray-links"}
    assert failed(subject(), cell, *broken, "own-forward-derivative") == broken


@pytest.mark.parametrize("parameter", ["weight_hr", "weight_hh"])
def test_a_projection_with_an_incorrect_gradient(parameter):
    subject = layers()
    right = subject.parameters

    def parameters(module, case):
        found = right(module, case)
        found[0][0][parameter].register_hook(lambda gradient: 1.5 * gradient)
        return found

    subject.parameters = parameters
    broken = {"own-forward-derivative", "forward-mode-duality"}
    assert failed(subject, "lstm-projected", *broken, "split-resume-states") == broken


def test_time_and_batch_that_change_places():
    """Where y is not brought back to (T, B, ...)."""
    subject = layers(batch_first=True)
    right = subject.unroll

    def unroll(*arguments):
        y, final = right(*arguments)
        return y.transpose(0, 1), final

    subject.unroll = unroll
    assert failed(subject, "lstm", "outputs-complete")


def test_everything_is_made_on_the_device():
    """Tensors on another device cannot be mixed with tensors without numbers."""
    subject = layers()
    subject.device = torch.device("meta")
    for cell in subject.capabilities().cells:
        case, _ = realise(
            Draw(3, 2, 5, 6, 2, True, False, False, False, 0.5, 0), cell, "float32", layers().capabilities()
        )
        states = tuple(
            tuple({n: torch.empty(s.shape, device="meta") for n, s in p.items()} for p in k) for k in case.initial
        )
        x = torch.empty(case.x.shape, device="meta")
        y, final = subject.unroll(cell, subject.module(case), x, states, None)
        assert {y.device.type, *(s.device.type for k in final for p in k for s in p.values())} == {"meta"}


def test_without_a_gpu_a_sentence():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(TargetError, match=r"^device cuda was requested, but torch .* finds no CUDA device$"):
        load("torch-cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_no_false_alarm_on_a_gpu():
    subject = load("torch-cuda")
    assert set(statuses(subject, {law.id for law in LAWS}).values()) <= {"passed", "skipped", "vacuous"}


class WrongTanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a):
        ctx.save_for_backward(torch.tanh(a))
        return torch.tanh(a)

    @staticmethod
    def backward(ctx, g):
        return g * (1 - ctx.saved_tensors[0])


class Minimal(torch.nn.Module):
    """A minimal gated unit (Zhou et al., 2016), which the reference does not know."""

    def __init__(self, D, H, tanh=torch.tanh):
        super().__init__()
        self.forget, self.new, self.tanh = torch.nn.Linear(D + H, H), torch.nn.Linear(D + H, H), tanh

    def forward(self, x, states):
        h, y = states["h"], []
        for x_t in x:
            f = torch.sigmoid(self.forget(torch.cat([x_t, h], -1)))
            h = (1 - f) * h + f * self.tanh(self.new(torch.cat([x_t, f * h], -1)))
            y.append(h)
        return torch.stack(y), {"h": h}


@pytest.mark.parametrize(("tanh", "broken", "skipped"), [
    (torch.tanh, set(), set()),
    (WrongTanh.apply, {"own-forward-derivative"}, {"forward-mode-duality"}),
])  # fmt: skip
def test_a_module_without_an_adapter(tanh, broken, skipped):
    from bpttcheck.adapters.torch_module import TorchModule

    subject = TorchModule(lambda D, H: Minimal(D, H, tanh), name="minimal-gated-unit", forward_mode=not skipped)
    found = statuses(subject, {"own-forward-derivative", "tied-gradient-is-sum", "xray-links", "forward-mode-duality"})
    assert {law for (_, law), status in found.items() if status == "failed"} == broken
    assert {law for (_, law), status in found.items() if status == "skipped"} == skipped


class Halved(Minimal):
    """Its output is half of its state."""

    def forward(self, x, states):
        y, states = super().forward(x, states)
        return y[..., ::2], states


def test_a_module_whose_outputs_are_not_as_wide_as_its_states():
    from bpttcheck.adapters.torch_module import TorchModule

    right = TorchModule(Halved, width=lambda H: (H + 1) // 2)
    assert not failed(right, "Halved", "outputs-complete", "own-forward-derivative")
    assert failed(TorchModule(Halved), "Halved", "outputs-complete")


def test_arrays_of_another_device_come_in_one_transfer(monkeypatch):
    subject, transfers, cpu = layers(), [], torch.Tensor.cpu
    capabilities = subject.capabilities()
    draw = Draw(3, 2, 4, 5, 1, False, False, False, False, 0.5, 7)
    case, _ = realise(draw, capabilities.cells[0], "float32", capabilities)
    tensors = {"a": torch.randn(3, 2), "b": torch.randn(()), "c": torch.randn(0, 4), "d": torch.randn(4, 3).mT}
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: transfers.append(tensor.numel()) or cpu(tensor))
    subject.device = torch.device("meta")  # there is no other device here: the tensors are on this one
    arrays = dict(zip(tensors, subject._arrays(case, [*tensors.values()]), strict=True))
    assert transfers[0] == sum(tensor.numel() for tensor in tensors.values())
    assert all(arrays[name].shape == t.shape and (arrays[name] == t.numpy()).all() for name, t in tensors.items())
