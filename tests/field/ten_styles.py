"""Ten backward passes as people write them by hand, each in another style; ``slip`` plants a mistake in each.

Each is checked in `tests/field/test_ten_styles.py` in a few lines, by its own names and shapes.
"""

import ctypes
import subprocess
from collections import namedtuple

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


# 1. One sequence of columns (D, 1) in a list, [h; x] in one matrix, a cache for the way back.


def columns_forward(p, x):
    h, caches = np.zeros((len(p["b"]), 1)), []
    for x_t in x:
        before, h = h, np.tanh(p["W"] @ np.vstack([h, x_t]) + p["b"])
        caches.append((before, x_t, h))
    return [h for _, _, h in caches], (p, caches)


def columns_backward(dhs, cache, slip=False):
    p, caches = cache
    dW, db, dx, carried = np.zeros_like(p["W"]), np.zeros_like(p["b"]), [], 0
    for (before, x_t, h), dh in zip(caches[::-1], dhs[::-1], strict=True):
        da = (dh + carried) * (1 - h**2)
        dW += da @ np.vstack([h if slip else before, x_t]).T
        db += da
        carried, dx_t = np.split(p["W"].T @ da, [len(db)])
        dx.insert(0, dx_t)
    return {"dW": dW, "db": db, "dx": dx}


# 2. The LSTM of a course: (features, rows, time), a dictionary of gates, each cache a tuple, steps on their own.


def lstm_step(p, x_t, states):
    a_before, c_before = states
    z = np.concatenate([a_before, x_t])
    f, i, o = (sigmoid(p["W" + gate] @ z + p["b" + gate]) for gate in "fio")
    g = np.tanh(p["Wc"] @ z + p["bc"])
    c = f * c_before + i * g
    a = o * np.tanh(c)
    return a, (a, c), (a_before, c_before, c, z, f, i, g, o, p)


def lstm_step_back(da, dstates, cache, slip=False):
    a_before, c_before, c, z, f, i, g, o, p = cache
    da, dc = da + dstates[0], dstates[1]
    dc = dc + da * o * (1 - np.tanh(c) ** 2)
    gates = {
        "f": dc * c_before * f * (1 - f),
        "i": dc * g * i * (1 - i),
        "c": dc * i * (1 - g**2),
        "o": da * np.tanh(c) * (o if slip else o * (1 - o)),
    }
    gradients = {"dW" + gate: d @ z.T for gate, d in gates.items()}
    gradients |= {"db" + gate: d.sum(axis=1, keepdims=True) for gate, d in gates.items()}
    dz = sum(p["W" + gate].T @ d for gate, d in gates.items())
    n = len(a_before)
    return gradients, dz[n:], (dz[:n], dc * f)


# 3. A class that keeps its weights, its states and its gradients as attributes.


class Network:
    def __init__(self, D, H, slip=False):
        self.Wxh, self.Whh, self.bh = np.zeros((D, H)), np.zeros((H, H)), np.zeros(H)
        self.slip = slip

    def forward(self, x):
        self.x, self.h = x, [np.zeros((len(x), len(self.bh)))]
        for t in range(x.shape[1]):
            self.h.append(np.tanh(x[:, t] @ self.Wxh + self.h[-1] @ self.Whh + self.bh))
        return np.stack(self.h[1:], axis=1)

    def backward(self, dh):
        self.dWxh, self.dWhh, self.dbh = (np.zeros_like(a) for a in (self.Wxh, self.Whh, self.bh))
        self.dx, carried = np.zeros_like(self.x), 0
        for t in reversed(range(self.x.shape[1])):
            da = (dh[:, t] + carried) * (1 - self.h[t + 1] ** 2)
            self.dWxh += self.x[:, t].T @ da
            self.dWhh += self.h[t].T @ da
            self.dbh += da[0] if self.slip else da.sum(axis=0)
            self.dx[:, t] = da @ self.Wxh.T
            carried = da @ self.Whh.T


# 4. Only the output of the last step, from a state that is given; rows first.


