"""Operators in PyTorch without a module: streams by name, matrix states, resets, and the ways in which they are run."""

import re
from functools import partial

import pytest

from bpttcheck import LAWS, CustomCell, judge

from .operators import ATTENTION, POLICY, ROTATING, SIZES

torch = pytest.importorskip("torch", reason="torch is not installed: python -m pip install '.[torch]', or tox -e torch")

DERIVATIVE = {"own-forward-derivative", "forward-mode-duality", "split-resume-pullback", "tau-one-has-no-temporal-term"}
RESETS = {law.id for law in LAWS if law.family == "resets"}


def operator(function, **declared):
    from bpttcheck.adapters.torch_function import TorchFunction

    return TorchFunction(function, **{"sizes": SIZES, "dtypes": ("float64",), **declared})


def results(subject, laws, examples=8):
    return list(judge(subject, [law for law in LAWS if law.id in laws], examples=examples, seed=2, shrink=False))


def wrong(subject, laws, examples=8):
    found = results(subject, laws, examples)
    assert {result.law for result in found} == laws and any(result.status == "passed" for result in found)
    return {result.law for result in found if result.status not in ("passed", "skipped", "vacuous")}


def attention(q, k, v, g, states=None, slip=""):
    S = k.new_zeros(*k.shape[1:], v.shape[-1]) if states is None else states["S"]
    y = []
    for t in range(len(q)):
        decay = g[t].detach() if slip == "decay" else g[t]
        S = decay[..., None] * (S.detach() if slip == "carry" else S) + k[t][..., None] * v[t][..., None, :]
        y.append(torch.einsum("bnd,bndh->bnh", q[t], S))
    return torch.stack(y), {"S": S}


def policy(parameters, seen, action, masked, states, resets, slip=""):
    """A reset takes a row back to its initial state."""
    h, y = states["h"], []
    for t in range(len(seen)):
        if resets is not None:
            start = states["h"].detach() if slip == "start" else states["h"]
            late = resets[t - 1] if slip == "late" and t else resets[t]
            h = torch.where(late[:, None], start, h)
        new = torch.tanh(seen[t] @ parameters["W"] + h @ parameters["U"] + parameters["E"][action[t]])
        h = torch.where(masked[t][:, None], h, new)
        y.append(h)
    return torch.stack(y), {"h": h}


def rotating(parameters, u, states):
    z, y = states["z"], []
    for u_t in u:
        z = parameters["a"] * z + u_t
        y.append((parameters["c"] * z).real)
    return torch.stack(y), {"z": z}


class Scaled(torch.autograd.Function):
    """2 x, whose gradient has another factor where that is planted; there is no jvp."""

    factor = 2.0

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, g):
        return Scaled.factor * g


def scaled(x, states):
    h = states["h"] + Scaled.apply(x).cumsum(0)
    return h, {"h": h[-1]}


SUM = CustomCell("sum", states=lambda D, H: {"h": (D,)}, width=lambda D, H: D)


@pytest.mark.parametrize(("slip", "broken"), [
    ("", set()), ("decay", {"own-forward-derivative"}), ("carry", {"own-forward-derivative"}),
])  # fmt: skip
def test_streams_and_a_matrix_state(slip, broken):
    found = wrong(operator(partial(attention, slip=slip), cell=ATTENTION), DERIVATIVE, 3)
    assert broken <= found and bool(found) == bool(slip)


@pytest.mark.parametrize(("slip", "broken"), [
    ("", set()), ("late", {"nothing-crosses-a-reset"}), ("start", {"reset-is-a-new-row"}),
])  # fmt: skip
def test_a_policy_with_resets_whole_numbers_and_flags(slip, broken):
    """Whole numbers come as integers and flags as flags, also where the sequence is run in pieces."""
    declared = {"inputs": ("dense", "initial", "resets"), "resets_to": "initial"}
    found = wrong(operator(partial(policy, slip=slip), cell=POLICY, **declared), DERIVATIVE | RESETS, 8)
    assert broken <= found and bool(found) == bool(slip)


