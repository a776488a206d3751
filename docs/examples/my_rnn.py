import numpy as np

import bpttcheck


def run(p, x):
    hs = [np.zeros(len(p["W"]))]
    for x_t in x:
        hs.append(np.tanh(p["U"] @ x_t + p["W"] @ hs[-1]))

    def backward(dhs):
        dU, dW, dx, dh = 0 * p["U"], 0 * p["W"], 0 * x, 0
        for t in reversed(range(len(x))):
            da = (dhs[t] + dh) * (1 - hs[t + 1] ** 2)
            dU += np.outer(da, x[t])
            dW += np.outer(da, hs[t + 1])  # the slip: the old state is hs[t]
            dx[t], dh = p["U"].T @ da, p["W"].T @ da
        return {"dU": dU, "dW": dW, "dx": dx}

    return np.array(hs[1:]), backward


p, x = {"U": np.zeros((3, 2)), "W": np.zeros((3, 3))}, np.zeros((5, 2))
print(bpttcheck.check(run, parameters=p, x=x, raises=False))  # the verdict
