"""How gradients travel through time: the analysis, the Jacobians seen from outside, and the mathematics of D2L 9.7."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bpttcheck.adapters.reference import Reference
from bpttcheck.contract import Case
from bpttcheck.studies.gradients import Setting, analyse, jacobians, problem
from bpttref import GRU, LSTM, RNN, Cotangents, Objective, Window, analysis, vjp
from bpttref.oracles import contributions
from bpttref.oracles.contributions import flatten, step_jacobians
from bpttref.unrolling import forward

from ..reference.problems import close, make, problems

PLAIN = (RNN("tanh"), RNN("relu"), RNN("identity"))
SEEDS = st.integers(0, 10**6)


def single(drawn):
    """The case of a drawn problem's first row, and the cotangents of its outputs."""
    initial = tuple(({name: a[:1] for name, a in state.items()},) for (state,) in drawn.initial)
    case = Case(drawn.cell, "float64", drawn.parameters, drawn.x[:, :1], initial)
    return case, drawn.cotangents.y[:, 0]


def gradient(case, dy, **options):
    _, pullback = vjp(case.cell, case.parameters, case.x, case.initial, **options)
    return flatten(pullback(Cotangents(dy[:, None])).parameters[0][0])


@given(problems(layers=1))
def test_the_jacobians_seen_from_outside_equal_single_steps(drawn):
    case, _ = single(drawn)
    J, U = jacobians(Reference(), case)
    state = np.concatenate([case.initial[0][0][name][0] for name in case.cell.states])
    for t, x in enumerate(case.x[:, 0]):
        state, F, used = step_jacobians(case.cell, case.parameters[0][0], x, state)
        assert close(J[t], F) and close(U[t], used)


@given(problems(layers=1))
def test_sizes_equal_the_triangle_of_contributions(drawn):
    case, dy = single(drawn)
    J, U = jacobians(Reference(), case)
    found = analysis.sizes(J, U, dy)
    state = np.concatenate([case.initial[0][0][name][0] for name in case.cell.states])
    C, _ = contributions(case.cell, case.parameters[0][0], case.x[:, 0], state, dy)
    T, H = dy.shape
    assert close(C.sum(axis=(0, 1)), gradient(case, dy), 10**5)
    singular, _ = analysis.products(J)
    for k in range(T):
        last = np.linalg.multi_dot([np.eye(len(state)), *J[T - 1 - k :][::-1], np.eye(len(state))])
        assert close(2 ** singular[k, 0], np.linalg.norm(last, 2), 10**5)
        older = sum(C[t, s] for t in range(T) for s in range(t - k + 1))
        assert close(2 ** found.tails[k], np.linalg.norm(older), 10**5)
        for s in range(T - k):
            assert close(2 ** found.contributions[k, s], np.linalg.norm(C[s + k, s]), 10**5)
            product = np.linalg.multi_dot([np.eye(len(state)), *J[s + 1 : s + k + 1][::-1], np.eye(len(state))])
            assert close(2 ** found.norms[k, s], np.linalg.norm(product[:H, :H], 2), 10**5)
            assert close(2 ** found.entries[k, s], np.abs(product[:H, :H]).max(), 10**5)


@given(problems(layers=1), st.integers(-400, 400))
def test_powers_of_two_shift_logarithms_and_change_nothing_else(drawn, p):
    """Also where six factors leave float64."""
    case, dy = single(drawn)
    J, U = jacobians(Reference(), case)
    plain, moved = analysis.sizes(J, U, dy), analysis.sizes(np.ldexp(J, p), U, dy)
    lags = np.arange(len(J))[:, None]
    for name in ("norms", "entries", "contributions"):
        expected = getattr(plain, name) + p * lags
        assert np.allclose(getattr(moved, name), expected, rtol=2**-50, atol=2**-50, equal_nan=True)
    for before, after in zip(analysis.products(J), analysis.products(np.ldexp(J, p)), strict=True):
        assert np.allclose(after, before + p * (lags + 1), rtol=2**-50, atol=2**-50, equal_nan=True)


