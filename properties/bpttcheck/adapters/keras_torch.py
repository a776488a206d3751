"""Keras's recurrent layers on PyTorch."""

import warnings

import torch
from torch.func import jvp

from bpttcheck.adapters.keras_layers import KerasLayers
from bpttcheck.adapters.torch_subject import TorchSubject
from bpttcheck.contract import Case, Gradients, Outputs
from bpttref import trees


class KerasTorch(KerasLayers, TorchSubject):
    """``keras.layers`` under ``torch.autograd`` and ``torch.func.jvp``."""

    backend = "torch"

    def jvp(self, case: Case, tangents: Gradients) -> Outputs:
        at, moves = (trees.each(torch.tensor, tree) for tree in ((case.x, case.parameters, case.initial), tangents[:3]))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)  # PyTorch's own
            _, pushed = jvp(lambda *at: tuple(self._outputs(case, Gradients(*at)))[:2], at, moves)
        return Outputs(*trees.each(lambda tensor: tensor.numpy(), pushed))
