"""Keras's recurrent layers on PyTorch."""

from typing import Any

import torch
from torch import nn

from bpttcheck.adapters.keras_layers import KerasLayers
from bpttcheck.adapters.torch_subject import TorchSubject
from bpttcheck.contract import Case
from bpttref import trees
from bpttref.arrays import Array


class KerasTorch(KerasLayers, TorchSubject):
    """``keras.layers`` under ``torch.autograd`` and its forward mode."""

    backend = "torch"

    def module(self, case: Case) -> nn.Module:
        return nn.Module()  # Keras's layers are made when they are run, and called with the weights of the case

    def parameters(self, module: nn.Module, case: Case) -> Any:
        def leaf(array: Array) -> Any:
            return nn.Parameter(self._tensor(case, array))

        return trees.each(leaf, case.parameters)

    def unroll(self, module: Any, case: Case, x: Any, states: Any) -> tuple[Any, Any]:
        lengths = None if case.lengths is None else torch.tensor(case.lengths)
        return self.run(case.cell, case.parameters, x, states, lengths)