@given(problems(layers=1))
def test_recursion_and_expanded_sum_are_bptt(drawn):
    """dh_t/dw by D2L 9.7.4, by 9.7.7, and by the pullback of each unit cotangent of h_t."""
    case, dy = single(drawn)
    J, U = jacobians(Reference(), case)
    H = dy.shape[1]
    recursion = np.zeros_like(U[0])
    for t in range(len(J)):
        recursion = U[t] + J[t] @ recursion
        expanded, product = U[t].copy(), np.eye(len(J[0]))
        for i in range(t - 1, -1, -1):
            product = product @ J[i + 1]
            expanded += product @ U[i]
        by_bptt = [gradient(case, unit * (np.arange(len(dy)) == t)[:, None]) for unit in np.eye(H)]
        assert close(recursion, expanded, 10**5) and close(recursion[:H], np.array(by_bptt), 10**5)


@given(problems((RNN("identity"),), layers=1), st.integers(1, 3))
def test_the_book_s_closed_form(drawn, Q):
    """h_t = W_hx x_t + W_hh h_{t-1}, o_t = W_qh h_t, L = 1/T sum of |o_t - y_t|^2 / 2 (D2L 9.7.2)."""
    (p,) = drawn.parameters[0]
    W_hx, W_hh = p["W_hx"], p["W_hh"]
    T, H = len(drawn.x), len(W_hh)
    rng = np.random.default_rng(T)
    W_qh, targets = rng.normal(size=(Q, H)), rng.normal(size=(T, 1, Q))
    objective = Objective("squared-error", targets, W_qh, np.zeros(Q), scale=1 / T)
    plain = (({"W_hx": W_hx, "W_hh": W_hh},),)
    case = Case(drawn.cell, "float64", plain, drawn.x[:, :1], single(drawn)[0].initial, objective=objective)
    _, gradients = Reference().loss_and_gradients(case)

    h = [case.initial[0][0]["h"][0]]
    for x in case.x[:, 0]:
        h.append(W_hx @ x + W_hh @ h[-1])
    do = [(W_qh @ h[t] - targets[t - 1, 0]) / T for t in range(1, T + 1)]
    recursion = [W_qh.T @ do[-1]]  # 9.7.13
    for t in range(T - 1, 0, -1):
        recursion.insert(0, W_hh.T @ recursion[0] + W_qh.T @ do[t - 1])  # 9.7.14
    power = [np.linalg.matrix_power(W_hh.T, k) for k in range(T)]
    dh = [sum(power[T - i] @ W_qh.T @ do[T + t - i - 1] for i in range(t, T + 1)) for t in range(1, T + 1)]  # 9.7.15
    assert close(np.array(recursion), np.array(dh), 10**5)
    assert close(gradients.x[:, 0], np.array(dh) @ W_hx, 10**5)
    dW_hx = sum(np.outer(d, x) for d, x in zip(dh, case.x[:, 0], strict=True))  # 9.7.16
    dW_hh = sum(np.outer(d, before) for d, before in zip(dh, h[:-1], strict=True))
    dW_qh = sum(np.outer(d, after) for d, after in zip(do, h[1:], strict=True))  # 9.7.12
    assert close(gradients.parameters[0][0]["W_hx"], dW_hx, 10**5)
    assert close(gradients.parameters[0][0]["W_hh"], dW_hh, 10**5)
    assert close(gradients.readout["W_qh"], dW_qh, 10**5)


@st.composite
def symmetric(draw):
    """A symmetric matrix with |lambda_1| = 1 and a gap between any two moduli; its spectrum and eigenvectors."""
    n, rng = draw(st.integers(2, 6)), np.random.default_rng(draw(SEEDS))
    moduli = np.cumprod([1.0, *rng.uniform(0.3, 0.9, n - 1)])
    spectrum = moduli * rng.choice([-1, 1], n)
    Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    return (Q * spectrum) @ Q.T, spectrum, Q


@given(symmetric(), st.integers(1, 30))
def test_eigenvalues_of_a_power_are_powers_of_eigenvalues(drawn, k):
    """Weyl: they err by no more than the power does, and each of its k products adds n^2 roundings to the roundings of
    M."""
    M, spectrum, _ = drawn
    singular, moduli = analysis.products(np.broadcast_to(M, (k, *M.shape)))
    expected, operations = np.abs(spectrum) ** k, 4 * (k + 4) * len(M) ** 2
    for logs in (singular[-1], moduli[-1]):
        assert not np.isnan(logs[0])
        assert close(np.nan_to_num(2**logs), np.where(np.isnan(logs), 0, expected), operations)
    hidden = np.isnan(singular[-1])
    assert np.all(expected[hidden] <= operations * 2.0**-53)