def test_complex_numbers():
    assert not wrong(operator(rotating, cell=ROTATING), DERIVATIVE)
    conjugated = operator(lambda parameters, u, states: rotating(parameters, u, states), cell=ROTATING)
    right = conjugated.vjp

    def vjp(case):
        outputs, pullback = right(case)

        def mistaken(cotangents):
            gradients = pullback(cotangents)
            ((p,),) = gradients.parameters
            return gradients._replace(parameters=(({**p, "a": p["a"].conj()},),))

        return outputs, mistaken

    conjugated.vjp = vjp
    assert "own-forward-derivative" in wrong(conjugated, DERIVATIVE)


@pytest.mark.parametrize(("factor", "broken"), [(2.0, set()), (1.9, {"own-forward-derivative"})])
def test_a_function_without_a_jvp_is_skipped_with_the_reason(monkeypatch, factor, broken):
    monkeypatch.setattr(Scaled, "factor", factor)
    found = {result.law: result for result in results(operator(scaled, cell=SUM), DERIVATIVE)}
    assert {law for law, result in found.items() if result.status == "failed"} == broken
    duality = found["forward-mode-duality"]
    assert duality.status in ("skipped", "vacuous") and "has no forward mode for it: You must" in duality.reason


def test_the_graph_does_not_lead_to_an_input_and_a_note_says_so():
    found = results(operator(partial(attention, slip="decay"), cell=ATTENTION), {"own-forward-derivative"}, 2)
    assert found[0].warnings == ("UserWarning: PyTorch's graph does not lead to x.g: zero is taken",)
    assert not results(operator(attention, cell=ATTENTION), {"own-forward-derivative"}, 2)[0].warnings


def test_an_output_without_a_graph_is_reported():
    def cut(x, states):
        y, final = scaled(x, states)
        return y.detach(), final

    found = results(operator(cut, cell=SUM), {"own-forward-derivative"})[0]
    assert found.status == "failed" and "graph does not lead from y: zero is taken" in str(found.warnings)


def test_compiled():
    subject = operator(torch.compile(attention, backend="aot_eager"), cell=ATTENTION, sizes={**SIZES, "T": (2,)})
    assert subject.name == "attention" and subject.capabilities().default_initial == "zeros"
    assert not wrong(subject, {"own-forward-derivative", "pulled-once", "forward-mode-duality"}, 2)


def test_tensors_with_a_tangent_require_a_gradient():
    """Where it does not, code that inductor compiled loses the tangent silently, and other code raises."""
    seen = set()

    def watched(x, states):
        tangent = torch.autograd.forward_ad.unpack_dual(x).tangent
        seen.add((tangent is not None, x.requires_grad))
        return x + states["h"], {"h": x[-1]}

    assert not wrong(operator(watched, cell=SUM, selects=False), {"forward-mode-duality", "own-forward-derivative"}, 2)
    assert (True, True) in seen and (True, False) not in seen


@pytest.mark.parametrize(("autocast", "factor"), [(True, 1.0), (True, 1.1), (False, 1.0)])
def test_16_bits_under_autocast(autocast, factor):
    """The function gets float32 there, and bfloat16 without; it is compared with its own float64."""
    seen = set()

    def product(parameters, x, states):
        p = factor * parameters["W"] - (factor - 1) * parameters["W"].detach()
        h = states["h"] + torch.tanh(x @ p).cumsum(0)
        seen.add((x.dtype, (x @ p).dtype))
        return h, {"h": h[-1]}

    cell = CustomCell("product", parameters=lambda D, H: {"W": (D, H)}, states=lambda H: {"h": (H,)})
    dtypes = ("bfloat16", "float64")
    subject = operator(product, cell=cell, autocast=autocast, dtypes=dtypes, truncations=())
    found = wrong(subject, {"pullback-reference", "factors-over-cases"}, 24)
    given = torch.float32 if autocast else torch.bfloat16
    assert seen == {(given, torch.bfloat16), (torch.float64, torch.float64)} and not found


