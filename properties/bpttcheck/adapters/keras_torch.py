"""Keras's recurrent layers on PyTorch."""

import warnings
from typing import Any

import torch
from torch.func import jvp

from bpttcheck.adapters.keras_layers import KerasLayers
from bpttcheck.adapters.torch_subject import TorchSubject, to_numpy
from bpttcheck.contract import Case, Gradients, Outputs
from bpttref import trees
from bpttref.arrays import Array


class KerasTorch(KerasLayers, TorchSubject):
    """``keras.layers`` under ``torch.autograd`` and ``torch.func.jvp``."""

    backend = "torch"

    def jvp(self, case: Case, tangents: Gradients) -> Outputs:
        def outputs(*at: Any) -> tuple[Any, Any]:
            y, final, _ = self.outputs(case, Gradients(*at))
            return y, final

        at = trees.each(_tensor, (case.x, case.parameters, case.initial))
        moves = trees.each(_tensor, (tangents.x, tangents.parameters, tangents.initial))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)  # PyTorch's own
            pushed = jvp(outputs, at, moves)[1]
        return Outputs(*trees.each(to_numpy, pushed))


def _tensor(array: Array) -> Any:
    return torch.tensor(array)
