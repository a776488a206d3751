"""Any PyTorch module without an adapter: its optional states, its lengths, and the paths that PyTorch takes."""

import pytest

from bpttcheck import LAWS, judge

torch = pytest.importorskip("torch", reason="torch is not installed: python -m pip install '.[torch]', or tox -e torch")

CALLING = {law.id for law in LAWS if law.family == "calling"}
OF_LENGTHS = {"ragged-row-alone", "padding-ignored"}


def wrapped(module, **declared):
    from bpttcheck.adapters.torch_module import TorchModule

    return TorchModule(module, **declared)


def statuses(subject, laws, examples=24, **chosen):
    results = judge(subject, [law for law in LAWS if law.id in laws], examples=examples, seed=2, shrink=False, **chosen)
    return {result.law: result.status for result in results}


def keeps_graph():
    """Whether the backward pass that is running was called with retain_graph."""
    return torch._C._autograd._get_current_graph_task_keep_graph()


class Product(torch.autograd.Function):
    """x V', with a mistake on one of the paths that depend on the wanted results."""

    @staticmethod
    def forward(ctx, x, V, slip):
        ctx.save_for_backward(x, V)
        ctx.slip = slip
        return x @ V.mT

    @staticmethod
    def backward(ctx, g):
        x, V = ctx.saved_tensors
        wrong = {"graph not retained": not keeps_graph(), "dx not wanted": not ctx.needs_input_grad[0]}
        dV = torch.einsum("bh,bd->hd", g, x)
        return g @ V, dV / 2 if wrong.get(ctx.slip) else dV, None


class Elman(torch.nn.Module):
    """h' = tanh(V x + U h): states may be left out, and rows may end early."""

    slip, before = "", ()

    def __init__(self, D, H):
        super().__init__()
        self.V, self.U = (torch.nn.Parameter(torch.empty(H, width)) for width in (D, H))

    def forward(self, x, states=None, lengths=None):
        (T, B, _), cls = x.shape, type(self)
        if states is None:
            h = x.new_full((B, len(self.U)), 0.5 * (self.slip == "states left out"))
        else:
            h = states["h"]
        if self.slip == "no grad before" and cls.before and cls.before[0].shape == h.shape:
            h = cls.before[0].to(h.dtype)
        live = torch.ones(T, B, 1, dtype=torch.bool)
        if lengths is not None and self.slip != "lengths ignored":
            live = (torch.arange(T)[:, None] < lengths)[..., None]
        y = []
        for x_t, live_t in zip(x, live, strict=True):
            new = torch.tanh(Product.apply(x_t, self.V, self.slip) + h @ self.U.mT)
            h = torch.where(live_t, new, h)
            y.append(torch.where(live_t, new, 0))
        cls.before = () if torch.is_grad_enabled() else (h,)
        return torch.stack(y), {"h": h}


class Given(Elman):
    """Its states must be given, and it knows no lengths."""

    def forward(self, x, states):
        return super().forward(x, states)


@pytest.mark.parametrize(("slip", "broken"), [
    ("", set()),
    ("states left out", {"initial-left-out"}),
    ("no grad before", {"outputs-alone-before"}),
    ("graph not retained", {"pulled-once"}),
    ("dx not wanted", {"some-wanted"}),
])  # fmt: skip
def test_pytorch_takes_its_paths(slip, broken):
    """Each law takes a path that the others do not take."""
    slipping = type("Slipping", (Elman,), {"slip": slip})
    subject = wrapped(slipping, forward_mode=False, truncations=())
    found = statuses(subject, CALLING | {"own-forward-derivative", "same-call-same-result"}, dtypes=["float64"])
    assert {law for law, status in found.items() if status != "passed"} == broken


@pytest.mark.parametrize("reusable", [True, False])
def test_the_graph_is_retained_only_where_a_pullback_may_come_again(reusable):
    kept = []

    class Told(Product):
        @staticmethod
        def backward(ctx, g):
            kept.append(keeps_graph())
            return Product.backward(ctx, g)

    class Watched(torch.nn.Module):
        def __init__(self, D, H):
            super().__init__()
            self.V = torch.nn.Parameter(torch.empty(H, D))

        def forward(self, x, states):
            y = torch.stack([Told.apply(x_t, self.V, "") for x_t in x])
            return y, {"h": states["h"] + y.sum(0)}

    subject = wrapped(Watched, forward_mode=False, truncations=(), reusable=reusable)
    assert statuses(subject, {"gradients-complete"}, examples=2) == {"gradients-complete": "passed"}
    assert set(kept) == {reusable}
    kept.clear()
    assert statuses(subject, {"pulled-once"}, examples=2) == {"pulled-once": "passed"}
    assert False in kept


@pytest.mark.parametrize("slip", ["", "lengths ignored"])
def test_lengths_are_handed_on(slip):
    slipping = type("Ragged", (Elman,), {"slip": slip})
    ragged = wrapped(slipping, inputs=("dense", "initial", "lengths"), forward_mode=False, truncations=())
    found = statuses(ragged, OF_LENGTHS, dtypes=["float64"])
    assert set(found.values()) == {"failed" if slip else "passed"}


@pytest.mark.parametrize("factory", [Given, lambda D, H: Given(D, H)], ids=["a class", "a function"])
def test_lengths_that_forward_does_not_take_are_refused_in_a_sentence(factory):
    with pytest.raises(ValueError, match=r"^given is declared to take lengths, but its forward has no parameter 'len"):
        wrapped(factory, name="given", inputs=("dense", "initial", "lengths"))


@pytest.mark.parametrize("factory", [Elman, lambda D, H: Elman(D, H)], ids=["a class", "a function"])
def test_states_may_be_left_out_where_forward_has_a_default_for_them(factory):
    assert wrapped(factory).capabilities().default_initial == "zeros"
    assert wrapped(factory, inputs=("dense", "lengths", "initial")).capabilities().default_initial == "zeros"
    assert wrapped(Given).capabilities().default_initial == "none"
    found = statuses(wrapped(Given, forward_mode=False), {"initial-left-out"}, examples=4)
    assert found == {"initial-left-out": "skipped"}


def test_modules_of_another_size_are_never_built():
    """A factory that refuses other sizes gets only the declared ones."""
    built = []

    def picky(D, H):
        built.append((D, H))
        return Elman(D, H)

    wrapped(picky, name="picky", sizes={"D": (8, 16), "H": (32,)})
    assert set(built) <= {(8, 32), (16, 32)}
