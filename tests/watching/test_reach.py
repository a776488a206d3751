"""The triangle of functions whose truncation is known, in JAX and in PyTorch."""

import importlib

import numpy as np
import pytest

from bpttref import Full, Regular, Window

W = (np.random.default_rng(0).normal(size=(3, 3)) / 3).astype("float32")


class Jax:
    """The same functions in both libraries: ``tanh(x + W h)`` along time, with a cut where ``cut(t)`` says."""

    def __init__(self):
        self.jax = pytest.importorskip("jax", reason="jax is not installed: tox -e jax")
        self.reach = importlib.import_module("bpttcheck.jax").reach
        self.array, self.stop = self.jax.numpy.asarray, self.jax.lax.stop_gradient
        self.stack, self.tanh = self.jax.numpy.stack, self.jax.numpy.tanh

    def recurrent(self, T, cut=lambda t: False, out=lambda h: h):
        xi = self.array([float(not cut(t)) for t in range(T)])

        def step(h, inputs):
            x, xi = inputs
            h = self.tanh(x + self.array(W) @ (self.stop(h) + xi * (h - self.stop(h))))
            return h, out(h)

        return lambda x: self.jax.lax.scan(step, self.array(np.zeros(3, "float32")), (x, xi))[1]


class Torch:
    def __init__(self):
        torch = pytest.importorskip("torch", reason="torch is not installed: tox -e torch")
        self.reach = importlib.import_module("bpttcheck.torch").reach
        self.array, self.stop = torch.as_tensor, lambda h: h.detach()
        self.stack, self.tanh = torch.stack, torch.tanh

    def recurrent(self, T, cut=lambda t: False, out=lambda h: h):
        def f(x):
            h, outputs = self.array(np.zeros(3, "float32")), []
            for t in range(T):
                h = self.tanh(x[t] + self.array(W) @ (self.stop(h) if cut(t) else h))
                outputs.append(out(h))
            return self.stack(outputs)

        return f


@pytest.fixture(params=[Jax, Torch], scope="module")
def library(request):
    return request.param()


def inputs(library, T):
    return library.array(np.random.default_rng(1).normal(size=(T, 3)).astype("float32"))


def windowed(library, tau):
    weight = library.array(W)

    def f(x):
        outputs = []
        for t in range(len(x)):
            h = library.array(np.zeros(3, "float32"))
            for s in range(max(0, t - tau + 1), t + 1):
                h = library.tanh(x[s] + weight @ h)
            outputs.append(h)
        return library.stack(outputs)

    return f


def test_full_blocks_and_windows(library):
    x = inputs(library, 12)
    full = library.reach(library.recurrent(12), x)
    assert full.shows(Full()) and str(full).startswith("Each output reaches all inputs before it: full BPTT.")
    blocks = library.reach(library.recurrent(12, lambda t: t % 4 == 0, lambda h: h.sum()), x)
    assert blocks.shows(Regular(4)) and blocks.is_blocks(4) and not blocks.is_blocks(2) and not blocks.shows(Full())
    assert str(blocks).startswith("Each output reaches its block of 4 steps: truncated to blocks of 4.")
    window = library.reach(windowed(library, 3), x[:6])
    assert window.shows(Window(3)) and "Each output reaches the last 3 steps: a window of 3." in str(window)
    some = library.reach(library.recurrent(12, lambda t: t in (2, 7)), x)
    assert "Outputs reach back over 1 to 5 steps: none of the known rules." in str(some)


def test_norms_equal_single_pullbacks_and_their_decay_is_reported(library):
    triangle = library.reach(library.recurrent(40, out=lambda h: h[0]), inputs(library, 40))
    assert triangle.norms.shape == (40, 40) and not np.triu(triangle.norms, 1).any()
    assert "Half of what reaches output 39 comes from its own step." in str(triangle)
    assert "it is below 2^-24 of the largest, or exactly zero." in str(triangle)


def test_many_steps_are_sampled(library, tmp_path):
    triangle = library.reach(library.recurrent(150, lambda t: t % 50 == 0), inputs(library, 150), rows=10)
    assert len(triangle.rows) == 10 and triangle.rows[-1] == 149 and triangle.is_blocks(50)
    assert "10 of 150 outputs were taken." in str(triangle)
    triangle.png(tmp_path / "triangle.png")
    assert (tmp_path / "triangle.png").exists()


def test_outputs_that_look_ahead_and_outputs_that_see_nothing(library):
    ahead = library.reach(lambda x: x + x.sum(0), inputs(library, 5))
    assert "Outputs depend on inputs that come after them." in str(ahead) and not ahead.shows(Full())
    assert str(library.reach(lambda x: library.stop(x), inputs(library, 5))).startswith("No output reaches any input.")


@pytest.mark.parametrize(("f", "x", "rows", "said"), [
    (lambda x: x.sum(), np.ones((5, 3), "float32"), None, r"as many outputs as inputs along axis 0, and got \(5, 3\)"),
    (lambda x: (x, x), np.ones((5, 3), "float32"), None, "f returns tuple, and not one"),
    (lambda x: x, np.ones((5, 3), int), None, "have no gradient"),
    (lambda x: x, np.ones((5, 3), "float32"), 0, "at least one row"),
])  # fmt: skip
def test_a_function_without_a_triangle_is_one_sentence(library, f, x, rows, said):
    with pytest.raises(ValueError, match=said):
        library.reach(f, library.array(x), rows=rows)