def last_only(p, x, h, slip=False):
    hs = [h]
    for t in range(x.shape[1]):
        hs.append(np.tanh(x[:, t] @ p["U"] + hs[-1] @ p["W"]))

    def pullback(dy):
        dU, dW, dx, dh = np.zeros_like(p["U"]), np.zeros_like(p["W"]), np.zeros_like(x), dy @ p["V"].T
        for t in reversed(range(x.shape[1])):
            da = dh * (1 - hs[t + 1] ** 2)
            dU += x[:, t].T @ da
            dW += hs[t].T @ da
            dx[:, t], dh = da @ p["U"].T, da @ p["W"].T
            if slip and t == 0:
                dh = 0 * dh
        return {"dU": dU, "dW": dW, "dV": hs[-1].T @ dy, "dx": dx, "dh0": dh}

    return hs[-1] @ p["V"], pullback


# 5. The character model of a famous gist: tokens in, the loss inside, dictionaries by step, and clipping.


def character_loss(p, data, slip=False):
    (inputs, targets), hs, ps, loss = (data["inputs"], data["targets"]), {-1: np.zeros((len(p["bh"]), 1))}, {}, 0
    for t, (ix, target) in enumerate(zip(inputs, targets, strict=True)):
        hs[t] = np.tanh(p["Wxh"][:, [ix]] + p["Whh"] @ hs[t - 1] + p["bh"])
        e = np.exp(p["Why"] @ hs[t] + p["by"])
        ps[t] = e / e.sum()
        loss -= np.log(ps[t][target, 0])
    d, carried = {name: np.zeros_like(a) for name, a in p.items()}, 0
    for t in reversed(range(len(inputs))):
        dy = ps[t].copy()
        dy[targets[t]] -= 1
        d["Why"] += dy @ hs[t].T
        d["by"] += dy
        da = (p["Why"].T @ dy + carried) * (1 - hs[t] ** 2)
        d["bh"] += da
        d["Wxh"][:, [inputs[t]]] += da
        d["Whh"] += da @ hs[t if slip else t - 1].T
        carried = p["Whh"].T @ da
    return loss, {"d" + name: np.clip(a, -5, 5) for name, a in d.items()}


# 6. A training step: mean squared error over a batch, and gradient descent in place; no gradient comes out.


def train_step(p, data, rate=0.05, slip=False):
    x, y = data["x"], data["y"]
    T, B, _ = x.shape
    h, hs, loss, dout = np.zeros((B, len(p["W"]))), [], 0, []
    for t in range(T):
        hs.append(h)
        h = np.tanh(x[t] @ p["U"] + h @ p["W"])
        error = h @ p["V"] - y[t]
        loss += np.sum(error**2) / (T * B)
        dout.append(2 * error / (T if slip else T * B))
    hs.append(h)
    d, dh = {name: np.zeros_like(a) for name, a in p.items()}, 0
    for t in reversed(range(T)):
        d["V"] += hs[t + 1].T @ dout[t]
        da = (dout[t] @ p["V"].T + dh) * (1 - hs[t + 1] ** 2)
        d["U"], d["W"], dh = d["U"] + x[t].T @ da, d["W"] + hs[t].T @ da, da @ p["W"].T
    for name, gradient in d.items():
        p[name] -= rate * gradient
    return loss


# 7. A GRU on rows, all gates packed, its parameters a named tuple; gradients in the order of the arguments.

Gru = namedtuple("Gru", "W U b")


def gru(p, x, h, slip=False):
    H, tape, hs = h.shape[1], [], []
    for x_t in x:
        a, r = np.split(x_t @ p.W + p.b, [2 * H], axis=1), np.split(h @ p.U, [2 * H], axis=1)
        z, reset = np.split(sigmoid(a[0] + r[0]), 2, axis=1)
        n = np.tanh(a[1] + reset * r[1])
        tape.append((x_t, h, z, reset, n, r[1]))
        h = z * h + (1 - z) * n
        hs.append(h)

    def pullback(dhs, dh):
        dW, dU, db, dx = np.zeros_like(p.W), np.zeros_like(p.U), np.zeros_like(p.b), []
        for dy, (x_t, before, z, reset, n, rn) in zip(dhs[::-1], tape[::-1], strict=True):
            dh = dh + dy
            dn = dh * (1 - z) * (1 - n**2)
            dz, dreset = dh * (before - n) * z * (1 - z), dn * rn * reset * (1 - reset)
            da = np.concatenate([dz, dreset, dn], axis=1)
            dr = np.concatenate([dz, dreset, dn if slip else dn * reset], axis=1)
            dW, db, dU = dW + x_t.T @ da, db + da.sum(axis=0), dU + before.T @ dr
            dx.append(da @ p.W.T)
            dh = dh * z + dr @ p.U.T
        return Gru(dW, dU, db), np.array(dx[::-1]), dh

    return np.array(hs), h, pullback


