"""A compiled correct network passes the laws that its source passes: tox -e compiled.

Each new shape is compiled, so there are few sizes.
"""

import io
import shutil
import warnings

import numpy as np
import pytest

from bpttcheck import LAWS, Capabilities, CustomCell, Outputs, judge
from bpttcheck.running.own import Own
from bpttcheck.running.results import BAD
from bpttref import GRU, LSTM, RNN

torch = pytest.importorskip("torch", reason="torch is not installed: tox -e compiled")
jax = pytest.importorskip("jax", reason="jax is not installed: tox -e compiled")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: tox -e compiled")
if shutil.which("g++") is None:
    pytest.skip("torch.compile needs a compiler, g++", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compilers' own, where they are imported

FEW = {"T": (2, 4), "B": (3,), "D": (2,), "H": (5,)}
CELL = CustomCell("gated", lambda D, H: {"W": (D, 2 * H), "U": (H, 2 * H), "b": (2 * H,)}, lambda H: {"h": (H,)})
NEEDED = {"forward-reference", "pullback-reference", "own-forward-derivative", "causality", "split-resume-pullback"}


@pytest.fixture(autouse=True)
def compiled_each_time(monkeypatch, tmp_path):
    """Each shape and choice of gradients is compiled, and a backward pass may be called twice.

    PyTorch's cache on disk may hold one that may not: see the findings.
    """
    import torch._dynamo
    import torch._functorch.config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    keep = torch._functorch.config.patch(donated_buffer=False)
    with torch._dynamo.config.patch(recompile_limit=1000), keep:
        yield


def gated(library, sigmoid, cut=lambda h: h):
    """A minimal gated unit over all steps: h' = z h + (1 - z) tanh(c)."""

    def run(p, x, states):
        h, ys = states["h"], []
        for now in x:
            a = now @ p["W"] + cut(h) @ p["U"] + p["b"]
            H = a.shape[-1] // 2
            z = sigmoid(a[..., :H])
            h = z * h + (1 - z) * library.tanh(a[..., H:])
            ys.append(h)
        return library.stack(ys), {"h": h}

    return run


def in_torch(function):
    from bpttcheck.adapters.torch_function import TorchFunction

    return TorchFunction(function, cell=CELL, name="gated", sizes=FEW, dtypes=("float32",))


def in_jax(function, **options):
    from bpttcheck.adapters.jax_function import JaxFunction

    return JaxFunction(function, cell=CELL, name="gated", sizes=FEW, dtypes=("float32",), **options)


def statuses(subject, source, laws=LAWS, examples=12):
    """By law; the numbers of the source in float64 are the correct ones."""
    options = {"dtypes": ["float32"], "examples": examples, "seed": 1, "shrink": False}
    found = list(judge(subject, laws, own=Own(against=source), **options))
    return {(result.cell, result.law): result.status for result in found}, [r.reason for r in found if r.status in BAD]


def assert_passes(subject, source, needed=NEEDED, **options):
    found, reasons = statuses(subject, source, **options)
    assert not reasons
    assert needed <= {law for (_, law), status in found.items() if status == "passed"}


@pytest.mark.parametrize("mode", ["default", "max-autotune"])
def test_torch_compile(mode):
    source = gated(torch, torch.sigmoid)
    assert_passes(in_torch(torch.compile(source, mode=mode)), right())


def right():
    """The source in float64, not compiled."""
    from bpttcheck.adapters.torch_function import TorchFunction

    return TorchFunction(gated(torch, torch.sigmoid), cell=CELL, name="gated", sizes=FEW)


def test_torch_compile_of_a_network_that_is_cut():
    found, _ = statuses(in_torch(torch.compile(gated(torch, torch.sigmoid, lambda h: h.detach()))), right())
    assert found["gated", "pullback-reference"] == "failed" and found["gated", "forward-reference"] == "passed"


def test_jax_jit_that_gives_its_initial_states_away():
    """Their memory is used again for the final states. Each call of a pullback is compiled, so there are few laws."""
    source = jax.jit(gated(jax.numpy, jax.nn.sigmoid), donate_argnums=(2,))
    laws = [law for law in LAWS if law.id in NEEDED | {"same-call-same-result", "pullback-twice", "pulled-once"}]
    assert_passes(in_jax(source, jit=False), right(), laws=laws, examples=4)


class Exported:
    """A layer of PyTorch, trained or not, as the graph that ``torch.onnx.export`` writes, in ONNX Runtime."""

    name = "exported"

    def __init__(self, slip=False):
        from bpttcheck.adapters.torch import TorchLayers

        self.source, self._slip = TorchLayers(), slip

    def capabilities(self):
        return Capabilities(cells=(RNN("tanh"), LSTM(), GRU("after")), dtypes=("float32",), layers=2,
                            bidirectional=True, gradients=())  # fmt: skip

    def vjp(self, case):
        layer = self.source.module(case)
        with torch.no_grad():
            for own, given in zip(self.source.parameters(layer, case), case.parameters, strict=True):
                for tensors, arrays in zip(own, given, strict=True):
                    for name, tensor in tensors.items():
                        tensor.copy_(torch.from_numpy(np.array(arrays[name])))
        names = case.cell.states
        states = [np.stack([leaf[name] for k in case.initial for leaf in k]) for name in names]
        given = [torch.from_numpy(state * (1 - self._slip)) for state in states]
        x, file = torch.from_numpy(np.array(case.x)), io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes are fixed in the graph: this is the warning
            torch.onnx.export(layer, (x, tuple(given) if len(given) > 1 else given[0]), file, dynamo=False)
        session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
        feeds = dict(zip([one.name for one in session.get_inputs()], [x, *given], strict=True))
        y, *after = session.run(None, {name: tensor.numpy() for name, tensor in feeds.items()})
        width = len(case.parameters[0])
        final = tuple(
            tuple({name: a[k * width + d] for name, a in zip(names, after, strict=True)} for d in range(width))
            for k in range(len(case.parameters))
        )
        return Outputs(y, final), None


def test_onnx_export():
    exported = Exported()
    assert_passes(exported, exported.source, {"forward-reference", "causality", "split-resume-states"})


def test_onnx_export_that_forgets_the_initial_states():
    slipping = Exported(slip=True)
    found, _ = statuses(slipping, slipping.source)
    assert found["lstm", "forward-reference"] == "failed"
