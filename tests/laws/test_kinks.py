"""ReLUs inside cells that bpttcheck does not know: kinks are no mistakes, and mistakes at kinks are seen."""

import numpy as np
import pytest

from bpttcheck import LAWS, Capabilities, CustomCell, Gradients, Outputs, judge
from bpttcheck.adapters.reference import with_loss

from ..thorough import some

DERIVATIVES = [law for law in LAWS if law.id in ("own-forward-derivative", "own-loss-derivative")]


class Headed:
    """h' = relu or tanh of V x + U h, and behind each state ``depth`` layers of 32 ReLUs, with one output.

    slip: changes a ReLU's derivative, as a function of its pre-activation.
    """

    name = "headed"

    def __init__(self, depth, relu, dtype="float64", slip=lambda a: a > 0, factor=1.0):
        self.depth, self.relu, self.slip, self.factor = depth, relu, slip, factor
        widths = [32] * depth + [1]

        def shapes(D, H):
            layers = {f"A{k}": (n, m) for k, (n, m) in enumerate(zip([H, *widths], widths, strict=False))}
            return {"V": (D, H), "U": (H, H), "b": (H,), **layers}

        cell = CustomCell("headed", shapes, lambda H: {"h": (H,)}, lambda H: 1)
        self.declared = Capabilities(
            cells=(cell,), dtypes=(dtype,), inputs=("dense",), outputs=("y",), gradients=("x", "parameters"),
            objectives=("linear",),
        )  # fmt: skip
        self.loss_and_gradients = with_loss(self.vjp)

    def capabilities(self):
        return self.declared

    def vjp(self, case):
        p = case.parameters[0][0]
        heads = [p[f"A{k}"] for k in range(self.depth + 1)]
        h, pre, tapes, y = [np.zeros((case.x.shape[1], len(p["b"])), case.dtype)], [], [], []
        for x in case.x:
            pre.append(x @ p["V"] + h[-1] @ p["U"] + p["b"])
            h.append(np.maximum(pre[-1], 0) if self.relu else np.tanh(pre[-1]))
            tape = [h[-1] @ heads[0]]
            for A in heads[1:]:
                tape.append(np.maximum(tape[-1], 0) @ A)
            tapes.append(tape)
            y.append(tape[-1])

        def pullback(cotangents):
            dp, dx, dh = {k: np.zeros_like(v) for k, v in p.items()}, np.zeros_like(case.x), np.zeros_like(h[0])
            for t in reversed(range(len(y))):
                da = np.zeros_like(y[0]) if cotangents.y is None else cotangents.y[t]
                for k in range(self.depth, 0, -1):
                    dp[f"A{k}"] += np.maximum(tapes[t][k - 1], 0).T @ da
                    da = (da @ heads[k].T) * self.slip(tapes[t][k - 1])
                dp["A0"] += h[t + 1].T @ da
                da = (dh + da @ heads[0].T) * (self.slip(pre[t]) if self.relu else 1 - h[t + 1] ** 2)
                dp["V"] += case.x[t].T @ da
                dp["U"] += h[t].T @ da
                dp["b"] += da.sum(axis=0)
                dx[t], dh = da @ p["V"].T, da @ p["U"].T
            dp["U"] = (self.factor * dp["U"]).astype(case.dtype)
            return Gradients(dx, ((dp,),), None)

        return Outputs(np.array(y), None), pullback


def failed(subject, seed, examples=40):
    results = judge(subject, DERIVATIVES, examples=examples, seed=seed, shrink=False)
    return {r.law for r in results if r.status in ("failed", "error")}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("depth", some([0, 1, 2], 0, 2))
@pytest.mark.parametrize("seed", some([0, 1], 0))
def test_kinks_are_no_mistakes(seed, depth, relu, dtype):
    assert not failed(Headed(depth, relu, dtype), seed)


@pytest.mark.parametrize("slip", [
    lambda a: np.ones_like(a),
    lambda a: (a > 0) + 0.01 * (a <= 0),
    lambda a: (a > 0) * 1.01,
], ids=["left out", "leaking", "a hundredth too large"])  # fmt: skip
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("depth", [1, 2])
def test_mistakes_at_kinks_are_seen(depth, relu, slip):
    assert failed(Headed(depth, relu, slip=slip), seed=1) == {law.id for law in DERIVATIVES}


@pytest.mark.parametrize("factor", [0.0, 0.9, 1.001, 2.0])
def test_mistakes_elsewhere_are_seen(factor):
    assert failed(Headed(1, relu=False, factor=factor), seed=2) == {law.id for law in DERIVATIVES}
