"""A watched loop computes the same bits, and nothing of it is kept alive."""

import copy
import gc
import io
import weakref

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: tox -e torch")

from torch import nn  # noqa: E402

from bpttcheck.torch import watch  # noqa: E402
from bpttcheck.watching.record import Record  # noqa: E402
from bpttcheck.watching.torch_hooks import Hooks  # noqa: E402
from bpttcheck.watching.torch_steps import layout_of  # noqa: E402

from .loops import UNITS, B, D, H, Model, Tanh, detach, keep, options, train, zeros  # noqa: E402


def trained(model, loop, **chosen):
    """Parameters and gradients after a loop, watched or not."""
    found = []
    for watched in (False, True):
        own = copy.deepcopy(model)
        torch.manual_seed(3)
        if watched:
            unit = getattr(own, "unit", None) if chosen else None
            with watch(own, module=unit, **chosen) as seen:
                loop(own)
            assert seen.record.backwards and seen.record.traces[0].steps
        else:
            loop(own)
        found.append([t for p in own.parameters() for t in (p.detach(), p.grad) if t is not None])
    return found


@pytest.mark.parametrize("cut", [detach, zeros, keep])
@pytest.mark.parametrize("name", UNITS)
def test_parameters_are_the_same_bit_by_bit(name, cut):
    torch.manual_seed(0)
    plain, watched = trained(Model(name), lambda model: train(model, cut, retain=cut is keep), **options(name))
    assert len(plain) == len(watched) and all(map(torch.equal, plain, watched))


class Residual(nn.Module):
    """Its cell uses its input twice, and the output adds the input, which a parameter and a buffer make."""

    def __init__(self, given):
        super().__init__()
        self.unit, self.start, self.given = Tanh(D, D), nn.Parameter(torch.randn(B, D)), given

    def forward(self):
        x, state, outputs = self.start, None, []
        for _ in range(5):
            given = {"computed": x * 1.5, "parameter": self.start, "data": x.detach()}[self.given]
            state = self.unit(given, state)
            outputs.append(state + given)
            x = state + given
        return torch.stack(outputs)


@pytest.mark.parametrize("given", ["computed", "parameter", "data"])
def test_inputs_that_are_used_elsewhere_too(given):
    def loop(model):
        for _ in range(3):
            model().square().sum().backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= 0.1 * (0 if p.grad is None else p.grad)

    torch.manual_seed(0)
    plain, watched = trained(Residual(given), loop, time_axis=None)
    assert all(map(torch.equal, plain, watched))


def test_tensors_and_graphs_die_as_they_do_without():
    """Of a loop that goes on, at most the last state stays."""
    lstm, cell = nn.LSTM(D, H), nn.LSTMCell(D, H)
    model = nn.ModuleList([lstm, cell])
    alive = []
    with watch(model) as seen:
        for _ in range(3):
            x = torch.randn(6, B, D)
            y, (h, c) = lstm(x)
            h, c = cell(x[0], (h[0], c[0]))
            (y.sum() + h.sum()).backward()
            alive += [weakref.ref(t) for t in (x, y, h, c)] + [weakref.ref(y.grad_fn.metadata.__class__)]
        del x, y, h, c
        gc.collect()
        assert not any(isinstance(ref(), torch.Tensor) for ref in alive)
    assert len(seen.record.backwards) == 3


def test_memory_grows_by_one_input():
    """The most memory that PyTorch holds, by its own count."""
    torch.manual_seed(0)
    lstm = nn.LSTM(64, 64)
    inputs = [torch.randn(30, 16, 64) for _ in range(3)]

    def peak(watched):
        lstm.zero_grad(set_to_none=False)
        activities = [torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=activities, profile_memory=True) as profiled:
            state = None
            for x in inputs:
                y, state = lstm(x, state and tuple(map(detach, state)))
                y.square().sum().backward()
        held = most = 0
        for event in profiled.profiler.kineto_results.events():
            if event.name() == "[memory]":
                held += event.nbytes()
                most = max(most, held)
        return most

    peak(False)
    without = peak(False)
    with watch(lstm):
        watched = peak(True)
    assert watched - without <= inputs[0].nbytes + 4096


def test_a_watched_model_is_copied_and_saved_as_it_is():
    model = nn.LSTM(D, H)
    with watch(model):
        model(torch.randn(6, B, D))
        copied = copy.deepcopy(model)
        file = io.BytesIO()
        torch.save(model, file)
    assert not copied._forward_hooks and not model._forward_hooks
    file.seek(0)
    assert not torch.load(file, weights_only=False)._forward_pre_hooks


def test_nothing_is_left_behind():
    from torch.nn.modules import module

    before = len(module._global_forward_hooks), len(module._global_forward_pre_hooks)
    lstm, x = nn.LSTM(D, H), torch.randn(6, B, D)
    with pytest.raises(KeyError), watch(lstm):
        raise KeyError
    with watch(x, time_axis=0):
        y, _ = lstm(x)
        assert x.requires_grad
    assert not x.requires_grad and x.grad is None
    assert before == (len(module._global_forward_hooks), len(module._global_forward_pre_hooks))
    with watch(lstm) as seen:
        y, _ = lstm(torch.randn(6, B, D))
    y.sum().backward()
    assert not seen.record.backwards


def test_a_state_of_inference_mode_is_taken_as_it_is():
    """Such tensors do not count how often they are written to."""

    class Sum(nn.Module):
        def forward(self, x, state):
            return x + state

    cell = Sum()
    x = torch.ones(B, D, requires_grad=True)
    with torch.inference_mode():
        start = torch.ones(B, D)
    with watch(cell, module=cell, time_axis=None) as seen:
        for _ in range(2):
            cell(x, start).sum().backward()
    assert len(seen.record.backwards) == 2


def test_hooks_of_the_loop_on_outputs_still_work_and_the_watch_leaves_no_trace_on_them(recwarn):
    called = []

    class Hooked(nn.GRUCell):
        def forward(self, x, h=None):
            h = super().forward(x, h)
            h.register_hook(lambda gradient: called.append("inside"))
            return h

    cell = nn.GRUCell(D, H)
    cell.__class__ = Hooked
    with watch(cell) as seen:
        hidden = cell(torch.randn(B, D), cell(torch.randn(B, D)))
        cell.__class__ = nn.GRUCell
        hidden.register_hook(lambda gradient: called.append("outside"))
        last = cell(torch.randn(B, D), hidden)
        torch.save(last, io.BytesIO())  # warns of hooks
        last.sum().backward()
    assert sorted(called) == ["inside", "inside", "outside"] and not recwarn.list
    (reached,) = seen.record.backwards[0].reached.values()
    assert reached.steps.tolist() == [0, 1, 2]


def test_a_module_that_dies_is_not_taken_for_the_next_one_at_its_place():
    record = Record()
    hooks = Hooks(record, lambda module: ("cell", layout_of(module)), lambda: None)
    hooks.start()
    try:
        for _ in range(3):
            nn.GRUCell(D, H)(torch.randn(B, D)).sum().backward()
            gc.collect()
    finally:
        hooks.stop()
    assert [trace.name for trace in record.traces] == ["cell", "cell (2)", "cell (3)"]
    assert [trace.steps for trace in record.traces] == [1, 1, 1]
