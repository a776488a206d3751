"""Functions of arrays in JAX: streams by name, matrix states, resets, complex numbers, functions without forward
mode."""

from functools import partial

import pytest

from bpttcheck import LAWS, CustomCell, judge

from .operators import ATTENTION, FEW, POLICY, ROTATING

jax = pytest.importorskip("jax", reason="jax is not installed: python -m pip install '.[jax]', or tox -e jax")
jnp = jax.numpy

DERIVATIVE = {"own-forward-derivative", "forward-mode-duality", "split-resume-pullback", "tau-one-has-no-temporal-term"}
RESETS = {law.id for law in LAWS if law.family == "resets"}
ONE = {"T": (2,), "B": (2,), "D": (2,), "H": (3,)}


def function(function, **declared):
    from bpttcheck.adapters.jax_function import JaxFunction

    return JaxFunction(function, **{"sizes": FEW, "dtypes": ("float64",), **declared})


def results(subject, laws, examples=4):
    return list(judge(subject, [law for law in LAWS if law.id in laws], examples=examples, seed=2, shrink=False))


def wrong(subject, laws, examples=4):
    found = results(subject, laws, examples)
    assert {result.law for result in found} == laws and any(result.status == "passed" for result in found)
    return {result.law for result in found if result.status not in ("passed", "skipped", "vacuous")}


def attention(q, k, v, g, states=None, slip=""):
    start = jnp.zeros((*k.shape[1:], v.shape[-1]), k.dtype) if states is None else states["S"]

    def step(S, now):
        q, k, v, g = now
        S = (jax.lax.stop_gradient(g) if slip else g)[..., None] * S + k[..., None] * v[..., None, :]
        return S, jnp.einsum("bnd,bndh->bnh", q, S)

    S, y = jax.lax.scan(step, start, (q, k, v, g))
    return y, {"S": S}


def policy(parameters, seen, action, masked, states, resets=None, slip=""):
    assert action.dtype == jnp.int64 and masked.dtype == bool
    start = jax.lax.stop_gradient(states["h"]) if slip else states["h"]

    def step(h, now):
        seen, action, masked, reset = now
        h = h if reset is None else jnp.where(reset[:, None], start, h)
        new = jnp.tanh(seen @ parameters["W"] + h @ parameters["U"] + parameters["E"][action])
        h = jnp.where(masked[:, None], h, new)
        return h, h

    h, y = jax.lax.scan(step, states["h"], (seen, action, masked, resets))
    return y, {"h": h}


def rotating(parameters, u, states):
    def step(z, u):
        z = parameters["a"] * z + u
        return z, (parameters["c"] * z).real

    z, y = jax.lax.scan(step, states["z"], u)
    return y, {"z": z}


@pytest.mark.parametrize("slip", ["", "decay"])
def test_streams_and_a_matrix_state(slip):
    found = wrong(function(partial(attention, slip=slip), cell=ATTENTION), DERIVATIVE)
    assert ("own-forward-derivative" in found) == bool(found) == bool(slip)


@pytest.mark.parametrize("slip", ["", "start"])
def test_a_policy_with_resets_whole_numbers_and_flags(slip):
    """A reset takes a row back to its initial state, also where the sequence is run in pieces."""
    declared = {"inputs": ("dense", "initial", "resets"), "resets_to": "initial"}
    found = wrong(function(partial(policy, slip=slip), cell=POLICY, **declared), DERIVATIVE | RESETS, 6)
    assert ("reset-is-a-new-row" in found) == bool(found) == bool(slip)


def test_complex_gradients_have_the_convention_of_the_contract():
    """The gradients of JAX are the conjugates; its tangents are the usual ones."""
    assert not wrong(function(rotating, cell=ROTATING, sizes=ONE), {"own-forward-derivative", "forward-mode-duality"})


def test_a_function_without_a_jvp_is_skipped_with_the_reason():
    @jax.custom_vjp
    def twice(x):
        return 2 * x

    twice.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))
    cell = CustomCell("sum", states=lambda D, H: {"h": (D,)}, width=lambda D, H: D)

    def scaled(x, states):
        h = states["h"] + jnp.cumsum(twice(x), axis=0)
        return h, {"h": h[-1]}

    found = {result.law: result for result in results(function(scaled, cell=cell, sizes=ONE), DERIVATIVE)}
    assert found["own-forward-derivative"].status == "passed"
    assert "JAX has no forward mode for it: there is a jax.custom_vjp inside" in found["forward-mode-duality"].reason


def test_unsupported_arguments_are_one_sentence():
    with pytest.raises(ValueError, match="attention is declared to take resets, but it has no parameter 'resets'"):
        function(attention, cell=ATTENTION, inputs=("dense", "initial", "resets"))
    with pytest.raises(ValueError, match="attention is declared to take lengths, but it has no parameter 'lengths'"):
        function(attention, cell=ATTENTION, inputs=("dense", "initial", "lengths"))
    assert function(attention, cell=ATTENTION).capabilities().default_initial == "zeros"