@given(symmetric(), st.integers(1, 60), SEEDS)
def test_the_gradient_of_an_identity_rnn_turns_to_the_leading_eigenvector(drawn, k, seed):
    """tan of its angle <= |lambda_2 / lambda_1|^k tan of the loss's angle: in the limit of k steps the direction does
    not depend on the loss, and dh_k/dh_0 has rank one."""
    M, spectrum, Q = drawn
    n, rng = len(M), np.random.default_rng(seed)
    losses = rng.normal(size=(2, n))
    layer, x = {"W_hx": np.ones((n, 1)), "W_hh": M}, rng.normal(size=(k, 2, 1))
    _, pullback = vjp(RNN("identity"), ((layer,),), x)
    pulled = pullback(Cotangents(None, (({"h": losses},),))).initial[0][0]["h"]

    def tangents(vectors):
        along = vectors @ Q
        return np.linalg.norm(along[:, 1:], axis=1) / np.abs(along[:, 0])

    before, after = tangents(losses), tangents(pulled)
    rounding = 4 * (k + 4) * n**2 * 2.0**-53 * (1 + before) ** 2
    assert np.all(after <= np.abs(spectrum[1] / spectrum[0]) ** k * before + rounding)


@given(st.sampled_from(PLAIN), st.integers(1, 5), st.sampled_from([0.1, 1.0, 10.0]), SEEDS)
def test_no_plain_rnn_exceeds_its_bound(cell, H, scale, seed):
    drawn = make(cell, 12, 1, 2, H, 1, seed, scale)
    case, dy = single(drawn)
    found = analysis.sizes(*jacobians(Reference(), case), dy)
    k = np.arange(12)[:, None]
    bound = k * np.log2(np.linalg.norm(case.parameters[0][0]["W_hh"], 2))
    assert np.all((found.norms <= bound + np.log2(1 + 4 * (k + 1) * H**2 * 2.0**-53)) | np.isnan(found.norms))


@given(st.integers(1, 6), st.integers(1, 300), SEEDS)
def test_an_orthogonal_identity_rnn_keeps_the_norm(H, T, seed):
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.normal(size=(H, H)))
    _, pullback = vjp(RNN("identity"), (({"W_hx": np.ones((H, 1)), "W_hh": Q},),), np.zeros((T, 1, 1)))
    dh = rng.normal(size=(1, H))
    dh /= np.linalg.norm(dh)
    pulled = pullback(Cotangents(None, (({"h": dh},),))).initial[0][0]["h"]
    assert close(np.linalg.norm(pulled), 1.0, 4 * (T + 1) * H**2)


@given(st.integers(1, 6), st.integers(8, 40), SEEDS)
def test_an_lstm_whose_gates_do_not_see_h_carries_dc_by_its_forget_gates(H, T, seed):
    """Through W_hh = 0 nothing comes back to h, so dc_{t-1} = f_t dc_t, to the last bit."""
    drawn = make(LSTM(), T, 1, 2, H, 1, seed)
    p = drawn.parameters[0][0] | {"W_hh": np.zeros((4 * H, H))}
    start = drawn.initial[0][0]
    outputs, pullback = vjp(LSTM(), ((p,),), drawn.x, drawn.initial)
    dc = np.ones((1, H))
    pulled = pullback(Cotangents(None, (({"c": dc},),))).initial[0][0]
    f = forward(LSTM(), p, drawn.x, (start["h"], start["c"])).tape.gates[:, 0, H : 2 * H]
    assert np.array_equal(pulled["c"][0], np.multiply.reduce(f[::-1], axis=0)) and not pulled["h"].any()
    J, _ = jacobians(Reference(), Case(LSTM(), "float64", ((p,),), drawn.x, drawn.initial))
    assert close(J[:, H:, H:], f[:, :, None] * np.eye(H))  # a single step may round exp in another way
    path = analysis.gate_products(f)
    assert close(2 ** path[T - 1, 0], np.multiply.reduce(f[:0:-1], axis=0).max(), 4 * T)


@pytest.mark.parametrize(("cell", "gate"), [(LSTM(), 1), (GRU("after"), 1), (GRU("before"), 1)])
def test_gate_bias_opens_the_gate_that_keeps(cell, gate):
    closed, opened = (problem(Reference(), cell, Setting(gate_bias=b)).parameters[0][0] for b in (0.0, 3.0))
    moved = (opened["b_hx"] - closed["b_hx"]).reshape(len(cell.gates), -1)
    assert cell.gates[gate] in "fz" and close(moved[gate], 3.0) and not np.delete(moved, gate, axis=0).any()
    assert all(np.array_equal(opened[name], closed[name]) for name in ("W_hx", "W_hh", "b_hh"))


