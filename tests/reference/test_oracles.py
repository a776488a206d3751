"""The hand-derived pullbacks against oracles that share no derivative code with them."""

import numpy as np
from hypothesis import assume, given

from bpttcheck import Case, Gradients
from bpttcheck.adapters.reference import Reference
from bpttref import CELLS, RNN, Cotangents, vjp
from bpttref.oracles import complex_step, contributions, differences, forward_mode, linear_gradients
from bpttref.oracles.contributions import flatten
from bpttref.oracles.replicates import Problem, array_at, paths

from .problems import close, gradient_at, problems


def backward(problem: Problem):
    _, pullback = vjp(problem.cell, problem.parameters, problem.x, problem.initial)
    return pullback(problem.cotangents)


@given(problems())
def test_complex_step(problem):
    gradients = backward(problem)
    for path, expected in complex_step(problem).items():
        assert close(gradient_at(gradients, path), expected, 10**5), path


@given(problems())
def test_the_pushforward_is_the_transpose(problem):
    """The reference adapter's complex-step pushforward, which laws of duality rely on."""
    gradients, rng = backward(problem), np.random.default_rng(0)
    tangents = {path: rng.standard_normal(array_at(problem, path).shape) for path in paths(problem)}
    case = Case(problem.cell, "float64", problem.parameters, problem.x, problem.initial)
    parameters = tuple(({n: tangents["parameters", k, n] for n in p},) for k, (p,) in enumerate(problem.parameters))
    initial = tuple(({n: tangents["initial", k, n] for n in s},) for k, (s,) in enumerate(problem.initial))
    pushed = Reference().jvp(case, Gradients(tangents[("x",)], parameters, initial))
    left = float(np.sum(problem.cotangents.y * pushed.y))
    for (given_,), (state,) in zip(problem.cotangents.final, pushed.final, strict=True):
        left += sum(float(np.sum(given_[name] * state[name])) for name in state)
    right = sum(float(np.sum(tangent * gradient_at(gradients, path))) for path, tangent in tangents.items())
    size = sum(float(np.sum(np.abs(tangent * gradient_at(gradients, path)))) for path, tangent in tangents.items())
    assert close(left / size, right / size, 10**5)


SMOOTH = tuple(cell for cell in CELLS if cell != RNN("relu"))


@given(problems(SMOOTH))
def test_differences(problem):
    gradients = backward(problem)
    for path, (expected, error) in differences(problem).items():
        assert np.all(np.abs(gradient_at(gradients, path) - expected) <= error + 1e-9), path


@given(problems(layers=1))
def test_forward_mode_and_triangle(problem):
    """RTRL gives the full gradient, and so does the sum over the triangle."""
    (parameters,), (initial,) = problem.parameters[0], problem.initial[0]
    _, pullback = vjp(problem.cell, problem.parameters, problem.x, problem.initial)
    expected = flatten(pullback(Cotangents(problem.cotangents.y)).parameters[0][0])
    by_rtrl, with_final, by_triangle = np.zeros((3, expected.size))
    (final,) = problem.cotangents.final[0]
    for b in range(problem.x.shape[1]):
        state = np.concatenate([initial[name][b] for name in problem.cell.states])
        arguments = (problem.cell, parameters, problem.x[:, b], state, problem.cotangents.y[:, b])
        by_rtrl += forward_mode(*arguments)
        with_final += forward_mode(*arguments, np.concatenate([final[name][b] for name in problem.cell.states]))
        by_triangle += contributions(*arguments)[0].sum(axis=(0, 1))
    assert close(by_rtrl, expected, 10**5)
    assert close(with_final, flatten(pullback(problem.cotangents).parameters[0][0]), 10**5)
    assert close(by_triangle, expected, 10**5)


@given(problems((RNN("identity"),), layers=1))
def test_closed_form_of_the_linear_rnn(problem):
    (p,) = problem.parameters[0]
    plain = {"W_hx": p["W_hx"], "W_hh": p["W_hh"]}
    assume(np.abs(p["W_hh"]).max() < 2)
    _, pullback = vjp(problem.cell, ((plain,),), problem.x, problem.initial)
    gradients = pullback(Cotangents(problem.cotangents.y))
    h0 = problem.initial[0][0]["h"]
    expected = linear_gradients(p["W_hx"], p["W_hh"], problem.x, h0, problem.cotangents.y)
    assert close(gradients.x, expected["x"], 10**5)
    assert close(gradients.initial[0][0]["h"], expected["h0"], 10**5)
    for name in plain:
        assert close(gradients.parameters[0][0][name], expected[name], 10**5)