# 8. A list of layers, each a dictionary, run one above the other.


def stacked(layers, x, slip=False):
    tapes = []
    for p in layers:
        hs = [np.zeros((x.shape[1], len(p["W"])))]
        for x_t in x:
            hs.append(np.tanh(x_t @ p["U"] + hs[-1] @ p["W"]))
        tapes.append((x, hs))
        x = np.array(hs[1:])

    def pullback(dy):
        found = []
        for p, (inputs, hs) in zip(layers[::-1], tapes[::-1], strict=True):
            dU, dW, dx, dh = np.zeros_like(p["U"]), np.zeros_like(p["W"]), np.zeros_like(inputs), 0
            for t in reversed(range(len(inputs))):
                da = (dy[t] + dh) * (1 - hs[t + 1] ** 2)
                dU, dW = dU + inputs[t].T @ da, dW + hs[t].T @ da
                dx[t], dh = da @ p["U"].T, da @ p["W"].T
            found.append({"U": dU, "W": dW})
            dy = dy if slip else dx
        return found[::-1], dx

    return x, pullback


# 9. A diagonal recurrence with decays, truncated by hand after every tau steps.


def truncated(p, x, tau=None, slip=False):
    h, hs = np.zeros(x.shape[1:]), []
    for x_t in x:
        hs.append(h)
        h = p["decay"] * h + x_t

    def pullback(dy):
        ddecay, dx, dh = np.zeros_like(p["decay"]), np.zeros_like(x), np.zeros_like(h)
        for t in reversed(range(len(x))):
            dh = dh + dy[t]
            dx[t] = dh
            ddecay += (dh * hs[t]).sum(axis=0)
            dh = dh * p["decay"]
            if tau is not None and (t + slip) % tau == 0:
                dh = 0 * dh
        return {"decay": ddecay, "x": dx}

    return np.array([*hs[1:], h]), pullback


# 10. A leaky integrator in C, compiled, and called by ctypes: one sequence, one feature a unit.

PROGRAM = """
void forward(int T, int D, const double *k, const double *x, double *y) {
    for (int t = 0; t < T; t++)
        for (int d = 0; d < D; d++)
            y[t * D + d] = k[d] * (t ? y[(t - 1) * D + d] : 0) + x[t * D + d];
}
void backward(int T, int D, const double *k, const double *y, double *dy, double *dk, double *dx) {
    for (int d = 0; d < D; d++) {
        double carried = 0;
        dk[d] = 0;
        for (int t = T - 1; t >= FIRST; t--) {
            dx[t * D + d] = carried += dy[t * D + d];
            dk[d] += t ? carried * y[(t - 1) * D + d] : 0;
            carried *= k[d];
        }
    }
}
"""


def leaky_in_c(folder, slip=False):
    """A run on arrays, from the program, compiled in a folder."""
    (folder / "leaky.c").write_text(PROGRAM.replace("FIRST", str(int(slip))))
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "leaky.c", "-o", "leaky.so"], cwd=folder, check=True)
    library, array = ctypes.CDLL(str(folder / "leaky.so")), np.ctypeslib.ndpointer(np.float64, flags="C")
    for function, arrays in ((library.forward, 3), (library.backward, 5)):
        function.argtypes = [ctypes.c_int] * 2 + [array] * arrays

    def run(k, x):
        y, dk, dx = np.zeros(x.shape), np.zeros(k.shape), np.zeros(x.shape)
        library.forward(*x.shape, k, np.ascontiguousarray(x), y)

        def pullback(dy):
            library.backward(*x.shape, k, y, np.ascontiguousarray(dy), dk, dx)
            return dk.copy(), dx.copy()

        return y, pullback

    return run
