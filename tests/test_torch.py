"""PyTorch's layers pass every law, and so does a module that is right."""

import pytest

from bpttcheck import LAWS, judge

torch = pytest.importorskip("torch", reason="torch is not installed: python -m pip install '.[torch]', or tox -e torch")


def test_no_false_alarm():
    from bpttcheck.adapters.torch import TorchLayers

    results = list(judge(TorchLayers(), LAWS, examples=30, seed=2))
    assert {r.status for r in results} == {"passed", "skipped"}
    for result in results:
        reasons = (
            "declared",
            "known to be smooth",
            "rounding hides",
            "offers no jvp",
            "takes a weight",
            "take a weight",
            "not known to saturate",
        )
        assert result.status == "passed" or any(reason in result.reason for reason in reasons)


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


@pytest.mark.parametrize(("tanh", "broken"), [(torch.tanh, set()), (WrongTanh.apply, {"own-forward-derivative"})])
def test_a_module_without_an_adapter(tanh, broken):
    from bpttcheck.adapters.torch_module import TorchModule

    subject = TorchModule(lambda D, H: Minimal(D, H, tanh), name="minimal-gated-unit")
    results = list(judge(subject, LAWS, examples=15, seed=1, shrink=False))
    assert {r.law for r in results if r.status in ("failed", "error")} == broken
    assert {"tied-gradient-is-sum", "xray-links"} <= {r.law for r in results if r.status == "passed"}