def test_lengths_and_chunks_are_handed_over():
    seen = set()

    def ragged(x, states, lengths=None, chunk=None):
        live = torch.ones(x.shape[:2], dtype=torch.bool)
        if lengths is not None:
            live = torch.arange(len(x))[:, None] < lengths
        seen.add((lengths is None, chunk))
        h = states["h"] + torch.where(live[..., None], x, 0).cumsum(0)
        return torch.where(live[..., None], h, 0), {"h": h[-1]}

    subject = operator(ragged, cell=SUM, inputs=("dense", "initial", "lengths"), chunks=(2, 4))
    laws = {"ragged-row-alone", "padding-ignored", "chunk-size-does-not-matter", "regular-reference"}
    assert not wrong(subject, laws, 16)
    assert seen == {(none, chunk) for none in (True, False) for chunk in (2, 4)}


def no_states(x):
    return 2 * x


@pytest.mark.parametrize(("function", "declared", "sentence"), [
    (lambda q, k, v, states: 0, {"cell": ATTENTION}, "f has a stream g, but it has no parameter 'g'"),
    (lambda q, k, v, g: 0, {"cell": ATTENTION}, r"f has states, but it has no parameter for them; inputs=\('dense',\)"),
    (no_states, {"cell": SUM}, "f has states, but it has no parameter for them"),
    (scaled, {"cell": SUM, "inputs": ("dense", "initial", "resets")}, "f is declared to take resets, but it has no pa"),
    (scaled, {"cell": SUM, "chunks": (4, 8)}, "f is declared to compute 4 or 8 steps at once, but it has no parameter"),
    (scaled, {"cell": CustomCell("s", streams=lambda D, H: {"states": (D,)})}, "must not be called 'states'"),
])  # fmt: skip
def test_unsupported_arguments_are_one_sentence(function, declared, sentence):
    with pytest.raises(ValueError, match=sentence):
        operator(function, name="f", **declared)


@pytest.mark.parametrize(("function", "sentence"), [
    (lambda x, states: states["h"], r"f returned a Tensor; expected \(y, states\) with states a mapping of h"),
    (lambda x, states: (x, states["h"]), "f returned a tuple of Tensor, Tensor; expected"),
])  # fmt: skip
def test_incorrect_results_of_a_function_are_one_sentence(function, sentence):
    (found,) = results(operator(function, name="f", cell=SUM), {"outputs-complete"}, 2)
    assert found.status == "error" and re.search(sentence, found.reason)


def test_a_function_without_states():
    subject = operator(no_states, cell=CustomCell("twice", width=lambda D, H: D), inputs=("dense",), outputs=("y",))
    assert subject.capabilities().truncations == ()
    assert not wrong(subject, {"own-forward-derivative", "outputs-complete", "batch-independence"})


class Policy(torch.nn.Module):
    """The same policy as a module."""

    slip = ""

    def __init__(self, D, H):
        super().__init__()
        shapes = POLICY.parameters(D, H)
        self.own = torch.nn.ParameterDict({name: torch.nn.Parameter(torch.empty(s)) for name, s in shapes.items()})

    def forward(self, seen, action, masked, states, resets=None):
        return policy(self.own, seen, action, masked, states, resets, self.slip)


@pytest.mark.parametrize("slip", ["", "late"])
def test_a_module_takes_streams_and_resets(slip):
    from bpttcheck.adapters.torch_module import TorchModule

    factory = type("Slipping", (Policy,), {"slip": slip})
    declared = {"inputs": ("dense", "initial", "resets"), "resets_to": "initial", "sizes": SIZES}
    subject = TorchModule(factory, cell=POLICY, name="policy", dtypes=("float64",), **declared)
    found = wrong(subject, DERIVATIVE | RESETS, 6)
    assert "nothing-crosses-a-reset" in found if slip else not found
    with pytest.raises(ValueError, match="policy is declared by a cell and by its width; the cell is enough"):
        TorchModule(factory, cell=POLICY, name="policy", width=lambda H: H)


def test_a_module_is_no_function_and_no_factory():
    from bpttcheck.adapters.torch_module import TorchModule

    with pytest.raises(ValueError, match="TorchFunction takes no module; Linear needs TorchModule"):
        operator(torch.nn.Linear(2, 2), cell=SUM)
    with pytest.raises(ValueError, match=r"from \(D, H\) to a module; this is a Linear"):
        TorchModule(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="and this one returns a float"):
        TorchModule(lambda D, H: 2.0)
