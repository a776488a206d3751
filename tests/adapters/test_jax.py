"""Layers of the JAX family pass every law, and adapters with mistakes do not."""

import importlib
from dataclasses import replace

import pytest

from bpttcheck import LAWS, judge
from bpttref import Full

jax = pytest.importorskip("jax", reason="jax is not installed: python -m pip install '.[jax]', or tox -e jax")
SMALL = {"T": (3,), "B": (2,), "D": (3,), "H": (4,)}  # one shape to compile

NEEDED = {"pullback-reference", "forward-mode-duality", "regular-reference", "links-reference"}
OF_A_LOSS = {"loss-reference", "objective-gradient-reference", "objective-truncated-reference", "own-loss-derivative"}


def subject_of(module, name, library, **options):
    pytest.importorskip(library, reason=f"{library} is not installed: python -m pip install '.[jax]', or tox -e jax")
    return getattr(importlib.import_module(f"bpttcheck.adapters.{module}"), name)(sizes=SMALL, **options)


def statuses(subject, examples=8, laws=LAWS, **chosen):
    return {(r.law, r.status) for r in judge(subject, laws, examples=examples, seed=2, shrink=False, **chosen)}


def failed(found):
    return {law for law, status in found if status in ("failed", "error", "unsure")}


@pytest.mark.parametrize(("module", "name", "library"), [
    ("equinox", "EquinoxCells", "equinox"),
    ("flax_linen", "FlaxLinen", "flax"),
    ("flax_linen", "FlaxLinenLSTMCell", "flax"),
    ("flax_nnx", "FlaxNnx", "flax"),
    ("haiku", "HaikuCores", "haiku"),
])  # fmt: skip
def test_no_false_alarm(module, name, library):
    found = statuses(subject_of(module, name, library))
    assert not failed(found)
    assert {(law, "passed") for law in NEEDED | OF_A_LOSS} <= found


@pytest.mark.parametrize(
    "options", [{"jit": False}, {"options": {}}], ids=["without jit", "as XLA compiles by default"]
)
def test_other_ways_to_run(options):
    """Without jit each call compiles its loop anew, so the test makes few calls."""
    subject = subject_of("equinox", "EquinoxCells", "equinox", **options)
    laws = [law for law in LAWS if law.id in NEEDED | {"loss-reference", "objective-gradient-reference"}]
    found = statuses(subject, examples=2, laws=laws, cells=["gru-after"], dtypes=["float64"])
    assert not failed(found) and {(law, "passed") for law in ("pullback-reference", "loss-reference")} <= found


def test_a_convention_that_is_forgotten():
    """The forget gate's offset, which the adapter must take off."""
    subject = subject_of("haiku", "HaikuCores", "haiku")
    right = subject.unroll

    def unroll(cell, parameters, *rest):
        ((p,),) = parameters
        H = p["W_hh"].shape[1]
        return right(cell, (({**p, "b_hx": p["b_hx"].at[H : 2 * H].add(1)},),), *rest)

    subject.unroll = unroll
    found = failed(statuses(subject, cells=["lstm"], dtypes=["float64"]))
    assert {"forward-reference", "pullback-reference"} <= found and "own-forward-derivative" not in found


def test_a_state_that_is_not_differentiated():
    subject = subject_of("equinox", "EquinoxCells", "equinox")
    right = subject.unroll
    subject.unroll = lambda cell, parameters, x, initial, lengths: right(
        cell, parameters, x, jax.lax.stop_gradient(initial), lengths
    )
    laws = [law for law in LAWS if law.id in {"forward-reference", "pullback-reference", "own-forward-derivative"}]
    found = failed(statuses(subject, laws=laws, cells=["lstm"], dtypes=["float64"]))
    assert found == {"pullback-reference", "own-forward-derivative"}


def test_a_layer_whose_input_is_not_differentiated():
    """The output of the first layer of a stack has H = 4 columns, where x has 3."""
    subject = subject_of("haiku", "HaikuCores", "haiku")
    right = subject.unroll
    subject.unroll = lambda cell, parameters, x, initial, lengths: right(
        cell, parameters, x if x.shape[-1] == 3 else jax.lax.stop_gradient(x), initial, lengths
    )
    laws = [
        law for law in LAWS if law.id in {"forward-reference", "pullback-reference", "objective-gradient-reference"}
    ]
    found = failed(statuses(subject, laws=laws, cells=["lstm"], dtypes=["float64"]))
    assert found == {"pullback-reference", "objective-gradient-reference"}


def test_a_loss_that_is_averaged():
    subject = subject_of("haiku", "HaikuCores", "haiku")
    right = subject.loss
    subject.loss = lambda kind, y, *rest: right(kind, y, *rest) / y.shape[0]
    laws = [law for law in LAWS if law.id in NEEDED | OF_A_LOSS]
    found = failed(statuses(subject, laws=laws, cells=["lstm"], dtypes=["float64"]))
    assert found == OF_A_LOSS - {"own-loss-derivative"}


def test_a_training_step_that_is_not_cut():
    subject = subject_of("haiku", "HaikuCores", "haiku")
    right = subject.loss_and_gradients
    subject.loss_and_gradients = lambda case: right(replace(case, truncation=Full()))
    laws = [law for law in LAWS if law.id in NEEDED | OF_A_LOSS]
    found = failed(statuses(subject, laws=laws, cells=["lstm"], dtypes=["float64"]))
    assert found == {"objective-truncated-reference"}


@jax.custom_vjp
def wrong_tanh(a):
    return jax.numpy.tanh(a)


wrong_tanh.defvjp(lambda a: (wrong_tanh(a),) * 2, lambda y, g: (g * (1 - y),))


def minimal(tanh):
    """A minimal gated unit (Zhou et al., 2016), which the reference does not know."""

    def minimal_gated_unit(parameters, x, states):
        def step(h, x):
            f = jax.nn.sigmoid(x @ parameters["W_f"] + h @ parameters["U_f"])
            h = (1 - f) * h + f * tanh(x @ parameters["W_n"] + (f * h) @ parameters["U_n"])
            return h, h

        h, y = jax.lax.scan(step, states["h"], x)
        return y, {"h": h}

    return minimal_gated_unit


@pytest.mark.parametrize(
    ("tanh", "broken"), [(jax.numpy.tanh, set()), (wrong_tanh, {"own-forward-derivative", "own-loss-derivative"})]
)
def test_a_function_without_an_adapter(tanh, broken):
    from bpttcheck.adapters.jax_function import JaxFunction

    subject = JaxFunction(
        minimal(tanh),
        parameters=lambda D, H: {"W_f": (D, H), "U_f": (H, H), "W_n": (D, H), "U_n": (H, H)},
        forward_mode=not broken,
        objectives=("squared-error",),
        sizes=SMALL,
    )
    found = statuses(subject)
    assert failed(found) == broken
    assert {("tied-gradient-is-sum", "passed"), ("xray-links", "passed")} <= found
    assert ("forward-mode-duality", "skipped" if broken else "passed") in found
