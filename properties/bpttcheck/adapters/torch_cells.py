"""PyTorch's cells in a loop over time: nn.RNNCell (tanh, relu), nn.LSTMCell, nn.GRUCell.

Conventions: as for the layers (`bpttcheck.adapters.torch`). The loop and its list of outputs are part of the adapter.
"""

from typing import Any

import torch
from torch import nn

from bpttcheck.adapters.torch import NAMES
from bpttcheck.adapters.torch_subject import ModuleSubject
from bpttcheck.contract import Capabilities, Case, CustomCell
from bpttref import GRU, LSTM, RNN, Cell, Links, Regular


class TorchCells(ModuleSubject):
    """``torch.nn``'s cells."""

    name = f"torch-cells {torch.__version__}"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            cells=(RNN("tanh"), RNN("relu"), LSTM(), GRU("after")),
            truncations=(Regular, Links),
            objectives=("cross-entropy", "squared-error", "linear"),
            selects=True,
            refuses=lambda case: "a loop without steps makes no y" if len(case.x) == 0 else None,
            conventions={
                "reset gate": "after the recurrent product",
                "biases": "two",
                "float32": "TF32 is switched off",
            },
        )

    def module(self, case: Case) -> nn.Module:
        D, H = case.x.shape[2], case.parameters[0][0]["W_hh"].shape[1]
        options: dict[str, Any] = {"dtype": getattr(torch, case.dtype), "device": self.device}
        if isinstance(case.cell, RNN):
            return nn.RNNCell(D, H, nonlinearity=case.cell.activation, **options)
        return nn.LSTMCell(D, H, **options) if isinstance(case.cell, LSTM) else nn.GRUCell(D, H, **options)

    def parameters(self, module: nn.Module, case: Case) -> Any:
        return (({name: getattr(module, NAMES[name]) for name in case.parameters[0][0]},),)

    def unroll(self, cell: Cell | CustomCell, module: Any, x: Any, initial: Any, lengths: Any) -> tuple[Any, Any]:
        names = ("h", "c") if isinstance(cell, LSTM) else ("h",)
        given: Any = None if initial is None else tuple(initial[0][0][name] for name in names)
        state, y = given if given is None or len(names) > 1 else given[0], []
        for x_t in x:
            state = module(x_t, state)
            y.append(state[0] if len(names) > 1 else state)
        return torch.stack(y), ((dict(zip(names, state if len(names) > 1 else (state,), strict=True)),),)
