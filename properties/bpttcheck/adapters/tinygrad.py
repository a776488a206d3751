"""tinygrad's nn.LSTMCell in a loop over time, with gradients from Tensor.gradient.

Conventions: weights (4*H, D) with gates i, f, g, o; two biases; state (h, c). Truncation is by detach: where a case is
truncated, only the backward pass scales the carried state, by the multiplier of the link, at every step.

The environment variable DEV names the device. Without it, it is the CPU where there is a compiler, which tinygrad
calls for every program: clang, or the one that CC names. Elsewhere it is tinygrad's interpreter, PYTHON, with smaller
sizes. Each new shape is compiled: they are few, and cuts are data and not code. TinyJit captures the compiled programs.
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Collection, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
from tinygrad import Context, Device, Tensor, TinyJit
from tinygrad.helpers import DEV
from tinygrad.nn import LSTMCell

from bpttcheck.contract import Capabilities, Case, Cotangents, Gradients, Outputs, Pullback
from bpttref import LSTM, Blocks, Full, Last, Links, Regular, Window
from bpttref.arrays import Array

_SIZES = {"T": (1, 2, 2, 2, 4, 4), "B": (1, 3, 3, 3), "D": (3,), "H": (4,)}
_SIZES_INTERPRETED = {"T": (1, 2, 2), "B": (3,), "D": (3,), "H": (2,)}
_PARAMETERS = ("W_hx", "W_hh", "b_hx", "b_hh")
# Not optimised, and compiled one after the other: for programs as small as these, this takes less time.
QUICK = {"NOOPT": 1, "PARALLEL": 0}


class TinygradCells:
    """``tinygrad.nn.LSTMCell``.

    jit: whether TinyJit captures the differentiated function. options: tinygrad's variables; its own are ``{}``.
    sizes: as in `Capabilities`; None for few that suit the device.
    """

    def __init__(
        self,
        *,
        jit: bool = True,
        options: Mapping[str, int] = QUICK,
        sizes: Mapping[str, Collection[int]] | None = None,
    ) -> None:
        if not DEV.device:
            DEV.value = "CPU" if shutil.which(os.environ.get("CC", "clang")) else "PYTHON"
        device = Device[Device.DEFAULT].device
        self.name = f"tinygrad {version('tinygrad')} on {device}"
        self._options = options
        self._sizes = sizes or (_SIZES_INTERPRETED if device == "PYTHON" else _SIZES)
        self._programs: dict[Any, Any] = defaultdict(
            lambda: TinyJit(_outputs_and_gradients) if jit else _outputs_and_gradients
        )

    def capabilities(self) -> Capabilities:
        return Capabilities(
            cells=(LSTM(),),
            truncations=(Regular, Links),
            sizes=self._sizes,
            conventions={"biases": "two"},
        )

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        """Outputs come from the program that gives the gradients, too: one to compile instead of two."""
        assert case.initial is not None and not isinstance(case.truncation, Blocks | Window | Last)
        ((p,),), ((initial,),) = case.parameters, case.initial
        full = isinstance(case.truncation, Full)
        links = None if full else _tensor(case.truncation.links(len(case.x)).astype(case.dtype))
        at = [_tensor(a) for a in (case.x, initial["h"], initial["c"], *(p[name] for name in _PARAMETERS))]
        program = self._programs[case.x.shape, p["W_hh"].shape, case.dtype, full]
        zeros = np.zeros((*case.x.shape[:2], p["W_hh"].shape[1]), case.dtype), *map(np.zeros_like, initial.values())

        def run(cotangents: Cotangents) -> tuple[Outputs, Gradients]:
            ends = {} if cotangents.final is None else cotangents.final[0][0]
            given = cotangents.y, ends.get("h"), ends.get("c")
            seen = [_tensor(zero if g is None else g) for g, zero in zip(given, zeros, strict=True)]
            with Context(**self._options):
                found = program(links, *seen, *at)
                Tensor.realize(*found)
                y, h, c, dx, dh, dc, *dp = [np.array(tensor.numpy()) for tensor in found]
            parameters = dict(zip(_PARAMETERS, dp, strict=True))
            outputs = Outputs(y, (({"h": h, "c": c},),))
            return outputs, Gradients(dx, ((parameters,),), (({"h": dh, "c": dc},),))

        return run(Cotangents(None, None))[0], lambda cotangents: run(cotangents)[1]


def _outputs_and_gradients(links: Tensor | None, *given: Tensor) -> list[Tensor]:
    """y, final h and c, and their pullback, from cotangents of these three, x, initial h and c, and the parameters."""
    cotangents, at = given[:3], given[3:]
    x, h, c, *parameters = at
    cell = LSTMCell(x.shape[2], h.shape[1])
    cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh = parameters
    y = []
    for t in range(x.shape[0]):
        if links is not None and t:
            h, c = _linked(h, links[t]), _linked(c, links[t])
        h, c = cell(x[t], (h, c))
        y.append(h)
    outputs = [Tensor.stack(*y), h, c]
    y_part, h_part, c_part = ((o * g).sum() for o, g in zip(outputs, cotangents, strict=True))
    return [*outputs, *(y_part + h_part + c_part).gradient(*at)]


def _linked(state: Tensor, xi: Tensor) -> Tensor:
    """A state as it is, whose cotangent is multiplied by ``xi`` on its way back; cut where that is 0."""
    cut = state.detach()
    return (xi == 0).where(cut, cut + xi * (state - cut))


def _tensor(array: Array) -> Tensor:
    """A tensor with a copy of the array, on the device."""
    return Tensor(array.copy()).realize()