@settings(max_examples=9)
@given(st.sampled_from([RNN("tanh"), LSTM(), GRU("after")]), SEEDS)
def test_a_window_as_long_as_the_horizon_loses_nothing_that_float32_sees(cell, seed):
    setting = Setting(length=120, units=4, inputs=2, scale=0.7, gate_bias=0.0, seed=seed)
    case = problem(Reference(), cell, setting)
    dy = np.random.default_rng(seed).normal(size=(120, 4))
    sizes = analysis.sizes(*jacobians(Reference(), case), dy)
    horizon = analysis.horizon(sizes.tails, analysis.rate(sizes.norms))
    assume(horizon.measured)
    full = gradient(case, dy)

    def lost(tau):
        return np.linalg.norm(gradient(case, dy, strategy=Window(tau)) - full) / np.linalg.norm(full)

    assert lost(horizon.steps) < 2.0**-24 <= lost(horizon.steps - 1)


@given(st.integers(1, 5), SEEDS)
def test_the_lag_of_overflow_equals_a_run_in_float32(H, seed):
    """Positive weights: nothing cancels, so the result overflows and not a part of it."""
    W = np.random.default_rng(seed).uniform(0.1, 1, (H, H))
    W = (2 * W / np.abs(np.linalg.eigvals(W)).max()).astype(np.float32)
    T = 160
    J = np.broadcast_to(W.astype(float), (T, H, H))
    entries = analysis.sizes(J, np.ones((T, H, 1)), np.ones((T, H))).entries
    lag = analysis.overflow(entries, 2.0)
    assert lag.measured and 120 < lag.steps < 135
    assume(np.abs(entries[lag.steps - 1 : lag.steps + 1, 0] - 128).min() > 1e-3)  # 160 H roundings are 5e-5

    def pulled(k):
        layer = {"W_hx": np.ones((H, 1), np.float32), "W_hh": W}
        _, pullback = vjp(RNN("identity"), ((layer,),), np.zeros((k, H, 1), np.float32))
        with np.errstate(over="ignore"):
            return pullback(Cotangents(None, (({"h": np.eye(H, dtype=np.float32)},),))).initial[0][0]["h"]

    assert np.isfinite(pulled(lag.steps - 1)).all() and not np.isfinite(pulled(lag.steps)).all()
    short = analysis.overflow(entries[:64, :64], 2.0)  # extrapolated from half of a shorter sequence
    assert not short.measured and abs(short.steps - lag.steps) <= 1
    assert analysis.overflow(entries[:64, :64], 1.0).steps is None


@given(st.floats(0.1, 0.6))
def test_the_lag_of_underflow_is_where_float32_rounds_to_zero(factor):
    T = 250
    J = np.full((T, 1, 1), factor)
    entries = analysis.sizes(J, np.ones((T, 1, 1)), np.ones((T, 1))).entries
    assume(np.abs(entries[:, 0] + 150).min() > 1e-3)
    found = analysis.underflow(entries, factor)
    powers = np.float32(factor ** np.arange(T))
    expected = int(np.flatnonzero(powers)[-1]) + 1
    assert abs(found.steps - expected) <= (0 if found.measured else 1)
    assert found.measured == (expected <= 187)


def test_the_rate_fits_a_geometric_sequence_and_is_zero_where_nothing_passes():
    lags = np.arange(40.0)[:, None]
    pairs = np.where(lags + np.arange(40) < 40, 0.0, np.nan)
    assert analysis.rate(pairs - 0.25 * lags) == pytest.approx(2**-0.25, rel=1e-12)
    assert analysis.rate(np.where(lags < 5, 0.0, -np.inf) + pairs) == 0


def test_an_analysis_holds_together():
    found = analyse(Reference(), LSTM(), Setting(length=40, units=3))
    assert found.gate == "f" and found.bound is None and found.gate_rate > found.rate
    assert np.allclose(np.prod(found.singular, axis=1), np.abs(np.prod(found.eigenvalues, axis=1)))  # both |det J_t|
    assert np.all(found.singular[:, 0] * (1 + 1e-12) >= np.abs(found.eigenvalues[:, 0]))
